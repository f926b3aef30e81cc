"""Dead letters without a broker: what filters take, what is masked, and what a retry puts back."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.change_events import change
from helpers.config_files import MINIMAL
from helpers.config_files import read as config_of
from helpers.protection import survey

from connector.cells import Cells
from connector.config import Config
from connector.errors import Fatal
from connector.kafka.dead_letters import DeadLetters, Retry, retried, retry_of
from connector.kafka.inbound import InRecord
from connector.kafka.skipped import Skipped
from connector.observe.metrics import Metrics
from connector.operate.actions import action_of
from connector.operate.letters import Decisions, Letter, Wanted, moment, target_of
from connector.operate.masked import described, printable, value_of
from connector.operate.work_off import Tally, obstacle
from connector.stages.trigger import Trigger
from connector.surveys.invitations import SurveyRule
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader
from connector.wiring import releases

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
FEEDBACK: dict[str, Any] = {
    "id": "f1",
    "account": "main",
    "body": {"nps_score": 9, "comment": "call me back", "ada@acme.com": ["x"]},
    "unheard_of": "Ada Byron",
}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_of(tmp_path, MINIMAL)


def a_letter(
    config: Config,
    stage: str,
    cell: str,
    reason: str = "unreadable",
    *,
    value: bytes | None = b"{}",
    headers: tuple[tuple[str, bytes], ...] = (("ce_id", b"x"),),
    fields: tuple[str, ...] = (),
) -> Letter:
    record = InRecord("topic", 3, 17, b"ada@acme.com", value, headers, 0.0)
    make = DeadLetters(config.kafka, stage, lambda *_: None)
    letter = make.of_record(record, reason, ValueError("no"), cell, fields)
    return Letter(InRecord("connector.deadletters", 0, 12, letter.key, letter.value, tuple(letter.headers), 0.0))


def a_body(config: Config, source: str, body: bytes = b"{") -> Letter:
    letter = DeadLetters(config.kafka, "receive", lambda *_: None).of_body(source, body, "unreadable", ValueError("no"))
    return Letter(InRecord("connector.deadletters", 1, 5, letter.key, letter.value, tuple(letter.headers), 0.0))


def test_a_filter_knows_survey_and_account_from_cell_value_or_webhook(config: Config) -> None:
    invitation = b'{"account": "main", "survey": "closed-case"}'
    letters = {
        "trigger": a_letter(config, "trigger", "trigger/closed-case"),
        "send": a_letter(config, "send", "send/main/closed-case"),
        "unreadable cell": a_letter(config, "send", "send/unreadable", value=invitation),
        "write": a_letter(config, "write", "write/response", value=b'{"account": "main"}'),
        "webhook": a_body(config, "webhook /pisano/main"),
        "other": a_letter(config, "trigger", "trigger/closed-case-2", value=b"\xff"),
    }

    def taken(**filters: Any) -> set[str]:
        return {name for name, letter in letters.items() if Wanted(**filters).takes(letter, config)}

    assert taken() == letters.keys()
    assert taken(survey="closed-case") == {"trigger", "send", "unreadable cell"}
    assert taken(account="main") == letters.keys() - {"other"}
    assert taken(cell="trigger/closed-case") == {"trigger"}
    assert taken(cell="send") == {"send", "unreadable cell"}
    assert taken(stage="write", reason="unreadable") == {"write"}
    assert taken(reason="other") == set()
    at = letters["send"].at
    assert taken(since=at, until=at, stage="send", cell="send/main") == {"send"}
    assert taken(since=at + timedelta(hours=1)) == taken(until=at - timedelta(hours=1)) == set()


@pytest.mark.parametrize(
    ("text", "is_end", "at"),
    [
        ("2h", False, NOW - timedelta(hours=2)),
        ("2026-06-01", False, datetime(2026, 6, 1, tzinfo=UTC)),
        ("2026-06-01", True, datetime(2026, 6, 2, tzinfo=UTC) - timedelta(microseconds=1)),
        ("2026-06-01T09:00+03:00", False, datetime(2026, 6, 1, 6, tzinfo=UTC)),
        ("2026-06-01T09:00", True, datetime(2026, 6, 1, 9, tzinfo=UTC)),
        ("1900-01-01", False, datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_is_a_duration_a_day_or_a_time(text: str, is_end: bool, at: datetime) -> None:
    assert moment(text, NOW, is_end=is_end) == at


@pytest.mark.parametrize("text", ["soon", "", "99999999999d", "2026-13-01", "-1h"])
def test_any_other_time_is_an_error(text: str) -> None:
    with pytest.raises(Fatal, match="is no time"):
        moment(text, NOW)


def test_customers_values_are_masked_and_the_connectors_own_are_not(config: Config) -> None:
    letter = a_letter(config, "write", "write/response", value=json.dumps(FEEDBACK).encode())
    shown = json.loads(value_of(letter, reveal=False))
    assert (shown["id"], shown["account"]) == ("f1", "main")
    assert shown["body"] == {
        "nps_score": "***",
        "comment": "c*** (12 characters)",
        "a***@acme.com": ["*** (1 characters)"],
    }
    assert shown["unheard_of"] == "A*** (9 characters)"
    assert json.loads(value_of(letter, reveal=True)) == FEEDBACK
    text = described(letter, None, reveal=False)
    assert "ada@acme.com" not in text
    assert "ada@acme.com" in described(letter, None, reveal=True)


def test_of_a_body_that_cannot_be_read_nothing_is_shown_unasked(config: Config) -> None:
    letter = a_body(config, "webhook /pisano/main", b"Ada \x1b[2J\xff")
    assert value_of(letter, reveal=False) == "9 bytes that are no JSON; --reveal shows them"
    assert value_of(letter, reveal=True) == "Ada \\x1b[2J\\xff"
    names = a_body(config, "webhook /pisano/main", b'{"id": "Ada Byron", "account": "b@c.de"}')
    assert json.loads(value_of(names, reveal=False)) == {"id": "A*** (9 characters)", "account": "*** (6 characters)"}
    assert value_of(a_letter(config, "write", "write/response", value=None), reveal=False) == "no value"


def test_a_terminal_gets_no_control_characters() -> None:
    assert printable("a\x1b]0;x\x07\r\nb\u202e") == "a\\x1b]0;x\\x07\\r\nb\\u202e"


def test_a_retry_puts_back_the_record_as_it_was_and_says_which_letter_it_was(config: Config) -> None:
    record = retried(a_letter(config, "trigger", "trigger/closed-case").record)
    assert (record.topic, record.partition, record.key, record.value) == ("topic", 3, b"ada@acme.com", b"{}")
    assert record.headers == [("ce_id", b"x"), ("dl_retry", b"0/12"), ("dl_retry_cell", b"trigger/closed-case")]


@pytest.mark.parametrize(
    ("cell", "decide"),
    [
        ("trigger/closed-case", ["closed-case"]),
        ("trigger/unreadable", ["closed-case", "other"]),
        ("trigger/renamed-since", ["closed-case", "other"]),
    ],
)
def test_a_change_that_is_put_back_is_decided_by_its_own_survey_while_there_is_one(
    config: Config, cell: str, decide: list[str]
) -> None:
    """If another survey has another account now, that one does not know whom the first one has e-mailed."""

    async def nothing(*_: object) -> list[dict[str, Any]]:
        return []

    reader = Reader(Lookup(nothing), Lookup(nothing))
    rules = [SurveyRule(name, survey(), reader) for name in ("closed-case", "other")]
    trigger = Trigger(rules, nothing, "invitations", ours=lambda _: False, metrics=Metrics())
    value = change("5005g0000000001AAA", {}, entity="Case").model_dump_json().encode()
    assert list(trigger.plan(InRecord("topic", 3, 17, b"x", value, (), 0.0))) == ["closed-case", "other"]
    back = retried(a_letter(config, "trigger", cell, value=value).record)
    assert list(trigger.plan(InRecord("topic", 3, 18, back.key, back.value, tuple(back.headers), 0.0))) == decide


def test_a_retry_names_the_values_that_were_left_out_to_their_rule_alone_also_the_second_time(config: Config) -> None:
    first = retried(a_letter(config, "write", "write/response", "does_not_fit", fields=("A__c", "B__c")).record)
    back = InRecord("topic", 3, 18, first.key, first.value, tuple(first.headers), 0.0)
    assert retry_of(back, "write/response") == Retry("0/12", ("A__c", "B__c"))
    assert retry_of(back, "write/detractor") is None
    again = retried(a_letter(config, "write", "write/response", headers=back.headers).record)
    assert dict(again.headers)["dl_retry_fields"] == b"A__c,B__c"
    less = retried(a_letter(config, "write", "write/response", headers=back.headers, fields=("B__c",)).record)
    assert dict(less.headers)["dl_retry_fields"] == b"B__c"
    other = retried(a_letter(config, "write", "write/detractor", headers=back.headers).record)
    assert other.headers == [("ce_id", b"x"), ("dl_retry", b"0/12"), ("dl_retry_cell", b"write/detractor")]


def test_a_retry_that_would_do_nothing_says_what_to_do_instead(config: Config) -> None:
    value = b'{"account": "main", "id": "abc"}'
    unknown = a_letter(config, "send", "send/main/closed-case", "unknown", value=value)
    assert "connector invitations settle abc sent|resend|drop" in (obstacle(unknown) or "")
    assert "Pisano has refused" in (obstacle(a_letter(config, "send", "send/main/x", "rejected", value=value)) or "")
    assert "show 1/5 --value" in (obstacle(a_body(config, "webhook /pisano/main")) or "")
    assert obstacle(a_letter(config, "send", "send/unreadable", "unknown_account")) is None
    assert obstacle(a_letter(config, "write", "write/response", "does_not_fit")) is None


def taken(action: Any) -> Decisions:
    decisions = Decisions()
    value = action.model_dump_json().encode()
    decisions.take(InRecord("connector.actions", 0, 0, action.target.encode(), value, (), 0.0))
    return decisions


def test_a_letter_is_worked_off_by_a_decision_about_it_or_later_about_its_invitation(config: Config) -> None:
    value = b'{"account": "main", "id": "abc"}'
    letter = a_letter(config, "send", "send/main/closed-case", "unknown", value=value)
    done = action_of("dead_letter", target_of(letter), "discard", by="ada", reason="x")
    assert taken(done).about(letter) == done
    settled = action_of("settle", "main/abc", "sent", by="ada", reason="x", params={"invitation": {}})
    about = taken(settled).about(letter)
    assert about is not None
    assert (about.id, about.params) == (settled.id, {})
    earlier = settled.model_copy(update={"at": letter.at - timedelta(seconds=1)})  # resent, and in doubt again
    assert taken(earlier).about(letter) is None
    assert Decisions().about(letter) is None


def test_a_record_that_is_no_action_decides_nothing(config: Config) -> None:
    decisions, letter = Decisions(), a_letter(config, "write", "write/response")
    decisions.take(InRecord("connector.actions", 0, 0, target_of(letter).encode(), b"{", (), 0.0))
    assert decisions.about(letter) is None


def test_a_letter_of_any_other_client_is_listed_with_what_it_has() -> None:
    letter = Letter(InRecord("connector.deadletters", 0, 1, None, b"\xff", (("dl_at", b"yesterday"),), 1.0))
    assert (letter.stage, letter.origin, letter.at) == ("", "", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    assert "0/1" in described(letter, None, reveal=True)


def test_the_tally_counts_by_stage_and_reason_with_one_example(config: Config) -> None:
    tally = Tally()
    for _ in range(2):
        tally.add(a_letter(config, "write", "write/response"), "done", "")
    tally.add(a_letter(config, "send", "send/main/x"), "before", "retried by ada")
    assert tally.lines("retry") == [
        "retried: 2 of write (unreadable), the first is 0/12",
        "already worked off: 1 of send (unreadable), 0/12: retried by ada",
    ]
    assert tally.left == 1


async def test_a_release_makes_the_next_probe_of_a_held_cell_and_those_in_it_due() -> None:
    cells = Cells()
    cell, below, other = (cells.at(name) for name in ("send/main", "send/main/x", "send/mainz"))
    for each in (cell, below, other):
        each.hold(Fatal("gone"), "configuration", at_least=1_000_000.0)
    action = action_of("cell", "cell/send/main", "release", by="ada", reason="")
    probing = asyncio.create_task(_turn(below))
    waiting = asyncio.create_task(_turn(other))
    await asyncio.sleep(0)
    releases.take(cells, Skipped(cells), action.target.encode(), action.model_dump_json().encode(), 0)
    await probing
    assert not waiting.done()
    waiting.cancel()


async def _turn(cell: Any) -> None:
    async with cell.turn():
        pass


def test_a_release_of_a_cell_that_is_not_held_does_nothing() -> None:
    action = action_of("cell", "cell/send/main", "release", by="ada", reason="")
    cells = Cells()
    releases.take(cells, Skipped(cells), action.target.encode(), action.model_dump_json().encode(), 0)
    assert cells.held() == {}
