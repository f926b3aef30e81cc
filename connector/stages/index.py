"""index: every topic → the trace index, which `connector explain` asks.

The stage is optional. Each worker has a whole index of its own and reads all partitions, so it joins no group. The
index itself holds the positions, in the transaction of the facts before them. They are committed to Kafka as well, but
only to be seen there.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from connector.config import Kafka
from connector.explain import Index
from connector.kafka import preflight
from connector.kafka.connection import opened, reader_settings
from connector.kafka.errors import translated
from connector.kafka.inbound import consumed
from connector.kafka.kept import bounds

log = structlog.get_logger(__name__)

_AT_ONCE = 1_000  # records of a transaction: beyond that it gets hardly faster
_POLL = 500  # milliseconds; a new record is handed out at once
_SHOW_EVERY = 5.0  # seconds between two commits to Kafka, which are only for people to see
_FORGET_EVERY = 3600.0  # seconds; Kafka looks for segments to delete every 5 minutes, and closes one in days

T = TypeVar("T")


class IndexStage:
    """`open_index()` opens the index to write to it."""

    def __init__(self, kafka: Kafka, open_index: Callable[[], Index]) -> None:
        self._kafka = kafka
        self._group = f"{kafka.topic_prefix}index"
        self._open_index = open_index
        self._index: Index | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._lags: dict[TopicPartition, int] = {}
        self._thread = ThreadPoolExecutor(1, "index")  # SQLite's calls, in order, beside the event loop
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self.ready = False
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def lag(self) -> int:
        """How many records, and marks of Kafka's own, are not in the index yet."""
        return sum(self._lags.values())

    async def start(self) -> None:
        """Opens the index, and begins to read.

        Raises:
            Fatal: The index cannot be used, a topic is missing, or Kafka refuses us.
            Retryable: Kafka is away.
        """
        index = self._index = await self._call(self._open_index)
        await preflight.require(self._kafka, self._group, index.facts.topics)
        await self._align(index)
        self._task = asyncio.create_task(self._run(index), name="index")
        self._task.add_done_callback(self._ended)
        self.ready = True

    def check(self) -> None:
        """Does nothing: every error that ends this shows in `failure`."""

    async def stop(self, drain: float) -> None:
        """Finishes the records under way, in `drain` seconds at most, and closes the index."""
        self._stopping, self.ready = True, False
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=drain)
            if not self._task.done() and self._index is not None:
                self._index.interrupt()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        index, self._index = self._index, None
        if index is not None:
            await self._call(index.close)
        self._thread.shutdown(wait=False)

    async def _align(self, index: Index) -> None:
        """Drops what the topics do not hold any more, and goes on where the index ends.

        An index whose position was deleted, or lies beyond the end of a topic that was made anew, lacks records or
        holds others: that partition is read from its beginning again.
        """
        positions = index.positions()
        for partition, (first, end) in (await bounds(self._kafka, index.facts.topics)).items():
            position = positions.get(partition)
            whole = position is not None and first <= position <= end
            await self._call(index.forget, partition, first if whole else max(end, position or 0) + 1)
            if position is not None and not whole:
                log.warning(
                    "index_reads_again", topic=partition[0], partition=partition[1], position=position, begins=first
                )
            start = position if whole and position is not None else first
            self._lags[TopicPartition(*partition)] = end - start
            self._positions.setdefault(TopicPartition(*partition), start)

    async def _run(self, index: Index) -> None:
        loop = asyncio.get_running_loop()
        shown, shown_at, forgot_at = dict[TopicPartition, int](), 0.0, loop.time()
        settings = {**reader_settings(self._kafka), "group_id": self._group, "max_poll_records": _AT_ONCE}
        async with opened(AIOKafkaConsumer(**settings)) as consumer:
            with translated():
                consumer.assign(list(self._positions))
                for place, position in self._positions.items():
                    consumer.seek(place, position)
            while not self._stopping:
                await self._once(consumer, index)
                if not index.is_whole and self.lag < _AT_ONCE:
                    await self._call(index.sort)
                if shown != self._positions and loop.time() - shown_at > _SHOW_EVERY:
                    shown, shown_at = dict(self._positions), loop.time()
                    with translated():
                        await consumer.commit(shown)
                if loop.time() - forgot_at > _FORGET_EVERY:
                    forgot_at = loop.time()
                    await self._align(index)

    async def _once(self, consumer: AIOKafkaConsumer, index: Index) -> None:
        """Stores what has come."""
        with translated():
            batches = await consumer.getmany(timeout_ms=_POLL, max_records=_AT_ONCE)
            positions = {place: await consumer.position(place) for place in self._positions}
        self._lags |= {
            place: max(0, end - position)
            for place, position in positions.items()
            if (end := consumer.last_stable_offset(place)) is not None
        }
        moved = {place: position for place, position in positions.items() if position != self._positions[place]}
        if moved:
            await self._call(_store, index, [record for batch in batches.values() for record in batch], moved)
            self._positions |= moved

    async def _call(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) and not (self._stopping or self.failure.done()):
            self.failure.set_exception(error)


def _store(index: Index, records: Sequence[ConsumerRecord], positions: dict[TopicPartition, int]) -> None:
    facts = [fact for record in records if (fact := index.facts.of(consumed(record)))]
    index.add(facts, {(place.topic, place.partition): position for place, position in positions.items()})
