"""`connector deadletters` on a real broker: letters of each stage are listed, shown, retried, discarded, each once."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers import topics
from helpers.change_events import as_records as change_records
from helpers.change_events import change
from helpers.commands import command
from helpers.invitations import CAMPAIGN, invitation
from helpers.invitations import as_records as invitation_records
from helpers.service import WEBHOOK_SECRET, Setup, running_app, set_up
from helpers.waiting import until

from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.inbound import InRecord, consumed
from connector.operate import actions
from connector.operate.letters import Wanted
from connector.operate.work_off import Tally, work_off
from connector.reasons import Reason
from connector.records import Feedback, Invitation, Outcome, Settlement, Write, digest, read
from connector.sandbox.doubles.pisano import Fault, PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble

NAME = "Ada Byron"  # a customer's value, which no command shows without being asked
PLAIN: dict[str, Any] = {"on": "Case", "account": "main", "campaign": CAMPAIGN, "email": "{{ record.SuppliedEmail }}"}


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble) -> Setup:
    return await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf)


def answer(case: str, **body: object) -> Feedback:
    values = {"sf_ref_id": case, "nps_score": 1, "name": NAME, "email": "ada@acme.com", **body}
    id_, at = digest("made up", repr(sorted(values.items()))), datetime(2026, 1, 1, tzinfo=UTC)
    return Feedback(id=id_, account="main", received_at=at, body=values)


def feedback_record(setup: Setup, feedback: Feedback) -> OutRecord:
    return to_record(
        setup.kafka.topic_prefix + "pisano.feedback",
        str(feedback.body["sf_ref_id"]),
        feedback,
        ce_type="pisano.feedback",
        ce_source="/accounts/main",
        ce_id=feedback.id,
        ce_time=feedback.received_at,
    )


async def listed(setup: Setup, *filters: str) -> list[dict[str, Any]]:
    ended = await command(setup, "deadletters", "list", "--json", *filters)
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == (1 if found else 0), ended.stderr
    return found


async def said(setup: Setup, *arguments: str, code: int = 0) -> str:
    """What a command prints, after its exit code was checked."""
    ended = await command(setup, "deadletters", *arguments)
    text = (ended.stdout + ended.stderr).decode()
    assert ended.returncode == code, text
    return text


async def make_letters(setup: Setup, numbers: Sequence[int], reason: str = "unreadable") -> list[str]:
    """Writes an invitation and its dead letter for each number. Returns the letters' places in their order."""
    await topics.publish(setup.kafka, invitation_records(setup.kafka, [invitation(number) for number in numbers]))
    sources = [consumed(each) for each in await topics.read(setup.kafka, "pisano.invitations")][-len(numbers) :]
    make = DeadLetters(setup.kafka, "send", lambda *_: None).of_record
    letters = [make(each, reason, ValueError("no"), "send/main/closed-case") for each in sources]
    await topics.publish(setup.kafka, letters)
    found = await topics.read(setup.kafka, "connector.deadletters")
    return [f"{each.partition}/{each.offset}" for each in found][-len(numbers) :]


async def worked_off(setup: Setup, stage: str, topic: str) -> bool:
    count = len(await topics.read(setup.kafka, topic))
    return sum((await topics.committed(setup.kafka, stage)).values()) >= count


async def test_a_retried_answer_is_written_once_salesforce_takes_it_and_people_s_changes_stay(
    sf: SalesforceDouble, setup: Setup
) -> None:
    """One rule wrote nothing, because the case was gone; the other left out the field that points to it."""
    case = sf.create("Case", {"Status": "Closed"})
    sf.delete("Case", case)
    async with running_app(setup.config, ["write"]):
        await topics.publish(setup.kafka, [feedback_record(setup, answer(case))])
        await until(lambda: worked_off(setup, "write", "pisano.feedback"))
        rows = {row["reason"]: row for row in await listed(setup)}
        assert {reason: row["cell"] for reason, row in rows.items()} == {
            "does_not_fit": "write/response",
            "record_gone": "write/detractor",
        }
        sf.undelete("Case", case)
        (response,) = sf.records("Survey_Response__c")
        assert response.get("Case__c") is None
        sf.update("Survey_Response__c", response["Id"], {"Score__c": 7})  # a person corrects it
        await said(setup, "retry", *(row["place"] for row in rows.values()))
        await until(lambda: worked_off(setup, "write", "pisano.feedback"))
    (response,) = sf.records("Survey_Response__c")
    assert (response["Case__c"], response["Score__c"]) == (case, 7)
    assert sf.record("Case", case)["Status"] == "Reopened"
    assert await listed(setup) == []
    first, *again = await topics.read(setup.kafka, "pisano.feedback")
    assert [(each.key, each.value, each.partition) for each in again] == [(first.key, first.value, first.partition)] * 2
    origins = {dict(each.headers)["dl_retry"].decode() for each in again}
    assert origins == {row["place"] for row in rows.values()}
    for each in again:
        assert [header for header in each.headers if not header[0].startswith("dl_")] == list(first.headers)


async def test_a_value_that_still_does_not_fit_is_a_letter_again_and_can_be_retried_again(
    tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble
) -> None:
    """An update of one field: the retry has no other value to write. Once the field is mended, the value is written."""
    rule = {
        "update": "Case",
        "by": {"Id": "{{ body.sf_ref_id }}"},
        "fields": {"Priority": "Low", "NPS__c": "{{ body.nps }}"},
    }
    setup = await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, feedback={"nps": rule})
    case = sf.create("Case", {})
    async with running_app(setup.config, ["write"]):
        await topics.publish(setup.kafka, [feedback_record(setup, answer(case, nps="nine", text="9"))])
        await until(lambda: worked_off(setup, "write", "pisano.feedback"))
        (row,) = await listed(setup)
        assert row["reason"] == "does_not_fit"
        await said(setup, "retry", row["place"])
        await until(lambda: worked_off(setup, "write", "pisano.feedback"))
        (again,) = await listed(setup)
        assert again["place"] != row["place"]
    rule["fields"]["NPS__c"] = "{{ body.text }}"  # type: ignore[index]
    mended = await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, feedback={"nps": rule})
    sf.update("Case", case, {"Priority": "High"})
    async with running_app(mended.config, ["write"]):
        await said(mended, "retry", again["place"])
        await until(lambda: worked_off(setup, "write", "pisano.feedback"))
    assert (sf.record("Case", case)["NPS__c"], sf.record("Case", case)["Priority"]) == (9, "High")
    writes = [read(Write, record.value) for record in await topics.read(setup.kafka, "salesforce.writes")]
    assert [write.fields for write in writes if write.success] == [{"Priority": "Low"}, {"NPS__c": 9}]


async def test_a_retried_change_invites_once_the_survey_is_mended(
    tmp_path: Path, bootstrap_servers: str, unique: str
) -> None:
    broken = {"other": PLAIN, "mended": {**PLAIN, "email": "{{ record.SuppliedEmail | divided_by: 0 }}"}}
    setup = await set_up(tmp_path, bootstrap_servers, unique, surveys=broken)
    event = change("5005g0000000001AAA", {"SuppliedEmail": "ada@acme.com"})
    async with running_app(setup.config, ["trigger"]):
        await topics.publish(setup.kafka, change_records(setup.kafka, [event]))
        await until(lambda: worked_off(setup, "trigger", "salesforce.cdc.Case"))
    assert await listed(setup, "--survey", "other") == []
    (row,) = await listed(setup, "--survey", "mended", "--account", "main", "--stage", "trigger", "--since", "1h")
    shown = await said(setup, "show", row["place"])
    assert "ada@acme.com" not in shown
    assert '"record_id": "5005g0000000001AAA"' in shown
    assert "ada@acme.com" in await said(setup, "show", row["place"], "--reveal")
    setup = await set_up(tmp_path, bootstrap_servers, unique, surveys={"other": PLAIN, "mended": PLAIN})
    async with running_app(setup.config, ["trigger"]):
        await said(setup, "retry", "--survey", "mended", "--yes", "--by", "ada")
        await until(lambda: worked_off(setup, "trigger", "salesforce.cdc.Case"))
    found = [read(Invitation, record.value) for record in await topics.read(setup.kafka, "pisano.invitations")]
    assert {one.survey for one in found} == {"other", "mended"}
    assert len({one.id for one in found}) == 2  # the repeat for the other survey has the same id


async def test_a_retried_invitation_is_sent_once_its_account_is_configured(
    tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble
) -> None:
    async def with_account(name: str) -> Setup:
        auth = {"method": "authorized_app", "client_id": "${PISANO_APP_ID}", "client_secret": "${PISANO_APP_SECRET}"}
        webhook = {"path": "/pisano/main", "secret": "${PISANO_WEBHOOK_SECRET}"}
        accounts = {name: {"base_url": "${PISANO_BASE_URL}", "auth": auth, "webhook": webhook}}
        surveys = {"closed-case": {**PLAIN, "account": name}}
        return await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, accounts=accounts, surveys=surveys)

    setup = await with_account("other")
    async with running_app(setup.config, ["send"]):
        await topics.publish(setup.kafka, invitation_records(setup.kafka, [invitation(1)]))
        await until(lambda: worked_off(setup, "send", "pisano.invitations"))
    (row,) = await listed(setup, "--reason", "unknown_account", "--account", "main")
    setup = await with_account("main")
    async with running_app(setup.config, ["send"]):
        await said(setup, "retry", row["place"])
        await until(lambda: worked_off(setup, "send", "pisano.invitations"))
    assert [email.address for email in pisano.emails()] == [invitation(1).email]


async def test_an_invitation_with_an_outcome_is_not_put_back_and_leaves_the_list_once_it_is_settled(
    tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble
) -> None:
    setup = await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, surveys={"closed-case": PLAIN})
    pisano.fail(Fault(calls="email_sharings", kind="drop"))
    async with running_app(setup.config, ["send"]) as app:
        await topics.publish(setup.kafka, invitation_records(setup.kafka, [invitation(1)]))
        await until(lambda: worked_off(setup, "send", "pisano.invitations"))
        ended = await command(setup, "held", "list", "--json", "--url", app.address)
        assert (ended.returncode, json.loads(ended.stdout)["invitation"]) == (1, invitation(1).id)
        (row,) = await listed(setup)
        text = await said(setup, "retry", row["place"], code=1)
        assert f"connector invitations settle {invitation(1).id} sent|resend|drop" in text
        await actions.settle(setup.config, invitation(1).id, "sent", by="ada", reason="seen in Pisano")
        assert await listed(setup) == []

        async def is_settled() -> bool:
            return (await command(setup, "held", "list", "--url", app.address)).returncode == 0

        await until(is_settled)
        (row,) = await listed(setup, "--all")
        assert row["worked_off"].startswith("settled (sent) by ada at ")
    assert len(await topics.read(setup.kafka, "pisano.invitations")) == 1


async def test_an_invitation_can_be_settled_as_long_as_its_letter_is_kept(setup: Setup) -> None:
    """Kafka deletes the invitation's record after 30 days, and its letter after 90."""
    await make_letters(setup, range(1), "unknown")
    one = invitation(0)
    unknown = Settlement(
        invitation=one.id,
        account="main",
        survey=one.survey,
        record_id=one.record_id,
        outcome=Outcome.UNKNOWN,
        reason=Reason.NO_CLEAR_END,
        at=datetime.now(UTC),
    )
    ledger = f"{setup.kafka.topic_prefix}pisano.attempts"
    entry = OutRecord(ledger, f"main/{one.id}".encode(), unknown.model_dump_json().encode(), [])
    await topics.publish(setup.kafka, [entry])
    await topics.delete(setup.kafka, f"{setup.kafka.topic_prefix}pisano.invitations")
    await topics.create(setup.kafka, "pisano.invitations")
    action = await actions.settle(setup.config, one.id, "drop", by="ada", reason="too late")
    assert action.params["invitation"] == one.model_dump(mode="json")


async def test_a_webhook_that_cannot_be_read_can_be_sent_again_from_its_letter(setup: Setup) -> None:
    body = b"name=%s\xff" % NAME.encode()
    async with running_app(setup.config, ["receive"]) as app, httpx.AsyncClient(base_url=app.address) as http:
        headers = {"X-Webhook-Secret": WEBHOOK_SECRET, "Content-Type": "image/png"}
        assert (await http.post("/pisano/main", content=body, headers=headers)).status_code == 200
    (row,) = await listed(setup, "--stage", "receive", "--account", "main")
    assert (row["origin"], row["bytes"]) == ("webhook /pisano/main", len(body))
    assert NAME not in await said(setup, "show", row["place"])
    assert NAME in await said(setup, "show", row["place"], "--reveal")
    assert (await command(setup, "deadletters", "show", row["place"], "--value")).stdout == body
    assert "--value` gives the body" in await said(setup, "retry", row["place"], code=1)
    assert len(await listed(setup)) == 1


async def test_an_event_that_capture_cannot_read_can_only_be_discarded(setup: Setup) -> None:
    make = DeadLetters(setup.kafka, "capture", lambda *_: None).of_body
    cell = {"cell": "capture/data.CaseChangeEvent"}
    letter = make("/data/CaseChangeEvent 0a", b"\x00\x01", "undecodable", ValueError("no"), cell)
    await topics.publish(setup.kafka, [letter])
    (row,) = await listed(setup, "--cell", "capture")
    assert "an event as Salesforce sent it" in await said(setup, "retry", row["place"], code=1)
    await said(setup, "discard", row["place"], "--why", "a test\x1b[2J", "--by", "ada")
    assert await listed(setup) == []
    text = await said(setup, "list", "--all", code=1)
    assert "discarded by ada at" in text
    assert "\x1b" not in text
    assert "already worked off: 1 of capture (undecodable)" in await said(
        setup, "discard", row["place"], "--why", "again", code=1
    )


async def test_two_operators_who_retry_the_same_letters_put_each_back_once(setup: Setup) -> None:
    places = await make_letters(setup, range(250))
    tallies = [Tally(), Tally()]

    async def operator(number: int) -> None:
        chosen = Wanted(stage="send")
        await work_off(setup.config, chosen, "retry", by=f"number {number}", why="", sure=True, tally=tallies[number])

    ended = await asyncio.gather(operator(0), operator(1), return_exceptions=True)
    assert all(each is None or "another operator" in str(each) for each in ended), ended
    assert None in ended
    put_back = (await topics.read(setup.kafka, "pisano.invitations"))[len(places) :]
    assert [dict(record.headers)["dl_retry"].decode() for record in put_back] == places
    assert [record.value for record in put_back] == [
        invitation(number).model_dump_json().encode() for number in range(250)
    ]
    done = sum(count for tally in tallies for (how, *_), count in tally.counts.items() if how == "done")
    assert done == len(places)
    text = await said(setup, "retry", places[0], code=1)
    assert "already worked off: 1 of send (unreadable)" in text
    assert "retried by number " in text


async def test_decisions_about_letters_do_not_count_for_those_of_a_topic_that_was_made_anew(setup: Setup) -> None:
    """The new topic's offsets begin again, and the decisions stay on `connector.actions`."""
    [place] = await make_letters(setup, range(1))
    await said(setup, "discard", place, "--why", "a test")
    assert await listed(setup) == []
    name = setup.kafka.topic_prefix + "connector.deadletters"
    await topics.delete(setup.kafka, name)
    await topics.create(setup.kafka, "connector.deadletters", partitions=1 + int(place.partition("/")[0]))
    letter = DeadLetters(setup.kafka, "send", lambda *_: None).of_record(
        InRecord("pisano.invitations", 0, 0, None, b"{}", (), 0.0), "unreadable", ValueError("no"), "send/unreadable"
    )
    await topics.publish(setup.kafka, [OutRecord(name, None, b"{}", letter.headers, int(place.partition("/")[0]))])
    assert [row["place"] for row in await listed(setup)] == [place]


async def test_a_filter_alone_only_says_what_would_be_done(setup: Setup) -> None:
    await make_letters(setup, range(3))
    text = await said(setup, "retry", "--stage", "send", code=2)
    assert "nothing was done. These pass the filters: 3 of send (unreadable). Add --yes" in text
    assert len(await listed(setup)) == 3
    assert "no dead letter" in await said(setup, "discard", "--stage", "write", "--why", "x", code=2)
    assert len(await listed(setup, "--limit", "2")) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "7"), "is named by PARTITION/OFFSET, such as 0/1234, and not '7'"),
        (("show", "77/0"), "has no partition 77"),
        (("retry", "0/0"), "is empty"),
        (("retry", "0/0", "--stage", "send"), "by their places, or give filters"),
        (("discard", "--why", "x"), "by their places, or give filters"),
        (("list", "--since", "soon"), "'soon' is no time"),
    ],
)
async def test_what_cannot_be_done_is_one_sentence(setup: Setup, arguments: Sequence[str], message: str) -> None:
    assert message in await said(setup, *arguments, code=2)
    assert await said(setup, "list") == "no dead letters\n"


async def test_without_the_topics_it_says_how_to_create_them(setup: Setup, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(setup.file.read_text().replace(setup.kafka.topic_prefix, "nobody."))
    text = await said(Setup(other, setup.environ, setup.config), "list", code=2)
    assert "there is no topic nobody.connector." in text
