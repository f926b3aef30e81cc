"""What dry runs, previews and forecasts say about the brake: the same as the account's sender would do."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.change_events import change
from helpers.config_files import MINIMAL, read
from helpers.invitations import invitation
from helpers.made_up_topics import MadeUpTopics, case_id
from pydantic import BaseModel

from connector.config import Config
from connector.decisions import Action
from connector.kafka.inbound import InRecord
from connector.kafka.kept import Place
from connector.kafka.waiting import Waiting
from connector.operate import forecast, ledgers
from connector.operate.actions import action_of
from connector.operate.foreseen import Sending
from connector.operate.protections import verdicts
from connector.protection import Go, Wait
from connector.reasons import Reason
from connector.records import Invitation, Outcome, Protection, Settlement
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader

NOW = datetime.now(UTC)
HELD = ("would wait", "brake")
SENT = ("would be sent", None)


class Kept:
    """What the topics hold."""

    def __init__(self, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
        self._made = MadeUpTopics(config)
        self._prefix = config.kafka.topic_prefix
        self.records: list[InRecord] = []
        for module in (ledgers, forecast):
            monkeypatch.setattr(module, "kept", self._kept)

    def put(self, topic: str, key: str, record: BaseModel) -> None:
        self.records.append(self._made.put(topic, key, record, NOW))

    async def _kept(self, _: object, names: Sequence[str], **__: object) -> AsyncIterator[InRecord]:
        for record in self.records:
            if record.topic in names:
                yield record


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return read(tmp_path, MINIMAL.replace("    account: main\n", "    account: main\n    protect: {brake: 5/1h}\n"))


@pytest.fixture
def kept(config: Config, monkeypatch: pytest.MonkeyPatch) -> Kept:
    return Kept(config, monkeypatch)


def made_at(number: int, at: datetime = NOW) -> Invitation:
    return invitation(number, protection=Protection(happened_at=at, not_before=at))


def foreseen(sending: Sending, *invitations: Invitation) -> Counter[tuple[str, str | None]]:
    found = [sending.of(one, Place("pisano.invitations", 0, number)) for number, one in enumerate(invitations)]
    return Counter((one.what, one.reason) for one in found)


def settled(one: Invitation) -> Settlement:
    return Settlement(
        invitation=one.id,
        account=one.account,
        survey=one.survey,
        record_id=one.record_id,
        outcome=Outcome.SENT,
        happened_at=one.protection.happened_at,
        at=NOW,
    )


def decided(decision: str) -> Action:
    return action_of("brake", "main/closed-case", decision, by="ada", reason="a test")


async def test_a_dry_run_foresees_that_the_brake_holds_a_flood(config: Config, kept: Kept) -> None:
    sending = await Sending.load(config)
    assert foreseen(sending, *(made_at(number) for number in range(100))) == {SENT: 5, HELD: 95}


async def test_what_was_sent_counts_and_one_at_another_time_does_not(config: Config, kept: Kept) -> None:
    for number in range(4):
        kept.put("pisano.attempts", f"main/{made_at(number).id}", settled(made_at(number)))
    sending = await Sending.load(config)
    old = [made_at(number, NOW - timedelta(hours=number)) for number in range(10, 20)]
    assert foreseen(sending, *old) == {SENT: 10}
    assert foreseen(sending, made_at(1)) == {("has its outcome already", "sent"): 1}
    assert foreseen(sending, *(made_at(number) for number in range(4, 8))) == {SENT: 1, HELD: 3}


async def test_an_address_is_invited_once_for_a_change(config: Config, kept: Kept) -> None:
    """A change that is decided anew may make another invitation to the same address."""
    one = made_at(1)
    again = one.model_copy(update={"id": made_at(2).id})
    assert foreseen(await Sending.load(config), one, again) == {SENT: 1, ("would not be sent", "invited_before"): 1}


def waits(config: Config, kept: Kept, one: Invitation) -> None:
    """The invitation waits for a person to decide about the brake."""
    made = MadeUpTopics(config).put("pisano.invitations", "main", one, NOW)
    out = Waiting(config.kafka, "main", 0).record(made, one, None)
    headers = tuple((name, value or b"") for name, value in out.headers)
    kept.records.append(InRecord(out.topic, 0, len(kept.records), out.key, out.value, headers, NOW.timestamp()))


async def test_while_others_wait_for_a_person_so_does_one_more_until_there_is_a_decision(
    config: Config, kept: Kept
) -> None:
    waits(config, kept, made_at(1))
    assert foreseen(await Sending.load(config), made_at(2), made_at(1)) == {HELD: 1, ("waits already", None): 1}
    assert await verdicts(config, "main", [made_at(2)], NOW) == [Wait(None, Reason.BRAKE)]
    kept.put("connector.actions", "main/closed-case", decided("release"))
    assert foreseen(await Sending.load(config), made_at(2)) == {SENT: 1}
    assert await verdicts(config, "main", [made_at(2)], datetime.now(UTC)) == [Go()]


async def test_a_preview_counts_what_it_is_asked_about_once(config: Config, kept: Kept) -> None:
    for number in range(5):
        kept.put("pisano.attempts", f"main/{made_at(number).id}", settled(made_at(number)))
    assert await verdicts(config, "main", [made_at(1)], NOW) == [Go()]
    assert await verdicts(config, "main", [made_at(5)], NOW) == [Wait(None, Reason.BRAKE)]


async def test_a_forecast_says_how_many_the_brake_would_have_held(config: Config, kept: Kept) -> None:
    for number in range(20):
        event = change(case_id(number), {"SuppliedEmail": f"customer-{number}@example.com"}, committed_at=NOW)
        kept.put("salesforce.cdc.Case", event.record_id, event)

    async def nobody(*_: object) -> list[dict[str, Any]]:
        return []

    reader = Reader(Lookup(nobody), Lookup(nobody))
    [closed], _ = await forecast.forecast(config, reader, NOW - timedelta(days=1))
    assert (closed.events, closed.invited, closed.waits) == (20, 20, {"brake": 15})
