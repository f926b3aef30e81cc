"""Spreads named pieces of work over the workers of a consumer group, by the partitions of a topic."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.partitioner import murmur2

from connector.config import Kafka
from connector.errors import Fatal, Retryable
from connector.kafka import preflight
from connector.kafka.connection import client_settings, opened
from connector.kafka.errors import Fenced, translated
from connector.kafka.topics import require_count
from connector.kafka.watch import Consumption, Watch
from connector.retry import kept_up

log = structlog.get_logger(__name__)

_POLL = 2_000  # milliseconds; polling keeps the membership, and we do not use the records
_WAIT = 5_000  # milliseconds that Kafka waits for records, so that an idle worker seldom asks
_SESSION = 10_000  # milliseconds until a killed worker's share goes to the others
_LEAVE = 20.0  # seconds that a piece of work may take to end before its partition is given away

Work = Callable[[str, int], Coroutine[Any, Any, None]]
AtEnd = Callable[[], Coroutine[Any, Any, None]]


async def nothing() -> None:
    """For work that keeps nothing open."""


def partition_of(name: str, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives a key."""
    return (int(murmur2(name.encode())) & 0x7FFFFFFF) % partitions


class SharedWork(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs `work(name, partition)` for each name whose partition of `topic` this worker holds.

    A piece of work runs until it is cancelled. If it raises Fenced, the group has given it to another worker without
    our noticing, or Kafka was away for too long: this worker joins the group again to learn its share. If it raises
    anything else, `failure` holds the error.
    """

    def __init__(
        self, kafka: Kafka, group: str, topic: str, names: Sequence[str], work: Work, *, at_end: AtEnd = nothing
    ) -> None:
        self._kafka = kafka
        self._group = kafka.topic_prefix + group
        self._topic = kafka.topic_prefix + topic
        self._names = names
        self._work = work
        self._at_end = at_end
        self._running: dict[str, asyncio.Task[None]] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._member: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._doubt: Exception | None = None  # why we no longer trust this membership
        self._stopping = False
        self.ready = False
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Begins to join the group. Work begins when Kafka assigns partitions; from then on `ready` is true.

        Raises:
            Fatal, Retryable: As `preflight.require` says.
        """
        await preflight.require(self._kafka, self._group, [self._topic])
        self._member = asyncio.create_task(self._take_part_for_good())
        watch = Watch(self._kafka, self._group, self._topic, self._consumption)  # a missing share raises no error
        self._watching = asyncio.create_task(watch.run(self._fail))

    def check(self) -> None:
        """Does nothing: every error that ends this shows in `failure`."""

    async def stop(self, drain: float) -> None:
        """Gives the work `drain` seconds to end, and leaves the group."""
        self._stopping = True
        await self._end(drain)
        tasks = [task for task in (self._member, self._watching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._at_end()

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:  # noqa: ARG002 - it is always all of them
        """Ends the work before Kafka gives it away. The next owner fences what does not end in time."""
        self.ready = False
        await self._end(_LEAVE)

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Begins the work of the partitions that this worker has now."""
        if self._consumer is None or self._stopping:
            return  # this worker is leaving the group
        partitions = len(self._consumer.partitions_for_topic(self._topic) or ())
        if not partitions:
            self._doubt = Retryable(f"Kafka did not tell how many partitions {self._topic} has")
            return
        try:
            require_count(self._kafka, self._topic, partitions)
        except Fatal as error:
            self._fail(error)
            return
        ours = {partition.partition for partition in assigned}
        for name in self._names:
            partition = partition_of(name, partitions)
            if partition in ours:
                task = self._running[name] = asyncio.create_task(self._work(name, partition), name=name)
                task.add_done_callback(self._ended)
        self.ready = True

    async def _take_part_for_good(self) -> None:
        try:
            await kept_up(self._take_part)
        except Exception as error:  # noqa: BLE001 - `failure` passes it on to the supervisor
            self._fail(error)

    async def _take_part(self) -> None:
        """Holds one membership of the group. Raises Retryable when we can no longer trust it."""
        self._doubt = None
        member = AIOKafkaConsumer(
            **client_settings(self._kafka),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            fetch_max_wait_ms=_WAIT,
            consumer_timeout_ms=_WAIT,
            session_timeout_ms=_SESSION,
            rebalance_timeout_ms=int(_LEAVE * 1_000) + _SESSION,  # aiokafka's default is the session's
            heartbeat_interval_ms=_SESSION // 4,
        )
        with translated():
            async with opened(member):
                try:
                    self._consumer = member
                    member.subscribe([self._topic], listener=self)
                    while self._doubt is None:
                        await member.getmany(timeout_ms=_POLL)
                finally:
                    self.ready, self._consumer = False, None
                    await self._end(_LEAVE)
        log.warning("joining_again", group=self._group, reason=str(self._doubt))
        raise Retryable(str(self._doubt)) from self._doubt

    async def _consumption(self) -> Consumption:
        return Consumption(is_member=self.ready)

    async def _end(self, within: float) -> None:
        tasks = list(self._running.values())
        self._running.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=within)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            error: BaseException | None = Retryable(f"{task.get_name()}: a client was closed and cancelled the work")
        else:
            error = task.exception()
        if self._running.get(task.get_name()) is not task:
            return  # this work was given away already
        if isinstance(error, Fenced):
            self._doubt = error
        elif error is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self.failure.done():
            self.failure.set_exception(error)
