"""trigger on a real broker with the Salesforce double: whom it invites, with how many calls; it loses nobody."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
from helpers import topics
from helpers.change_events import as_records, change
from helpers.service import Setup, in_flight, running_app, set_up
from helpers.waiting import until

from connector.reasons import Reason
from connector.records import ChangeEvent, Invitation, read
from connector.sandbox.doubles.salesforce import Fault, SalesforceDouble
from connector.wiring import App

OURS = "com/salesforce/api/rest/66.0;client=pisano-connector"
QUERY = r"GET \S+/query"
CLOSED = {"Status": "Closed"}
PLAIN: dict[str, Any] = {  # a survey that needs only the event
    "on": "Case",
    "account": "main",
    "campaign": "4711",
    "email": "{{ record.SuppliedEmail }}",
    "built_in_responses": {"sf_ref_id": "{{ record.Id }}"},
}


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble) -> Setup:
    """The example's surveys."""
    return await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf)


def a_case(sf: SalesforceDouble, contact: Mapping[str, Any] | None = None, **fields: Any) -> str:
    """A case with its own contact."""
    who = {"FirstName": "Ada", "LastName": "Byron", "Email": "ada@example.com", **(contact or {})}
    return sf.create("Case", {"ContactId": sf.create("Contact", who), "Branch__c": "Izmir", **fields})


async def publish(setup: Setup, events: Iterable[ChangeEvent]) -> None:
    await topics.publish(setup.kafka, as_records(setup.kafka, events))


async def worked_off(setup: Setup) -> bool:
    count = len(await topics.read(setup.kafka, "salesforce.cdc.Case"))
    return sum((await topics.committed(setup.kafka, "trigger")).values()) == count


async def trigger(setup: Setup, events: Iterable[ChangeEvent]) -> list[Invitation]:
    """Publishes the events, runs the stage until all are worked off, and returns all invitations."""
    await publish(setup, events)
    async with running_app(setup.config, ["trigger"]):
        await until(lambda: worked_off(setup))
    return await written(setup)


async def written(setup: Setup) -> list[Invitation]:
    return [read(Invitation, record.value) for record in await topics.read(setup.kafka, "pisano.invitations")]


async def letters(setup: Setup) -> list[dict[str, str]]:
    """The headers of the dead letters; fails if a dead letter is not its record byte for byte."""
    sources = {(r.topic, r.partition, r.offset): r for r in await topics.read(setup.kafka, "salesforce.cdc.Case")}
    found = []
    for letter in await topics.read(setup.kafka, "connector.deadletters"):
        headers = {name: value.decode() for name, value in letter.headers}
        source = sources[headers["dl_topic"], int(headers["dl_partition"]), int(headers["dl_offset"])]
        assert (letter.key, letter.value) == (source.key, source.value)
        assert headers["dl_stage"] == "trigger"
        assert headers["dl_cell"].startswith("trigger/")
        found.append(headers)
    return found


def queries(sf: SalesforceDouble) -> list[tuple[str, set[str], int]]:
    """For each query, its object, its fields and how many records it asks for."""
    found = []
    for call in sf.calls:
        if re.search(QUERY, call.what):
            text = unquote_plus(call.what)
            columns, entity = re.search(r"SELECT (\S+) FROM (\w+)", text).groups()  # type: ignore[union-attr]
            found.append((entity, {*columns.split(",")}, text.count("'") // 2))
    return found


async def all_in_flight(app: App, count: int) -> bool:
    return await in_flight(app, "trigger") == count


async def test_many_cases_are_read_in_calls_of_up_to_200_and_only_what_templates_name(
    sf: SalesforceDouble, setup: Setup, may_answer: asyncio.Event
) -> None:
    """Records that arrive during a call go with the next call: here all the others arrive during the first call."""
    may_answer.clear()
    sf.fail(Fault(match=QUERY, delay=1.0))
    cases = [a_case(sf, {"Email": f"customer-{number}@example.com"}) for number in range(300)]
    await publish(setup, [change(case, CLOSED) for case in cases])
    async with running_app(setup.config, ["trigger"]) as app:
        await until(lambda: all_in_flight(app, len(cases)))
        may_answer.set()
        await until(lambda: worked_off(setup))
    invitations = await written(setup)
    assert {invitation.record_id: invitation.email for invitation in invitations} == {
        case: f"customer-{number}@example.com" for number, case in enumerate(cases)
    }
    assert all(invitation.suppressed is None for invitation in invitations)
    asked = queries(sf)
    assert {entity: fields for entity, fields, _ in asked} == {
        "Case": {"Id", "ContactId", "CreatedDate", "OwnerId", "Branch__c"},
        "Contact": {"Id", "Name", "Email", "HasOptedOutOfEmail"},
        "User": {"Id", "Name"},
    }
    assert max(records for *_, records in asked) <= 200
    assert sum(records for entity, _, records in asked if entity == "Case") == 300
    calls = Counter(entity for entity, *_ in asked)
    assert max(calls.values()) <= 6, calls  # three for cases; those for contacts and users start as cases arrive


async def test_an_event_that_suffices_and_one_that_is_not_meant_cost_no_call(
    tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble
) -> None:
    survey = {**PLAIN, "when": 'changed contains "Status" and record.Status == "Closed"'}
    setup = await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, surveys={"plain": survey})
    case = a_case(sf)
    events = [
        change(case, {**CLOSED, "SuppliedEmail": "ada@example.com"}),
        change(case, {"Priority": "High"}, transaction_key="transaction-2"),
        change(case, {"Status": "New"}, transaction_key="transaction-3"),
    ]
    [invitation] = await trigger(setup, events)
    assert (invitation.email, invitation.built_in_responses) == ("ada@example.com", {"sf_ref_id": case})
    assert [call for call in sf.calls if re.search(QUERY, call.what)] == []


async def test_whoever_is_not_to_be_asked_is_written_down_with_the_reason(sf: SalesforceDouble, setup: Setup) -> None:
    cases = {
        Reason.NO_ADDRESS: a_case(sf, {"Email": None}),
        Reason.INVALID_ADDRESS: a_case(sf, {"Email": "ada@company.invalid"}),
        Reason.OPTED_OUT: a_case(sf, {"HasOptedOutOfEmail": True}),
        None: a_case(sf),
    }
    invitations = await trigger(setup, [change(case, CLOSED) for case in cases.values()])
    assert {invitation.record_id: invitation.suppressed for invitation in invitations} == {
        case: reason for reason, case in cases.items()
    }


async def test_records_that_were_merged_deleted_or_restored(sf: SalesforceDouble, setup: Setup) -> None:
    """Report 28 and report 5, with Salesforce's recycle bin asked by `queryAll`."""
    cases = {name: a_case(sf) for name in ("contact merged", "contact deleted", "case deleted", "restored")}
    contact = {name: sf.record("Case", case)["ContactId"] for name, case in cases.items()}
    kept = sf.create("Contact", {"LastName": "Kaya", "Email": "kept@example.com"})
    sf.merge("Contact", kept, contact["contact merged"])
    sf.delete("Contact", contact["contact deleted"])
    sf.delete("Case", cases["case deleted"])
    events = [
        change(case, CLOSED, change_type="UNDELETE" if name == "restored" else "UPDATE") for name, case in cases.items()
    ]
    found = {invitation.record_id: invitation for invitation in await trigger(setup, events)}
    assert {name: found[case].suppressed for name, case in cases.items()} == {
        "contact merged": None,
        "contact deleted": Reason.RECORD_GONE,
        "case deleted": Reason.RECORD_GONE,
        "restored": Reason.RESTORED,
    }
    assert found[cases["contact merged"]].email == "kept@example.com"
    assert await letters(setup) == []


async def test_a_repeat_is_the_same_invitation_again(sf: SalesforceDouble, setup: Setup) -> None:
    """The repeat comes at once, and again after a restart, when the record has changed."""
    case = a_case(sf)
    event = change(case, CLOSED)
    await trigger(setup, [event, event])
    sf.update("Case", case, {"Branch__c": "Ankara"})
    invitations = await trigger(setup, [event])
    assert len(invitations) == 3
    assert len({invitation.id for invitation in invitations}) == 1


async def test_our_own_changes_invite_nobody_and_those_of_others_do(sf: SalesforceDouble, setup: Setup) -> None:
    """salesforce §0.9: Salesforce returns our client name in changeOrigin."""
    ours, theirs, people = a_case(sf), a_case(sf), a_case(sf)
    events = [
        change(ours, CLOSED, change_origin=OURS),
        change(theirs, CLOSED, change_origin=OURS + "-of-another"),
        change(people, CLOSED, change_origin=""),
    ]
    invitations = await trigger(setup, events)
    assert {invitation.record_id for invitation in invitations} == {theirs, people}
    assert await letters(setup) == []


async def test_what_cannot_be_decided_is_a_dead_letter_and_what_is_gone_is_nothing(
    sf: SalesforceDouble, setup: Setup
) -> None:
    """Deletes, gaps, wildcards and overflows (salesforce §B4); trigger still works off the good events after them."""
    odd = [
        change(a_case(sf), {}, change_type="DELETE"),
        change(a_case(sf), {}, change_type="GAP_DELETE"),
        change(a_case(sf), {}, change_type="GAP_UPDATE"),
        change("500*", {}, change_type="GAP_UPDATE"),
        change("000000000000000AAA", {}, change_type="GAP_OVERFLOW"),
    ]
    good = [a_case(sf) for _ in range(12)]
    invitations = await trigger(setup, [*odd, *(change(case, CLOSED) for case in good)])
    assert {invitation.record_id for invitation in invitations} == {*good}
    found = await letters(setup)
    assert len(found) == 2 * 3, "one for each of the two surveys"
    assert {(headers["dl_reason"], headers["ce_id"]) for headers in found} == {
        ("gap", event.id) for event in odd if event.change_type in {"GAP_UPDATE", "GAP_OVERFLOW"}
    }


async def test_one_record_at_fault_is_a_dead_letter_and_fails_neither_others_nor_another_survey(
    tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble
) -> None:
    """Bytes that are not an event, a template that fails, a deleted record, and a text that only looks like an id."""
    no_id = "0035g0000000001ZZZ"  # its last three characters are not the checksum of the others
    contact = {"object": "Contact", "id": "{{ record.Agent_Code__c }}", "fields": ["Email"]}
    surveys = {
        "looked-up": {
            **PLAIN,
            "lookup": {"contact": contact},
            "email": '{% assign year = record.Subject | date: "%Y" %}{{ contact.Email }}',
        },
        "plain": {**PLAIN, "email": "another@example.com"},
    }
    setup = await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, surveys=surveys)
    contacts = [sf.create("Contact", {"LastName": "Byron", "Email": f"{n}@example.com"}) for n in range(20)]
    cases = [a_case(sf, Agent_Code__c=contact, Subject="2026-01-01") for contact in contacts]
    bad = {
        "malformed": a_case(sf, Agent_Code__c=no_id, Subject="2026-01-01"),
        "unrenderable": a_case(sf, Agent_Code__c=contacts[0], Subject="no date at all"),
        "gone": a_case(sf),
    }
    sf.delete("Case", bad["gone"])
    await topics.produce(setup.kafka, f"{unique}salesforce.cdc.Case", [b"no JSON: \xff"])
    written = await trigger(setup, [change(case, CLOSED) for case in [*cases, *bad.values()]])
    assert {i.record_id: i.email or i.suppressed for i in written if i.survey == "looked-up"} == {
        **{case: f"{n}@example.com" for n, case in enumerate(cases)},
        bad["gone"]: Reason.RECORD_GONE,
    }
    assert {i.record_id for i in written if i.survey == "plain"} == {*cases, *bad.values()}
    found = {headers.get("ce_id", "none"): headers for headers in await letters(setup)}
    reasons = {
        next((name for name, case in bad.items() if case in ce_id), "no event"): (
            headers["dl_reason"],
            headers["dl_error"],
        )
        for ce_id, headers in found.items()
    }
    assert {name: reason for name, (reason, _) in reasons.items()} == {
        "no event": "unreadable",
        "malformed": "INVALID_QUERY_FILTER_OPERATOR",
        "unrenderable": "rejected",
    }
    assert "it takes an ISO 8601 text" in reasons["unrenderable"][1]


async def test_an_outage_of_salesforce_holds_back_and_buries_nothing(
    tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble
) -> None:
    """Rule 4; salesforce §D4. A survey that needs no lookup does not write its invitation again at every try."""
    surveys = {"plain": {**PLAIN, "email": "ada@example.com"}, "read": PLAIN}
    setup = await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, surveys=surveys)
    cases = [a_case(sf, SuppliedEmail="bora@example.com") for _ in range(3)]
    for fault in ({"status": 503}, {"kind": "reset"}, {"status": 403, "error_code": "SERVER_UNAVAILABLE"}):
        sf.fail(Fault.model_validate({"match": QUERY, "times": 1, **fault}))
    invitations = await trigger(setup, [change(case, CLOSED) for case in cases])
    assert Counter((i.survey, i.record_id, i.email) for i in invitations) == Counter(
        (survey, case, email)
        for case in cases
        for survey, email in (("plain", "ada@example.com"), ("read", "bora@example.com"))
    )
    assert await letters(setup) == []
    assert [call.status for call in sf.calls if re.search(QUERY, call.what)][:3] == [503, None, 403]
