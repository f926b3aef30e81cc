"""capture makes pauses between streams that bring nothing new."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import pytest
from helpers.simulated_loop import simulate

from connector.cells import Cells
from connector.config import PubSub
from connector.errors import Rejected, Retryable
from connector.kafka.channel_log import ChannelLog
from connector.kafka.cloud_events import OutRecord
from connector.observe.metrics import Metrics
from connector.records import Position
from connector.salesforce import Batch, PubSubClient, RawEvent
from connector.stages.capture import Capture

AN_HOUR = 3600.0


class Log:
    """A channel's log in memory."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.position: Position | None = None
        self.records: list[OutRecord] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def append(self, records: Sequence[OutRecord], position: Position) -> None:
        await asyncio.sleep(0.03)
        self.records += records
        self.position = position


class Breaking:
    """A channel with one event. Each stream breaks soon after it has brought that."""

    def __init__(self) -> None:
        self.streams = 0

    async def schema(self, _: str) -> None:
        raise Rejected("no such schema", code="undecodable")

    async def subscribe(self, channel: str, *, replay_id: bytes | None, **_: object) -> AsyncGenerator[Batch, None]:
        self.streams += 1
        await asyncio.sleep(0.05)
        if replay_id != b"\1":
            yield Batch((RawEvent(b"\1", "schema", b"payload", "id"),), b"\1", 99)
        await asyncio.sleep(0.05)
        raise Retryable(f"subscribe {channel}: subscription.internal.error")


async def an_hour_of(pubsub: Breaking, channel: str) -> tuple[Breaking, Log, Cells]:
    log, cells = Log(channel), Cells()
    capture = Capture(
        cast(PubSubClient, pubsub),
        PubSub(start="earliest"),
        {},
        channel_log=lambda *_: cast(ChannelLog, log),
        dead_letter=lambda *_: OutRecord("connector.deadletters", "key", b"", []),
        metrics=Metrics(),
        cells=cells,
    )
    following = asyncio.create_task(capture.follow(channel, 0))
    await asyncio.sleep(AN_HOUR)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return pubsub, log, cells


@pytest.mark.parametrize("channel", ["/data/CaseChangeEvent", "/data/Visits__chn"])
def test_a_stream_that_breaks_at_once_each_time_is_followed_anew_after_pauses(channel: str) -> None:
    """A custom channel's last event comes again with each stream, because others may share its replay id. That was
    taken for progress: there was no pause, and each delivery counts in the org's daily allowance.
    """

    pubsub, log, cells = simulate(cast(Any, an_hour_of(Breaking(), channel)), tick=1e-6)
    assert len(log.records) == 1
    assert pubsub.streams < 200
    assert len(cells.held()) == 1


class Quiet(Breaking):
    """A channel with one event. Salesforce is away for a while after it, and then has nothing new: only keep-alives."""

    async def subscribe(self, channel: str, *, replay_id: bytes | None, **_: object) -> AsyncGenerator[Batch, None]:
        self.streams += 1
        now = asyncio.get_running_loop().time
        await asyncio.sleep(0.05)
        if replay_id is None:
            yield Batch((RawEvent(b"\1", "schema", b"payload", "id"),), b"\1", 99)
        elif now() > AN_HOUR / 2:
            while True:
                await asyncio.sleep(60.0)
                yield Batch((), b"\1", 100)
        raise Retryable(f"subscribe {channel}: service.unavailable")


def test_a_channel_without_news_is_held_no_more_once_its_stream_lives_again() -> None:
    """Only a new event released it, which may come days later."""
    pubsub, log, cells = simulate(cast(Any, an_hour_of(Quiet(), "/data/CaseChangeEvent")), tick=1e-6)
    assert (len(log.records), cells.held()) == (1, {})
    assert pubsub.streams > 3
