"""`connector person`: everything about a person is exported, the person is erased, and nobody else is touched."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from helpers import topics
from helpers.change_events import as_records, change
from helpers.commands import command
from helpers.invitations import CAMPAIGN, invitation
from helpers.invitations import as_records as as_invitations
from helpers.service import Setup, running_app, set_up
from helpers.waiting import until

from connector.explain import Kind, wanted
from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.inbound import consumed
from connector.kafka.ledger import read_entry
from connector.operate import actions, erasure, suppressions
from connector.operate.explain import Explained, explain
from connector.protection import Hashes
from connector.reasons import Reason
from connector.records import Feedback, Invitation, Protection, Raw, Record, Settlement, Write, read
from connector.sandbox.doubles.pisano import PisanoDouble

ADA, ADA_AT_WORK, OTHER = "ada@example.com", "ada@work.example.com", "xada@example.com"
CONTACT = "0035g00000XyZ12AAF"
CASE, OTHERS_CASE, NEXT_CASE = "5005g0000000001AAA", "5005g0000000002AAA", "5005g0000000003AAA"
SURVEY: dict[str, Any] = {
    "on": "Case",
    "when": 'record.Status == "Closed"',
    "account": "main",
    "campaign": CAMPAIGN,
    "email": "{{ record.SuppliedEmail }}; {{ record.Second_Email__c }}",
    "built_in_responses": {"sf_ref_id": "{{ record.Id }}"},
    "protect": {"contact": "{{ record.ContactId }}", "recheck_after": "never"},
}


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble) -> Setup:
    return await set_up(
        tmp_path,
        bootstrap_servers,
        unique,
        pisano=pisano,
        account={"limits": ["10000/5s"], "limit_padding": 0},
        surveys={"now": SURVEY, "later": {**SURVEY, "delay": "30d"}},
        protect={"hash_key": "a made-up key of this test"},
        service={"port": 0, "index": str(tmp_path / "index"), "spool": {"folder": str(tmp_path)}},
    )


def closed(case: str, email: str, contact: str = "", second: str = "", **attributes: object) -> Any:
    fields = {"Status": "Closed", "SuppliedEmail": email, "Second_Email__c": second, "ContactId": contact}
    return change(case, fields, committed_at=datetime.now(UTC), **attributes)


def ours(setup: Setup, topic: str, key: str, record: Record) -> OutRecord:
    name = setup.kafka.topic_prefix + topic
    return to_record(name, key, record, ce_type="t", ce_source="/s", ce_id=key, ce_time=datetime.now(UTC), partition=0)


async def tell(setup: Setup, whom: str) -> Explained:
    """From the index, once it has read everything."""

    async def is_up_to_date() -> Explained | None:
        told = await explain(setup.config, wanted(whom))
        return told if told.source.startswith("the index") and told.source.endswith("up to date") else None

    found = await until(is_up_to_date)
    assert found is not None
    return found


async def latest(setup: Setup, topic: str) -> dict[bytes | None, bytes]:
    found = {record.key: record.value for record in await topics.read(setup.kafka, topic)}
    return {key: value for key, value in found.items() if value is not None}


async def settled(setup: Setup, survey: str, case: str) -> Settlement | None:
    entries = [read_entry(record.value) for record in await topics.read(setup.kafka, "pisano.attempts")]
    found = [one for one in entries if isinstance(one, Settlement) and (one.survey, one.record_id) == (survey, case)]
    assert len(found) < 2
    return found[0] if found else None


def answer(id_: str, email: str, **changes: Any) -> Feedback:
    return Feedback(id=id_, account="main", received_at=datetime.now(UTC), body={"email": email}, **changes)


def stored(feedback: Feedback) -> Write:
    """What was written of an answer."""
    return Write(
        id=feedback.id,
        feedback=feedback.id,
        rule="response",
        operation="upsert",
        object="Survey_Response__c",
        key_field="Pisano_Id__c",
        key=feedback.id,
        fields={"Comment__c": "so so"},
        error="too long: so so",
        success=True,
        at=feedback.received_at,
    )


async def add_the_rest(setup: Setup) -> None:
    """An answer that names only the case, what was written of it, a dead letter, and an entry of the list."""
    given = Feedback(id="f" * 32, account="main", received_at=datetime.now(UTC), body={"sf_ref_id": CASE})
    write = stored(given)
    one, *_ = [each for each in await topics.read(setup.kafka, "pisano.invitations") if ADA.encode() in each.value]
    letter = DeadLetters(setup.kafka, "send", lambda *_: None).of_record(consumed(one), "no", ValueError(), "send/x")
    records = [ours(setup, "pisano.feedback", CASE, given), ours(setup, "salesforce.writes", write.id, write), letter]
    await topics.publish(setup.kafka, records)
    entries = [suppressions.entry(whom, survey="gone", by="legal") for whom in (ADA, CONTACT, OTHER)]
    await suppressions.write(setup.kafka, entries)


async def test_a_person_is_exported_and_erased_and_nobody_else(setup: Setup, pisano: PisanoDouble) -> None:
    async with running_app(setup.config, ["trigger", "send", "index"]):
        events = [closed(CASE, ADA, CONTACT), closed(OTHERS_CASE, OTHER)]
        await topics.publish(setup.kafka, as_records(setup.kafka, events))

        async def one_sent_and_one_waits_for_each() -> bool:
            return len(pisano.emails()) == 2 and len(await latest(setup, "pisano.waiting")) == 2

        await until(one_sent_and_one_waits_for_each)
        await until(lambda: settled(setup, "now", CASE))  # the e-mail is there before its outcome
        await add_the_rest(setup)
        assert len((await tell(setup, ADA)).story.of(Kind.INVITATION)) == 2

        exported = await command(setup, "person", "export", CONTACT)  # the address comes from the invitations
        assert exported.returncode == 0, exported.stderr
        lines = [json.loads(line) for line in exported.stdout.splitlines()]
        counts = Counter(line["topic"].removeprefix(setup.kafka.topic_prefix) for line in lines)
        assert counts == {
            "salesforce.cdc.Case": 1,
            "pisano.invitations": 2,
            "pisano.waiting": 1,
            "pisano.attempts": 3,  # a call has two, and an invitation its outcome
            "pisano.feedback": 1,
            "salesforce.writes": 1,
            "connector.deadletters": 1,
            "pisano.suppressions": 2,
        }
        assert OTHER not in exported.stdout.decode()
        assert all(line["value"] for line in lines)

        asked = await command(setup, "person", "erase", ADA)
        assert (asked.returncode, b"nothing was done" in asked.stdout) == (1, True)
        assert len(await latest(setup, "pisano.suppressions")) == 3
        erased = await command(setup, "person", "erase", ADA, "--yes", "--by", "dpo")
        assert erased.returncode == 0, erased.stderr
        said = erased.stdout.decode()
        assert (ADA in said, "a***@example.com" in said) == (False, True)
        assert "pisano.feedback: 1 records stay until 20" in said
        assert "pisano.waiting: 1 records: what was replaced is gone when Kafka compacts" in said

        waiting = await until(lambda: settled(setup, "later", CASE))
        assert (waiting.reason, waiting.action is not None) == (Reason.ERASED, True)
        (other,) = (await latest(setup, "pisano.waiting")).values()
        assert read(Invitation, other).email == OTHER

        again = [closed(NEXT_CASE, ADA.upper()), closed(OTHERS_CASE, OTHER, transaction_key="transaction-2")]
        await topics.publish(setup.kafka, as_records(setup.kafka, again))
        assert (await until(lambda: settled(setup, "now", NEXT_CASE))).reason is Reason.ERASED
        await until(lambda: len(pisano.emails()) == 3)
        assert [fact.kind for fact in (await tell(setup, ADA)).story.facts] == [Kind.SUPPRESSION]
        assert [fact.kind for fact in (await tell(setup, CONTACT)).story.facts] == [Kind.SUPPRESSION]
        assert len((await tell(setup, OTHER)).story.of(Kind.INVITATION)) == 4
    assert Counter(email.address for email in pisano.emails()) == {ADA: 1, OTHER: 2}
    assert {key for key in await latest(setup, "pisano.suppressions") if not (key or b"").startswith(b"person/")} == {
        f"email/{OTHER}/gone".encode()
    }
    removed = await command(setup, "suppress", "remove", ADA)  # the person asks for surveys again
    assert removed.returncode == 0, removed.stderr
    (left,) = [key for key in await latest(setup, "pisano.suppressions") if (key or b"").startswith(b"person/")]
    assert left == f"person/{Hashes('a made-up key of this test').persons(CONTACT, None)[0]}".encode()
    (write,) = [read(Write, value) for value in (await latest(setup, "salesforce.writes")).values()]
    assert (write.success, write.fields, write.error) == (True, {}, "erased")


async def test_a_contact_whom_a_survey_invites_at_several_addresses_is_erased_with_all_of_them(
    setup: Setup, pisano: PisanoDouble
) -> None:
    async with running_app(setup.config, ["trigger", "send", "index"]):
        both = closed(CASE, ADA, CONTACT, second=ADA_AT_WORK)
        await topics.publish(setup.kafka, as_records(setup.kafka, [both]))

        async def one_sent_and_one_waits_for_each() -> bool:
            return len(pisano.emails()) == 2 and len(await latest(setup, "pisano.waiting")) == 2

        await until(one_sent_and_one_waits_for_each)
        assert len((await tell(setup, CONTACT)).story.of(Kind.INVITATION)) == 4
        exported = await command(setup, "person", "export", CONTACT)
        names = [json.loads(line)["topic"] for line in exported.stdout.splitlines()]
        assert names.count(setup.kafka.topic_prefix + "pisano.invitations") == 4

        erased = await command(setup, "person", "erase", CONTACT, "--yes", "--by", "dpo")
        assert b"waiting invitations, ended by the account's sender: 2" in erased.stdout, erased.stderr

        async def nothing_waits() -> bool:
            return not await latest(setup, "pisano.waiting")

        await until(nothing_waits)
        later = [closed(NEXT_CASE, ADA_AT_WORK), closed(OTHERS_CASE, OTHER)]  # the first without the contact's id
        await topics.publish(setup.kafka, as_records(setup.kafka, later))
        assert (await until(lambda: settled(setup, "now", NEXT_CASE))).reason is Reason.ERASED
        await until(lambda: settled(setup, "now", OTHERS_CASE))
    assert Counter(email.address for email in pisano.emails()) == {ADA: 1, ADA_AT_WORK: 1, OTHER: 1}


async def test_whoever_shares_an_address_is_another_person_only_if_the_operator_says_so(setup: Setup) -> None:
    family, own, child = "family@example.com", "ada@example.com", "0035g00000Child"
    each = [(family, CONTACT[:15]), (own, CONTACT[:15]), (family, child)]
    invitations = [
        invitation(number, email=email, cause="one change", protection=Protection(contact=contact))
        for number, (email, contact) in enumerate(each)
    ]
    settled = actions.action_of("settle", f"main/{invitations[2].id}", "drop", by="op", reason=f"not {own}")
    settled.params["invitation"] = invitations[2].model_dump(mode="json")
    await topics.publish(setup.kafka, as_invitations(setup.kafka, invitations))
    body = Raw(content=f'[{{"email": "{own}"}}, {{"email": "{OTHER}"}}]', encoding="utf-8", bytes=1, content_type="")
    answers = [answer("1" * 32, own, raw=body), answer("2" * 32, OTHER, raw=body)]
    await topics.publish(
        setup.kafka,
        [
            actions.record_of(setup.kafka, settled),
            *(ours(setup, "pisano.feedback", one.id, one) for one in answers),
            *(ours(setup, "salesforce.writes", one.id, stored(one)) for one in answers),
        ],
    )

    async def exported(whom: str, sharing: str) -> set[int]:
        ended = await command(setup, "person", "export", whom, "--sharing", sharing)
        lines = [json.loads(line) for line in ended.stdout.splitlines()]
        return {line["offset"] for line in lines if line["topic"].endswith("pisano.invitations")}

    file = setup.file.with_name("ada.jsonl")
    refused = await command(setup, "person", "export", CONTACT, "--output", str(file))
    assert (refused.returncode, refused.stdout, file.exists()) == (2, b"", False)
    assert f"the contacts {child}, {CONTACT[:15]} share an address. Add --sharing" in refused.stderr.decode()
    assert await exported(CONTACT, "other") == {0, 1}
    assert await exported(family, "other") == {0, 2}
    assert await exported(CONTACT, "same") == {0, 1, 2}
    planned = await erasure.plan(setup.config, CONTACT, by="dpo", why="asked", sharing="other")
    hashes = Hashes("a made-up key of this test")
    persons = {*hashes.persons(CONTACT, own)}
    assert {(record.key or b"").decode().partition("/")[2] for record in planned.entries} == persons
    assert [json.loads(record.value or b"")["id"] for record in planned.writes] == ["1" * 32]
    assert planned.waiting == []  # the decision about the child's invitation stays
    kept = [(stays.records, stays.is_replaced) for stays in planned.stays if stays.topic.endswith("connector.actions")]
    assert kept == [(1, False)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "f" * 32), "name a person by an e-mail address"),
        (("erase", "somebody"), "nothing is called 'somebody'"),
        (("export", ADA, "--output", "/nowhere/file"), "/nowhere/file cannot be written"),
    ],
)
async def test_what_cannot_be_done_is_one_sentence(setup: Setup, arguments: tuple[str, ...], message: str) -> None:
    ended = await command(setup, "person", *arguments)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert message in ended.stderr.decode()
    assert ended.stderr.count(b"\n") == 1
