"""`connector replay` on a real broker: it repeats the work of a stage, and nothing that is done."""

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import topics
from helpers.change_events import as_records as as_changes
from helpers.change_events import change
from helpers.commands import command
from helpers.invitations import CAMPAIGN, KEYS, as_records, invitation, outcomes
from helpers.service import Setup, running_app, set_up
from helpers.waiting import until

from connector.kafka.cloud_events import OutRecord, to_record
from connector.operate import actions
from connector.reasons import Reason
from connector.records import ChangeEvent, Feedback, Invitation, digest
from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble

SURVEY: dict[str, Any] = {
    "on": "Case",
    "when": 'changed contains "Status" and record.Status == "Closed"',
    "account": "main",
    "campaign": CAMPAIGN,
    "email": "{{ record.SuppliedEmail }}",
    "built_in_responses": {"sf_ref_id": "{{ record.Id }}"},
}


@pytest.fixture
async def pisano() -> AsyncIterator[PisanoDouble]:
    async with PisanoDouble(windows=((10_000, 5.0),), clock=time.monotonic) as double:
        double.add_campaign(CAMPAIGN, KEYS)
        double.configure(invitation_key="sf_ref_id", names_culprit=True)
        yield double


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble) -> Setup:
    account = {"limits": ["10000/5s"], "limit_padding": 0}
    return await set_up(
        tmp_path, bootstrap_servers, unique, pisano=pisano, account=account, surveys={"closed-case": SURVEY}
    )


async def replayed(setup: Setup, *arguments: str, code: int = 0) -> dict[tuple[str, str | None], int]:
    """What a replay reports, by outcome and reason, beside `chosen` and `copies`."""
    ended = await command(setup, "replay", *arguments, "--json")
    assert ended.returncode == code, ended.stderr.decode()
    told = json.loads(ended.stdout)
    assert b"@" not in ended.stdout
    counts: dict[tuple[str, str | None], int] = {(row["what"], row["reason"]): row["count"] for row in told["outcomes"]}
    return {**counts, ("chosen", None): told["chosen"], ("copies", None): told["copies"]}


async def worked_off(setup: Setup, stage: str, topic: str) -> bool:
    count = len(await topics.read(setup.kafka, topic))
    return sum((await topics.committed(setup.kafka, stage)).values()) == count


def closed(number: int, **fields: object) -> ChangeEvent:
    values = {"Status": "Closed", "SuppliedEmail": f"customer-{number}@example.com", **fields}
    return change(f"5005g000000000{number}AAA", values, committed_at=datetime.now(UTC))


async def test_trigger_decides_kept_events_again_into_shadow_topics_with_the_ids_of_the_service(setup: Setup) -> None:
    open_ = change("5005g0000000009AAA", {"Subject": "x"})
    await topics.publish(setup.kafka, as_changes(setup.kafka, [closed(1), closed(2), open_]))
    async with running_app(setup.config, ["trigger"]):
        await until(lambda: worked_off(setup, "trigger", "salesforce.cdc.Case"))
    prefix = f"{setup.kafka.topic_prefix}shadow."
    dry = await replayed(setup, "trigger", "--from", "earliest", "--shadow", prefix, "--dry-run")
    assert dry == {
        ("invited", None): 2,
        ("no survey wants it", None): 1,
        ("chosen", None): 3,
        ("copies", None): 0,
    }
    assert await replayed(setup, "trigger", "--from", "earliest", "--shadow", prefix, "--yes") == dry
    shadow = setup.kafka.model_copy(update={"topic_prefix": prefix})
    made = await topics.read(shadow, "pisano.invitations")
    known = await topics.read(setup.kafka, "pisano.invitations")

    def ids(records: Any) -> list[str]:
        return sorted(Invitation.model_validate_json(record.value).id for record in records)

    assert ids(made) == ids(known)
    assert len(known) == 2
    places = [dict(record.headers)["replay"].decode() for record in made]
    assert all(place.startswith(f"{setup.kafka.topic_prefix}salesforce.cdc.Case/") for place in places)


async def test_trigger_foresees_what_the_sender_would_do_and_e_mails_only_who_has_no_outcome(
    setup: Setup, pisano: PisanoDouble
) -> None:
    await topics.publish(setup.kafka, as_changes(setup.kafka, [closed(1)]))
    async with running_app(setup.config, ["trigger", "send"]):
        await until(lambda: outcomes(setup.kafka))
    refused = change("000000000000000AAA", {}, change_type="GAP_OVERFLOW")
    await topics.publish(setup.kafka, as_changes(setup.kafka, [closed(2), closed(3, SuppliedEmail=None), refused]))
    foreseen = {
        ("has its outcome already", "sent"): 1,
        ("would be sent", None): 1,
        ("would not be sent", "no_address"): 1,
        ("would be a dead letter", "gap"): 1,
        ("chosen", None): 4,
        ("copies", None): 0,
    }
    assert await replayed(setup, "trigger", "--from", "1h", "--dry-run", code=1) == foreseen
    assert await replayed(setup, "trigger", "--from", "1h", "--dry-run", code=1) == foreseen  # it has changed nothing
    assert await replayed(setup, "trigger", "--from", "1h", "--yes", code=1) == {
        ("invited", None): 2,
        ("not invited", "no_address"): 1,
        ("dead letter", "gap"): 1,
        ("chosen", None): 4,
        ("copies", None): 0,
    }
    [letter] = await topics.read(setup.kafka, "connector.deadletters")
    assert dict(letter.headers)["dl_cell"] == b"trigger/closed-case"
    async with running_app(setup.config, ["send"]):
        await until(lambda: worked_off(setup, "send", "pisano.invitations"))
    assert sorted(email.address for email in pisano.emails()) == ["customer-1@example.com", "customer-2@example.com"]
    assert pisano.second_emails() == []


async def test_a_survey_that_has_moved_to_another_account_invites_nobody_again(
    setup: Setup, pisano: PisanoDouble
) -> None:
    """The new account's sender does not know of the old one's invitations."""
    await topics.publish(setup.kafka, as_changes(setup.kafka, [closed(1)]))
    async with running_app(setup.config, ["trigger", "send"]):
        await until(lambda: outcomes(setup.kafka))
    await topics.publish(setup.kafka, as_changes(setup.kafka, [closed(2)]))
    file = yaml.safe_load(setup.file.read_text())
    other = {name: value for name, value in file["pisano"]["main"].items() if name != "webhook"}
    file["pisano"]["other"] = {**other, "auth": {"method": "static_token", "token": "made-up"}}
    file["surveys"]["closed-case"]["account"] = "other"
    setup.file.write_text(yaml.safe_dump(file))
    left_out = {("left out: another account has it", "main"): 1, ("chosen", None): 2, ("copies", None): 0}
    dry = await replayed(setup, "trigger", "--from", "earliest", "--dry-run")
    assert dry == {**left_out, ("would be sent", None): 1}
    asked = await command(setup, "replay", "trigger", "--from", "earliest")
    assert b"Start the service with this configuration first" in asked.stderr
    assert await replayed(setup, "trigger", "--from", "earliest", "--yes") == {**left_out, ("invited", None): 1}
    assert len(await topics.read(setup.kafka, "pisano.invitations")) == 2


async def test_send_beside_its_service_e_mails_nobody_twice(setup: Setup, pisano: PisanoDouble) -> None:
    made_up = [invitation(number) for number in range(10)]
    out = invitation(10, suppressed=Reason.OPTED_OUT)
    await topics.publish(setup.kafka, as_records(setup.kafka, [*made_up, out]))
    assert await replayed(setup, "send", "--from", "earliest", "--dry-run") == {
        ("would be sent", None): 10,
        ("would not be sent", "opted_out"): 1,
        ("chosen", None): 11,
        ("copies", None): 0,
    }
    async with running_app(setup.config, ["send"]):
        await until(lambda: all_settled(setup, 11))
        dry = await replayed(setup, "send", "--from", "earliest", "--dry-run")
        assert dry["has its outcome already", "sent"] == 10
        assert dry["has its outcome already", "suppressed"] == 1
        ended = await command(setup, "replay", "send", "--from", "earliest", "--yes")
        assert ended.returncode == 0, ended.stderr.decode()
        said = ended.stderr.decode()
        assert "11 invitations are written again to" in said
        (action,) = await actions.trail(setup.kafka)
        assert (action.target, action.decision) == ("replay/send", "from earliest"), "a dry run is no action"
        assert "send runs now (members of its group: 1) and goes on beside this replay." in said
        await until(lambda: worked_off(setup, "send", "pisano.invitations"))
        again = await replayed(setup, "send", "--from", "earliest", "--yes")
        assert (again["chosen", None], again["copies", None]) == (11, 11)
        await until(lambda: worked_off(setup, "send", "pisano.invitations"))
    assert len(pisano.emails()) == 10
    assert pisano.second_emails() == []
    assert all(counts.total() == 1 for counts in (await outcomes(setup.kafka)).values())
    first, *_, last = await topics.read(setup.kafka, "pisano.invitations")
    assert (last.key, last.partition) == (first.key, first.partition)
    assert dict(last.headers).keys() - dict(first.headers).keys() == {"replay"}


async def test_some_records_can_be_chosen_and_a_dead_letter_is_foreseen(setup: Setup) -> None:
    made_up = [*(invitation(number) for number in range(5)), invitation(5, account="gone")]
    await topics.publish(setup.kafka, as_records(setup.kafka, made_up))
    by_key = {record.key: record for record in await topics.read(setup.kafka, "pisano.invitations")}
    ours, other = by_key[b"main"].partition, by_key[b"gone"]
    assert ours != other.partition, "the test needs two partitions"
    where = ("--where", 'record.record_id == "case-3" and key == "main" and headers.ce_id != blank')
    assert (await replayed(setup, "send", "--from", "1h", *where, "--dry-run"))["chosen", None] == 1
    part = await replayed(setup, "send", "--from", f"{ours}/1", "--to", f"{ours}/3", "--dry-run")
    assert part == {("would be sent", None): 2, ("chosen", None): 2, ("copies", None): 0}
    gone = await replayed(setup, "send", "--from", f"{other.partition}/{other.offset}", "--dry-run", code=1)
    assert gone["would be a dead letter", "unknown_account"] == 1


async def test_write_beside_its_service_writes_nothing_twice_and_foresees_what_a_new_rule_writes(
    tmp_path: Path, bootstrap_servers: str, unique: str
) -> None:
    def rule(field: str, value: str) -> dict[str, Any]:
        return {"update": "Case", "by": {"Id": "{{ body.case }}"}, "fields": {field: value}}

    async with SalesforceDouble() as sf:
        score, reopen = rule("NPS__c", "{{ body.score }}"), {**rule("Status", "New"), "when": "body.score < 5"}
        setup = await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, feedback={"score": score})
        cases = [sf.create("Case", {"Status": "Closed"}) for _ in range(8)]
        await topics.publish(setup.kafka, [answer(setup, case, score) for score, case in enumerate(cases)])
        async with running_app(setup.config, ["write"]):
            await until(lambda: worked_off(setup, "write", "pisano.feedback"))
            sf.update("Case", cases[3], {"NPS__c": 10})  # by a person, who must not be overwritten
            assert (await replayed(setup, "write", "--from", "earliest", "--yes"))["written again", None] == 8
            await until(lambda: worked_off(setup, "write", "pisano.feedback"))
        assert len(await topics.read(setup.kafka, "salesforce.writes")) == 8
        assert sf.record("Case", cases[3])["NPS__c"] == 10
        await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, feedback={"score": score, "reopen": reopen})
        assert await replayed(setup, "write", "--from", "earliest", "--dry-run") == {
            ("is written already", "score"): 8,
            ("would be written", "reopen"): 5,
            ("chosen", None): 8,
            ("copies", None): 8,
        }
        assert len(await topics.read(setup.kafka, "salesforce.writes")) == 8


def answer(setup: Setup, case: str, score: int) -> OutRecord:
    feedback = Feedback(
        id=digest("made up", case),
        account="main",
        received_at=datetime.now(UTC),
        body={"case": case, "score": score},
    )
    return to_record(
        setup.kafka.topic_prefix + "pisano.feedback",
        case,
        feedback,
        ce_type="pisano.feedback",
        ce_source="/accounts/main",
        ce_id=feedback.id,
        ce_time=feedback.received_at,
    )


async def all_settled(setup: Setup, count: int) -> bool:
    return len(await outcomes(setup.kafka)) == count


async def test_what_cannot_be_replayed_is_one_sentence(setup: Setup, tmp_path: Path) -> None:
    for arguments, said in (
        (("capture", "--from", "earliest"), "capture cannot be replayed: Salesforce keeps what capture reads"),
        (("sand", "--from", "earliest"), "there is no stage sand to replay; did you mean send?"),
        (("send", "--from", "soon"), "--from: 'soon' is neither earliest, nor a period"),
        (("send", "--from", "0/7"), "pisano.invitations/0 is empty"),
        (("send", "--from", "0/0", "--to", "1/0"), "--from 0/0 and --to 1/0 are in different partitions"),
        (("send", "--from", "9/0"), "pisano.invitations has no partition 9"),
        (("send", "--from", "1h", "--to", "earliest"), "there is nothing before the earliest record"),
        (("send", "--from", "earliest"), "there is nothing to replay: the topics hold no record between"),
        (("send", "--from", "earliest", "--dry-run"), "there is nothing to replay: the topics hold no record between"),
        (("write", "--from", "earliest", "--where", "record.boddy != blank"), "did you mean body?"),
        (("send", "--from", "earliest", "--shadow", setup.kafka.topic_prefix), "is what the service uses"),
        (("send", "--from", "earliest", "--shadow", "a/b"), "--shadow: a prefix is up to 64 of"),
        (("send", "--from", "earliest", "--shadow", "a", "--dry-run"), "--dry-run with --shadow is for trigger"),
    ):
        await refused(setup, said, *arguments)
    await topics.publish(setup.kafka, as_records(setup.kafka, [invitation(1)]))
    await refused(setup, "nothing was written: there is no terminal to ask on; say --yes", "send", "--from", "earliest")
    await refused(setup, "--where holds for none", "send", "--from", "1h", "--yes", "--where", "record.id == 'x'")
    assert len(await topics.read(setup.kafka, "pisano.invitations")) == 1
    away = {**setup.environ, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    await refused(Setup(setup.file, away, setup.config), "no Kafka broker answers at", "send", "--from", "earliest")
    empty = setup.file.read_text().replace(setup.kafka.topic_prefix, f"no{setup.kafka.topic_prefix}")
    file = tmp_path / "empty.yaml"
    file.write_text(empty)
    await refused(Setup(file, setup.environ, setup.config), "there is no topic", "send", "--from", "earliest")


async def refused(setup: Setup, said: str, *arguments: str) -> None:
    ended = await command(setup, "replay", *arguments)
    assert (ended.returncode, ended.stdout) == (2, b""), ended
    assert said in ended.stderr.decode().splitlines()[-1]
