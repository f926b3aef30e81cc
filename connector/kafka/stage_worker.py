"""Runs one stage over its topics: many records at once, committed in order, none lost and none skipped (rules 1 to 4).

The recipe: one agent without concurrency, manual acknowledgement, a bounded number of tasks, positions from
`OrderedAcks`. A stage is held back by its body blocking, never by pausing partitions, and what is in flight is dropped
when partitions are revoked: it will be delivered again, here or elsewhere.
"""

import asyncio
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from faust.types import TP

from connector.config import Kafka
from connector.errors import Fatal, Rejected
from connector.kafka.faust_app import faust_app, fetch_positions
from connector.kafka.ordered import OrderedAcks
from connector.kafka.watch import Consumption, StandsStill, Watch
from connector.retry import until_it_works

log = structlog.get_logger(__name__)

_UNCOMMITTED = 100_000  # records of a partition behind one that takes long: the most that a crash repeats; 10 MB

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class InRecord:
    """A record as it lies on its topic. `timestamp` is in seconds since 1970."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: float


Handle = Callable[[InRecord], Awaitable[None]]
DeadLetter = Callable[[InRecord, str, Exception], Awaitable[None]]
Settle = Callable[[set[tuple[str, int]]], Awaitable[None]]


async def nothing(_: set[tuple[str, int]]) -> None:
    """For a stage that keeps nothing by partition."""


class StageWorker:
    """Hands each record of `topics` to `handle`, at most `in_flight` at once, in order of delivery per partition.

    `handle` returns when the record is finished. What it raises decides what happens (rule 3): Retryable is repeated
    until it works, Rejected and any unexpected error go to `dead_letter(record, reason, error)`, Fatal ends the worker.
    `settle(partitions)` may use the time before partitions are given away to settle what is under way. A stage that
    `drains` is given time to finish all that is in flight when it is stopped; another one only settles.
    """

    def __init__(
        self,
        name: str,
        kafka: Kafka,
        topics: Sequence[str],
        handle: Handle,
        *,
        dead_letter: DeadLetter,
        in_flight: int,
        settle: Settle = nothing,
        drains: bool = True,
    ) -> None:
        self.name = name
        self._kafka = kafka
        self._topics = topics
        self._handle = handle
        self._dead_letter = dead_letter
        self._settle = settle
        self._drains = drains
        self._slots = asyncio.Semaphore(in_flight)
        self._acks: defaultdict[TP, OrderedAcks] = defaultdict(OrderedAcks)
        self._tasks: defaultdict[TP, set[asyncio.Task[None]]] = defaultdict(set)
        self._given_away: int | None = None  # the generation whose partitions are gone
        self._committable = asyncio.Event()  # set whenever the position of a partition may have moved
        self._held_back = False
        self._draining = False
        self._app: Any = None
        self._watch = Watch(kafka, kafka.topic_prefix + name, topics[0], self.consumption)
        self._watching: asyncio.Task[None] | None = None
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Joins the consumer group and begins to work."""
        self._app = faust_app(self._kafka, self.name, self)
        topic = self._app.topic(
            *self._topics, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        self._app.agent(topic, name=self.name)(self._read)
        self._app.finalize()
        await self._app.start()
        self._watching = asyncio.create_task(self._watch.run(self._fail))

    @property
    def ready(self) -> bool:
        """Whether it is a member of its group, with or without partitions."""
        return (
            self._app is not None
            and self._app.started
            and not self._app.rebalancing
            and self._app.consumer_generation_id > 0
        )

    @property
    def in_flight(self) -> int:
        return sum(acks.in_flight for acks in self._acks.values())

    @property
    def lag(self) -> float:
        """How many records of its topics are not finished; NaN while that is not known."""
        return math.nan if self._watch.lag is None else self._watch.lag

    def check(self) -> None:
        """Raises StandsStill when Faust has stopped working for us, which it does not always say."""
        if self._app is not None and (self._app.crashed or self._app.should_stop):
            raise StandsStill(self.name, f"Faust stopped it ({self._app.crash_reason!r})")

    async def consumption(self) -> Consumption:
        """How far it is; see `Watch`."""
        fetched = await fetch_positions(self._app) if self.ready else None
        if fetched is None:
            return Consumption(is_member=False)
        return Consumption(
            is_member=True,
            held_back=self._held_back or self._slots.locked(),
            in_flight=self.in_flight,
            fetched=fetched,
            handed_out={tp: acks.delivered for tp, acks in self._acks.items() if acks.delivered is not None},
            finished={tp: acks.position for tp, acks in self._acks.items() if acks.position is not None},
        )

    async def stop(self, drain: float) -> None:
        """Takes no more records, gives those in flight `drain` seconds, commits what is done and leaves the group."""
        self._draining = True
        if self._watching is not None:
            self._watching.cancel()
        pending = [task for tasks in self._tasks.values() for task in tasks]
        if pending and self._drains:
            await asyncio.wait(pending, timeout=drain)
        partitions = list(self._tasks)
        await self._settle({(tp.topic, tp.partition) for tp in partitions})
        await self._cancel(partitions)
        if self._app is not None:
            await self._app.stop()

    async def _read(self, stream: Any) -> None:
        try:
            async for event in stream.noack().events():
                message = event.message
                await self._wait_for_commits(message.tp)
                await self._slots.acquire()
                if self._draining or message.generation_id == self._given_away:
                    self._slots.release()
                    continue
                event.ack()  # frees Faust's own book-keeping; what is committed is ours to say
                self._begin(message)
        except Exception as error:
            self._fail(error)  # Faust would log it and go on behind the record
            raise

    async def _wait_for_commits(self, partition: TP) -> None:
        """Holds the stage back while too much is done of the partition behind a record that is not."""
        while self._acks[partition].in_flight >= _UNCOMMITTED and not self._draining:
            self._held_back = True
            self._committable.clear()
            await self._committable.wait()
        self._held_back = False

    def _begin(self, message: Any) -> None:
        record = InRecord(
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            key=message.key,
            value=message.value,
            headers=tuple(message.headers.items() if isinstance(message.headers, dict) else message.headers or ()),
            timestamp=message.timestamp,
        )
        acks = self._acks[message.tp]
        acks.add(record.offset)
        task = asyncio.get_running_loop().create_task(self._work_off(record, acks))
        tasks = self._tasks[message.tp]
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _work_off(self, record: InRecord, acks: OrderedAcks) -> None:
        try:
            await self._finish(record)
            acks.done(record.offset)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it must end the worker rather than vanish
            self._fail(error)
        finally:
            self._slots.release()
            self._committable.set()

    def _fail(self, error: BaseException) -> None:
        if not self.failure.done():
            self.failure.set_exception(error)

    async def _finish(self, record: InRecord) -> None:
        try:
            async for attempt in until_it_works():
                with attempt:
                    await self._handle(record)
        except Fatal:
            raise
        except Rejected as error:
            await self._bury(record, error.code or "rejected", error)
        except Exception as error:
            log.exception(
                "record_failed_unexpectedly",
                stage=self.name,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
            )
            await self._bury(record, "unexpected_error", error)

    async def _bury(self, record: InRecord, reason: str, error: Exception) -> None:
        async for attempt in until_it_works():
            with attempt:
                await self._dead_letter(record, reason, error)

    def position(self, partition: TP) -> int | None:
        """See `Offsets`."""
        acks = self._acks.get(partition)
        return acks.position if acks else None

    async def settle(self, partitions: set[TP]) -> None:
        """See `Offsets`."""
        self._given_away = self._app.consumer_generation_id
        await self._settle({(tp.topic, tp.partition) for tp in partitions})
        await self._cancel(partitions)

    def forget(self, partitions: set[TP]) -> None:
        """See `Offsets`."""
        for partition in partitions:
            self._acks.pop(partition, None)
        self._committable.set()

    async def _cancel(self, partitions: Iterable[TP]) -> None:
        tasks = [task for partition in partitions for task in self._tasks.pop(partition, ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
