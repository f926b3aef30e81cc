"""SMS and links on a real broker: from a change to Pisano, a link back to Salesforce, and nobody a second time."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from helpers import topics
from helpers.change_events import as_records, change
from helpers.service import Setup, running_app, set_up
from helpers.waiting import until

from connector.kafka.ledger import read_entry
from connector.records import Attempt, Feedback, Settlement, Write, read
from connector.sandbox.doubles.pisano import Customer, Fault, PisanoDouble, Webhook
from connector.sandbox.doubles.salesforce import SalesforceDouble

STAGES = ["trigger", "send", "receive", "write"]
SURVEY: dict[str, Any] = {
    "on": "Case",
    "account": "main",
    "built_in_responses": {"sf_ref_id": "{{ record.Id }}"},
    "protect": {"once_per": "30d"},
}
SURVEYS = {
    "text": {**SURVEY, "channel": "sms", "campaign": "55", "phone": "{{ record.SuppliedPhone }}"},
    "link": {
        **SURVEY,
        "channel": "link",
        "campaign": "77",
        "email": "{{ record.SuppliedEmail }}",
        "custom_attributes": {"name": "{{ record.SuppliedName }}"},
    },
}
FEEDBACK = {
    "link": {
        "of": "link",
        "update": "Case",
        "by": {"Id": "{{ body.record_id }}"},
        "fields": {"Survey_Link__c": "{{ body.link }}"},
    },
    "answer": {
        "upsert": "Survey_Response__c",
        "by": {"Pisano_Id__c": "{{ feedback.id }}"},
        "fields": {"Case__c": "{{ body.sf_ref_id }}", "Score__c": "{{ body.nps_score }}"},
    },
}
SECRET = "made-up-webhook-secret"


@pytest.fixture
async def pisano() -> AsyncIterator[PisanoDouble]:
    async with PisanoDouble(windows=((10_000, 5.0),), clock=time.monotonic) as double:
        double.add_campaign("55", ["sf_ref_id"], "sms")
        double.add_campaign("77", ["sf_ref_id"], "link")
        double.configure(invitation_key="sf_ref_id")
        yield double


@pytest.fixture
async def setup(
    tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble, sf: SalesforceDouble
) -> Setup:
    account = {"limits": ["10000/5s"], "limit_padding": 0, "max_recipients_per_call": 20, "phones": {"region": "TR"}}
    both = {"pisano": pisano, "salesforce": sf, "account": account}
    return await set_up(tmp_path, bootstrap_servers, unique, **both, surveys=SURVEYS, feedback=FEEDBACK)  # type: ignore[arg-type]


async def publish(setup: Setup, cases: list[str], transaction: str = "1") -> None:
    """Each case changes: customer `number` has one number and one address."""
    now = datetime.now(UTC)
    events = [
        change(
            case,
            {"SuppliedPhone": f"0533 123 45 {n:02}", "SuppliedEmail": f"c{n}@example.com", "SuppliedName": f"C {n}"},
            transaction_key=transaction,
            committed_at=now,
        )
        for n, case in enumerate(cases)
    ]
    await topics.publish(setup.kafka, as_records(setup.kafka, events))


async def settlements(setup: Setup, count: int) -> list[Settlement]:
    async def all_there() -> list[Settlement] | None:
        entries = [read_entry(record.value) for record in await topics.read(setup.kafka, "pisano.attempts")]
        found = [entry for entry in entries if isinstance(entry, Settlement)]
        return found if len(found) >= count else None

    found = await until(all_there)
    assert found is not None
    assert len(found) == len({each.invitation for each in found}) == count
    return found


async def test_texts_and_links_go_out_once_and_the_link_is_in_salesforce(
    setup: Setup, pisano: PisanoDouble, sf: SalesforceDouble
) -> None:
    cases = [sf.create("Case", {"Subject": f"case {number}"}) for number in range(12)]
    pisano.customers["+905331234500"] = Customer(answers={"nps_score": 9})
    async with running_app(setup.config, STAGES) as app:
        pisano.webhook = Webhook(url=f"{app.address}/pisano/main", headers={"X-Webhook-Secret": SECRET})
        await publish(setup, cases)
        assert Counter(each.outcome for each in await settlements(setup, 24)) == {"sent": 24}
        await until(lambda: all(sf.record("Case", case)["Survey_Link__c"] for case in cases))
        await until(lambda: sf.records("Survey_Response__c"))
        await publish(setup, cases)  # the same changes again
        await publish(setup, cases, "2")  # later changes: everybody was asked already
        found = await settlements(setup, 48)
    assert Counter((each.outcome, each.reason) for each in found) == {
        ("sent", None): 24,
        ("suppressed", "invited_before"): 24,
    }
    assert sorted(text.address for text in pisano.texts()) == [f"+9053312345{number:02}" for number in range(12)]
    links = {link.built_in_responses["sf_ref_id"]: link.url for link in pisano.links()}
    assert {case: sf.record("Case", case)["Survey_Link__c"] for case in cases} == links
    assert pisano.second_emails() == []
    assert pisano.emails() == []
    [answer] = sf.records("Survey_Response__c")
    assert (answer["Case__c"], answer["Score__c"]) == (cases[0], 9), "a link is no answer, so it makes no response"
    calls = [call.path for call in pisano.calls if "sms_sharings" in call.path]
    assert len(calls) < 12, "numbers share a call"
    writes = [read(Write, record.value) for record in await topics.read(setup.kafka, "salesforce.writes")]
    assert Counter(write.rule for write in writes) == {"link": 12, "answer": 1}
    ledger = b"".join(record.value for record in await topics.read(setup.kafka, "pisano.attempts"))
    assert b"psn.example" not in ledger
    assert b"533123" not in ledger
    assert await topics.read(setup.kafka, "connector.deadletters") == []


async def test_a_link_and_its_outcome_are_written_together_or_not_at_all(
    setup: Setup, pisano: PisanoDouble, sf: SalesforceDouble
) -> None:
    """A call without an answer is in doubt and has no link; the next one has both."""
    pisano.fail(Fault(calls="link_sharings", kind="drop", sent=True))
    cases = [sf.create("Case", {"Subject": f"case {number}"}) for number in range(3)]
    async with running_app(setup.config, ["trigger", "send"]):
        await publish(setup, cases)
        found = await settlements(setup, 6)
    linked = {each.record_id for each in found if each.survey == "link" and each.outcome == "sent"}
    records = [read(Feedback, record.value) for record in await topics.read(setup.kafka, "pisano.feedback")]
    assert {record.body["record_id"] for record in records} == linked
    assert len(records) == len(linked) == 2
    assert all(record.kind == "link" for record in records)
    entries = [read_entry(record.value) for record in await topics.read(setup.kafka, "pisano.attempts")]
    kinds = Counter(entry.call for entry in entries if isinstance(entry, Attempt) and entry.state == "begun")
    assert kinds["link_sharings"] == 3
    assert len(await topics.read(setup.kafka, "connector.deadletters")) == 1
