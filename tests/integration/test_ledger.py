"""The ledger on a real broker: the worker that opens it knows everything; its earlier owner can write nothing more."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from helpers import topics
from helpers.invitations import invitation

from connector.config import Kafka
from connector.errors import Fatal, Retryable
from connector.kafka import read_back
from connector.kafka.ledger import Ledger, LedgerLost
from connector.records import Attempt, Outcome, Settlement

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def kafka(bootstrap_servers: str, unique: str) -> Kafka:
    kafka = Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)
    await topics.create(kafka, "pisano.attempts")
    await topics.create(kafka, "pisano.waiting")
    await topics.create(kafka, "connector.deadletters")
    return kafka


@asynccontextmanager
async def opened(kafka: Kafka, account: str = "main", calls_since: datetime = NOW) -> AsyncIterator[Ledger]:
    ledger = await Ledger.open(kafka, account, partition=0, calls_since=calls_since)
    try:
        yield ledger
    finally:
        await ledger.close()


def attempt(number: int, account: str = "main") -> Attempt:
    return Attempt(
        id=f"attempt-{number}",
        account=account,
        call="email_sharings",
        campaign="4711",
        invitations=(invitation(number).id,),
        state="begun",
        begun_at=NOW,
    )


def settled(begun: Attempt) -> Attempt:
    return begun.model_copy(update={"state": "settled", "result": "accepted", "settled_at": NOW})


def settlement(number: int, account: str = "main") -> Settlement:
    return Settlement(
        invitation=invitation(number).id,
        account=account,
        survey="closed-case",
        record_id=f"case-{number}",
        outcome=Outcome.SENT,
        attempt=f"attempt-{number}",
        at=NOW,
    )


async def test_whoever_opens_it_knows_what_was_settled_and_what_was_only_begun(kafka: Kafka) -> None:
    async with opened(kafka) as before:
        await before.begin(attempt(1))
        await before.settle(settled(attempt(1)), [settlement(1)])
        await before.begin(attempt(2))
    async with opened(kafka) as after:
        assert [after.is_settled(invitation(number).id) for number in (1, 2)] == [True, False]
        assert after.unsettled(invitation(1).id) is None
        assert after.unsettled(invitation(2).id) == attempt(2)
        assert after.earlier_calls == {"attempt-1": NOW, "attempt-2": NOW}
    async with opened(kafka, calls_since=NOW + timedelta(seconds=1)) as later:
        assert later.earlier_calls == {}
        assert later.unsettled(invitation(2).id) == attempt(2)


async def test_the_next_owner_counts_the_calls_that_may_have_e_mailed_an_invitation(kafka: Kafka) -> None:
    """So an invitation is not sent again after each restart."""
    again = attempt(1).model_copy(update={"id": "attempt-1-again"})
    async with opened(kafka) as before:
        await before.begin(attempt(1))
        await before.settle(settled(attempt(1)).model_copy(update={"result": "unknown"}))
        assert before.doubts(invitation(1).id) == 1
        await before.begin(again)
        await before.begin(attempt(2))
        await before.settle(settled(attempt(2)))
    async with opened(kafka) as after:
        assert [after.doubts(invitation(number).id) for number in (1, 2)] == [2, 0]
        await after.settle(settled(again))
        assert after.doubts(invitation(1).id) == 1


async def test_it_is_read_whole_every_time(kafka: Kafka) -> None:
    """aiokafka can be made to read from the end; such a reader would not know which customers already got an e-mail."""
    for number in range(15):
        async with opened(kafka) as ledger:
            assert len(ledger.settled) == number
            await ledger.settle(None, [settlement(number)])


async def test_an_earlier_owner_can_write_nothing_more(kafka: Kafka) -> None:
    """Then it makes no call either, because it must record an attempt first."""
    async with opened(kafka) as earlier:
        await earlier.begin(attempt(1))
        async with opened(kafka) as owner:
            with pytest.raises(LedgerLost, match="another worker"):
                await earlier.begin(attempt(2))
            await owner.begin(attempt(3))
    async with opened(kafka) as now:
        assert sorted(now.begun) == ["attempt-1", "attempt-3"]


async def test_accounts_that_share_a_partition_know_nothing_of_each_other(kafka: Kafka) -> None:
    async with opened(kafka, "main") as main, opened(kafka, "other") as other:
        await main.settle(settled(attempt(1)), [settlement(1)])
        await other.settle(settled(attempt(2, "other")), [settlement(2, "other")])
    async with opened(kafka, "other") as other:
        assert [other.is_settled(invitation(number).id) for number in (1, 2)] == [False, True]
        assert list(other.earlier_calls) == ["attempt-2"]


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "perhaps"},
        {"kind": "settling"},
        {"invitation": 7},
        {"account": None},
        {"at": ...},
    ],
)
async def test_an_entry_that_cannot_be_read_is_found_among_many_that_can(kafka: Kafka, change: dict[str, Any]) -> None:
    """`...` leaves a field out."""
    good = [settlement(number).model_dump(mode="json") for number in range(150)]
    bad = {name: value for name, value in {**good[0], **change}.items() if value is not ...}
    entries = [json.dumps(entry).encode() for entry in (*good[:70], bad, *good[70:])]
    await topics.produce(kafka, kafka.topic_prefix + "pisano.attempts", entries)
    with pytest.raises(Fatal, match=r"pisano\.attempts, partition 0, offset 70 is not a ledger entry"):
        await Ledger.open(kafka, "main", partition=0, calls_since=NOW)


async def test_an_entry_with_a_field_of_a_newer_version_is_read_as_any_other(kafka: Kafka) -> None:
    """During a rolling upgrade newer workers write to the ledger of older ones."""
    newer = {**settlement(1).model_dump(mode="json"), "colour": "red"}
    await topics.produce(kafka, kafka.topic_prefix + "pisano.attempts", [json.dumps(newer).encode()])
    async with opened(kafka) as ledger:
        assert ledger.is_settled(invitation(1).id)


async def test_an_entry_that_cannot_be_read_stops_the_account_and_says_where_it_lies(kafka: Kafka) -> None:
    """If send skipped it, it could e-mail a customer twice."""
    await topics.produce(kafka, kafka.topic_prefix + "pisano.attempts", [b"no entry"])
    with pytest.raises(Fatal, match=r"pisano\.attempts, partition 0, offset 0 is not a ledger entry"):
        await Ledger.open(kafka, "main", partition=0, calls_since=NOW)


async def test_a_topic_that_does_not_exist_ends_the_opening_instead_of_hanging(
    bootstrap_servers: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_back, "_NO_PROGRESS", 1.0)
    kafka = Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)
    with pytest.raises(Retryable):
        await Ledger.open(kafka, "main", partition=0, calls_since=NOW)
