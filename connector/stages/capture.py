"""capture: Salesforce's Pub/Sub API → salesforce.cdc.*, salesforce.events.* and salesforce.positions.

One stream per channel. Capture writes change events and the position after them in one transaction, so a restart goes
on exactly where the topics end. Workers share the channels; a worker that takes one over fences the worker that had it.
Each channel is a cell: capture tries a failing channel again at growing intervals, and it stops no other channel.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Literal

import structlog

from connector.cells import Cell, Cells
from connector.config import PubSub
from connector.errors import Fatal, Rejected, Retryable
from connector.kafka.channel_log import ChannelLog
from connector.kafka.cloud_events import OutRecord
from connector.observe.metrics import Metrics
from connector.records import Position
from connector.retry import PATIENCE, Lasts, patiently
from connector.salesforce import Batch, PositionLost, PubSubClient
from connector.stages._captured import DeadLetter, Events, cell_of

log = structlog.get_logger(__name__)

_MOST_RECORDS = 1000  # in a transaction, about: a commit takes 30 ms, in which a fast stream brings some hundreds
_MOST_BYTES = 4_000_000  # of JSON in a transaction, about: a few of the largest events, or a thousand usual ones

NewLog = Callable[[str, int], ChannelLog]


class Capture:
    """The stage. `topics` gives the topic of each entity that is wanted.

    `channel_log(channel, partition)` makes a log that is not open yet. For `dead_letter` see `Events`.
    """

    def __init__(
        self,
        pubsub: PubSubClient,
        settings: PubSub,
        topics: Mapping[str, str],
        *,
        channel_log: NewLog,
        dead_letter: DeadLetter,
        metrics: Metrics,
        cells: Cells,
    ) -> None:
        self._cells = cells
        self._pubsub = pubsub
        self._settings = settings
        self._channel_log = channel_log
        self._events = Events(pubsub, topics, dead_letter, metrics)
        self._metrics = metrics
        self._first: dict[str, list[Batch]] = {}  # by channel: what came before there was a position to come back to
        self._without_position: set[str] = set()  # the channels for which we have logged this

    async def follow(self, channel: str, partition: int) -> None:
        """Captures a channel until it is cancelled.

        Raises:
            Fenced: Another worker has the channel now.
        """
        channel_log = self._channel_log(channel, partition)
        cell = self._cell(channel)
        try:
            while True:
                await self._try_to_follow(channel_log, cell)
        finally:
            self._metrics.position_at.remove(channel)  # another worker may have the channel now
            await channel_log.close()

    def _cell(self, channel: str) -> Cell:
        return self._cells.at(cell_of(channel))

    async def _try_to_follow(self, channel_log: ChannelLog, cell: Cell) -> None:
        """Follows the channel until its stream ends. An error that prevents this holds the channel's cell."""
        async with cell.turn():
            try:
                await patiently(partial(self._follow_once, channel_log), 0.0 if cell.holder else PATIENCE)
            except Lasts as error:
                cell.hold(error, "outage", at_least=error.at_least)
            except Fatal as error:
                (cell.parent if error.whole and cell.parent else cell).hold(error, "configuration")

    async def _follow_once(self, channel_log: ChannelLog) -> None:
        """Follows the channel from its position until Salesforce or Kafka fail."""
        await channel_log.open()
        if channel_log.position is None:
            await self._store_first(channel_log)
        position = channel_log.position
        if position is not None:
            self._metrics.position_at.labels(channel_log.channel).set(position.at.timestamp())
        if position is None and channel_log.channel not in self._without_position:
            # The first event or keep-alive brings a position. What we miss before then stays missed.
            log.warning("no_position_yet", channel=channel_log.channel, begins_with=self._settings.start)
            self._without_position.add(channel_log.channel)
        try:
            await self._copy(channel_log, position, "earliest" if position else self._settings.start)
        except PositionLost as error:
            if position is None:
                raise
            if self._settings.lost_position == "stop":
                raise Fatal(
                    f"channel {channel_log.channel}: Salesforce no longer knows the position of {position.at}: {error}."
                    " Changes since then may be lost. Set salesforce.pubsub.lost_position to earliest to go on with"
                    " what Salesforce still has (72 h)."
                ) from error
            log.warning("position_lost", channel=channel_log.channel, last=str(position.at), going_on_from="earliest")
            await self._copy(channel_log, None, "earliest")

    async def _copy(
        self, channel_log: ChannelLog, after: Position | None, preset: Literal["latest", "earliest"]
    ) -> None:
        """Copies one stream to its end. An error after progress counts as a normal end: the next pause is short.

        While Kafka commits a transaction we read on, so the next one holds all answers that came meanwhile.
        """
        progress, captured = False, _Captured()
        self._metrics.stream_restarts.labels(channel_log.channel).inc()
        reading = asyncio.create_task(self._read(channel_log, after, preset, captured))
        try:
            while taken := await captured.take():
                is_news = _is_news(channel_log.position, *taken)
                await self._store(channel_log, *taken)
                if is_news:
                    progress = True
                    self._cell(channel_log.channel).works()
            await reading
        except Retryable as error:
            if error.retry_after or not progress:
                raise  # an outage, which `until_it_works` logs once a minute
            log.warning("stream_ended", channel=channel_log.channel, error=str(error))
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(
        self,
        channel_log: ChannelLog,
        after: Position | None,
        preset: Literal["latest", "earliest"],
        captured: "_Captured",
    ) -> None:
        channel, position = channel_log.channel, after
        stream = self._pubsub.subscribe(
            channel, replay_id=bytes.fromhex(after.replay_id) if after else None, preset=preset
        )
        try:
            async with aclosing(stream) as batches:
                async for batch in batches:
                    if channel_log.position is None and preset == "latest":
                        self._first.setdefault(channel, []).append(batch)
                    records, position = await self._events.captured(batch, channel, position, preset)
                    await captured.add(records, position)
        finally:
            captured.end()

    async def _store_first(self, channel_log: ChannelLog) -> None:
        """Stores what came while Kafka did not take it, or Salesforce gave no schema: a new stream begins behind it."""
        records, position = list[OutRecord](), None
        for batch in self._first.get(channel_log.channel, ()):
            more, position = await self._events.captured(batch, channel_log.channel, position, "latest")
            records += more
        if position is not None:
            await self._store(channel_log, records, position)

    async def _store(self, channel_log: ChannelLog, records: Sequence[OutRecord], position: Position) -> None:
        try:
            await channel_log.append(records, position)
        except Rejected as error:
            raise Fatal(
                f"channel {channel_log.channel}: {error}. `connector topics apply` says which topic's max.message.bytes"
                " is too small."
            ) from error
        self._first.pop(channel_log.channel, None)
        self._metrics.change_events.labels(channel_log.channel).inc(len(records))
        self._metrics.position_at.labels(channel_log.channel).set(position.at.timestamp())


def _is_news(before: Position | None, records: Sequence[OutRecord], position: Position) -> bool:
    """False for events of a custom channel that come again at each start of a stream, see `_captured.py`. A keep-alive
    is news, also without a new position: the stream lives.
    """
    is_repeat = before is not None and position == before.model_copy(update={"at": position.at})
    return bool(records) or position.ahead_replay_id is None or not is_repeat


class _Captured:
    """Records that no transaction has taken yet, and the position after them. Takes one answer more than its bounds."""

    def __init__(self) -> None:
        self._records: list[OutRecord] = []
        self._bytes = 0
        self._position: Position | None = None
        self._over = False
        self._news, self._room = asyncio.Event(), asyncio.Event()

    async def add(self, records: Sequence[OutRecord], position: Position) -> None:
        """Adds what an answer brought, and waits until there is room for another."""
        self._records += records
        self._bytes += sum(len(record.value or b"") for record in records)
        self._position = position
        self._news.set()
        if len(self._records) < _MOST_RECORDS and self._bytes < _MOST_BYTES:
            return
        self._room.clear()
        await self._room.wait()

    def end(self) -> None:
        """Says that nothing more comes."""
        self._over = True
        self._news.set()

    async def take(self) -> tuple[Sequence[OutRecord], Position] | None:
        """Everything since the last call, as soon as there is anything; None when nothing more comes."""
        await self._news.wait()
        records, position = self._records, self._position
        self._records, self._bytes, self._position = [], 0, None
        self._room.set()
        if not self._over:
            self._news.clear()
        return None if position is None else (records, position)
