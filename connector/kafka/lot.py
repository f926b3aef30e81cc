"""The records that are parked from one source partition for one cell; see `parking.py`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from faust.types import TP

from connector.config import Kafka
from connector.errors import Retryable
from connector.kafka.carried import as_it_was, carried
from connector.kafka.cloud_events import OutRecord
from connector.kafka.connection import client_settings, opened
from connector.kafka.errors import translated
from connector.kafka.inbound import InRecord
from connector.retry import until_done, until_it_works

log = structlog.get_logger(__name__)

_AT_ONCE = 500  # records that are written together; a full write takes some 30 ms
_GATHER = 0.1  # seconds that a few records wait for more: a write costs the healthy cells time
_POLL = 200  # milliseconds
_MARK_EVERY = 500  # records; a crash repeats at most this many of a lot

Publish = Callable[[Sequence[OutRecord]], Awaitable[list[int]]]  # gives their offsets


@dataclass(frozen=True)
class Place:
    """Whose lot it is: the stage, the cell, and the partition that its records come from."""

    stage: str
    cell: str
    source: TP

    @property
    def key(self) -> bytes:
        return f"{self.stage}/{self.cell} {self.source.topic}/{self.source.partition}".encode()


class Lot:
    """The records parked from one source partition for one cell.

    `todo` is the offset of the oldest parked record that is not worked off, and None when there is none. `before` is
    an older lot of the cell in another partition of `connector.parked`, which has to be worked off first.
    """

    def __init__(self, place: Place, topic: TopicPartition, kafka: Kafka, publish: Publish) -> None:
        self.place = place
        self.todo: int | None = None
        self.before: Lot | None = None
        self.count = 0  # how many records wait, including those on their way to the topic
        self.in_order = asyncio.Lock()  # for callers that must put their records here one after the other
        self._pending = 0  # records that were announced and are not durable here yet
        self._last = -1
        self._position = 0  # everything before it is worked off
        self._read_to = -1  # the offset after the last record that `records` gave
        self._topic = topic
        self._kafka = kafka
        self._publish = publish
        self._coming: list[tuple[OutRecord, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._unmarked = 0

    @property
    def partition(self) -> int:
        """Of `connector.parked`."""
        return int(self._topic.partition)

    def chain(self) -> list["Lot"]:
        """The lots of the cell that have to be worked off one after the other. This one is the last."""
        return [*(self.before.chain() if self.before else ()), self]

    @property
    def is_empty(self) -> bool:
        return self.todo is None and not self._pending

    @property
    def coming(self) -> int:
        """How many records are not durable here yet."""
        return self._pending

    def announce(self) -> None:
        """Takes note that a record will be put here. Until it is worked off, the lot is not empty."""
        self._pending += 1
        self.count += 1

    def put(self, record: InRecord) -> asyncio.Future[None]:
        """Writes an announced record, in the order of the calls. The future is done when the record is durable here.

        An outage of Kafka only delays that.
        """
        stored = asyncio.get_running_loop().create_future()
        self._coming.append((self._to_parked(record), stored))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return stored

    def found(self, offset: int) -> None:
        """Takes note of a record of this lot at `offset`. It may have been read and worked off before this call."""
        self._last = max(self._last, offset)
        if offset >= self._position:
            self.todo = offset if self.todo is None else min(self.todo, offset)

    async def records(self) -> AsyncIterator[tuple[int, InRecord]]:
        """Each parked record and its offset, in order, until `done` leaves the lot empty."""
        while not self.is_empty:
            if self.todo is None:
                await asyncio.sleep(_POLL / 1000)  # the announced records are on their way
                continue
            async for attempt in until_it_works():
                with attempt:
                    start = self._read_to
                    try:
                        with translated():
                            async for record in self._read(max(self.todo or 0, start)):
                                self._read_to = record.offset + 1
                                self.count = max(0, self.count - 1)
                                yield record.offset, as_it_was(record)
                    except Retryable:
                        if self._read_to == start:
                            raise  # after progress the next pause is a short one

    async def done(self, position: int) -> None:
        """Takes note that everything before `position` is worked off. Writes that to the topic now and then."""
        self._position = max(self._position, position)
        self.todo = position if position <= self._last else None
        self._unmarked += 1
        if self.todo is None or self._unmarked >= _MARK_EVERY:
            await self.mark()

    async def mark(self) -> None:
        """Writes to the topic how far the lot is worked off, unless it says so. Waits out an outage of Kafka."""
        unmarked, self._unmarked = self._unmarked, 0
        if unmarked:
            ours = [("pk_stage", self.place.stage.encode()), ("pk_done", str(self._position).encode())]
            mark = OutRecord(self._topic.topic, self.place.key, None, ours, partition=self._topic.partition)
            try:
                await until_done(partial(self._publish, [mark]))
            except BaseException:
                self._unmarked += unmarked
                raise

    async def _write(self) -> None:
        while self._coming:
            if len(self._coming) < _AT_ONCE:
                await asyncio.sleep(_GATHER)
            batch = self._coming[:_AT_ONCE]
            records = [record for record, _ in batch]
            offsets = await until_done(partial(self._publish, records))  # as a whole, in order; repeats do no harm
            del self._coming[: len(batch)]
            for offset, (_, stored) in zip(offsets, batch, strict=True):
                self.found(offset)
                self._pending -= 1
                if not stored.done():
                    stored.set_result(None)

    async def _read(self, start: int) -> AsyncIterator[ConsumerRecord]:
        """The lot's records from `start` on, until nothing is left to work off."""
        settings = {**client_settings(self._kafka), "enable_auto_commit": False, "auto_offset_reset": "earliest"}
        async with opened(AIOKafkaConsumer(**settings)) as consumer:
            consumer.assign([self._topic])
            await self._say_what_was_deleted(consumer, start)
            consumer.seek(self._topic, start)
            while self.todo is not None:
                batches = await consumer.getmany(self._topic, timeout_ms=_POLL)
                for record in batches.get(self._topic, ()):
                    if record.key == self.place.key and record.value is not None:
                        yield record

    async def _say_what_was_deleted(self, consumer: AIOKafkaConsumer, start: int) -> None:
        beginning = (await consumer.beginning_offsets([self._topic]))[self._topic]
        if beginning > start:
            log.error(
                "parked_records_deleted",
                cell=f"{self.place.stage}/{self.place.cell}",
                topic=self._topic.topic,
                partition=self._topic.partition,
                from_offset=start,
                to_offset=beginning - 1,
            )

    def _to_parked(self, record: InRecord) -> OutRecord:
        ours = [("pk_stage", self.place.stage.encode()), ("pk_cell", self.place.cell.encode())]
        headers = [*carried(record), *ours]
        return OutRecord(
            self._topic.topic, self.place.key, record.value or b"", headers, partition=self._topic.partition
        )
