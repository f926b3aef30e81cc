"""Spreads named pieces of work over the workers of a consumer group, by the partitions of a topic."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.partitioner import murmur2

from connector.config import Kafka
from connector.kafka.connection import client_settings
from connector.kafka.errors import translated

log = structlog.get_logger(__name__)

_POLL = 500  # milliseconds; a poll is what keeps the membership, its records are not used
_SESSION = 10_000  # milliseconds until a killed worker's share goes to the others
_LEAVE = 20.0  # seconds that a piece of work may take to end before its partition is given away

Work = Callable[[str, int], Coroutine[Any, Any, None]]


def partition_of(name: str, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives a key."""
    return (int(murmur2(name.encode())) & 0x7FFFFFFF) % partitions


class SharedWork(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs `work(name, partition)` for each name whose partition of `topic` this worker holds.

    A piece of work runs until it is cancelled. If it raises, `failure` holds the error.
    """

    def __init__(self, kafka: Kafka, group: str, topic: str, names: Sequence[str], work: Work) -> None:
        self._kafka = kafka
        self._group = kafka.topic_prefix + group
        self._topic = kafka.topic_prefix + topic
        self._names = names
        self._work = work
        self._running: dict[str, asyncio.Task[None]] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._poller: asyncio.Task[None] | None = None
        self.ready = False
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Joins the group; work begins when partitions are assigned."""
        self._consumer = AIOKafkaConsumer(
            **client_settings(self._kafka),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            session_timeout_ms=_SESSION,
            heartbeat_interval_ms=_SESSION // 4,
        )
        with translated():
            await self._consumer.start()
        self._consumer.subscribe([self._topic], listener=self)
        self._poller = asyncio.create_task(self._poll(self._consumer))

    def check(self) -> None:
        """Everything that ends this shows in `failure`."""

    async def stop(self, drain: float) -> None:
        """Ends the work, for which it has `drain` seconds, and leaves the group."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        await self._end(list(self._running), drain)
        if self._consumer is not None:
            await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Ends the work before it is given away; what does not end in time is fenced by the next owner."""
        self.ready = False
        numbers = {partition.partition for partition in revoked}
        await self._end([name for name in self._running if self._partition(name) in numbers])

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Begins the work of the partitions that are ours now."""
        numbers = {partition.partition for partition in assigned}
        for name in self._names:
            if self._partition(name) in numbers and name not in self._running:
                task = asyncio.create_task(self._work(name, self._partition(name)), name=name)
                task.add_done_callback(self._ended)
                self._running[name] = task
        self.ready = True

    def _partition(self, name: str) -> int:
        partitions = self._consumer.partitions_for_topic(self._topic) if self._consumer else None
        return partition_of(name, len(partitions or {0}))

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        try:
            while True:
                with translated():
                    await consumer.getmany(timeout_ms=_POLL)
        except Exception as error:  # noqa: BLE001 - whoever waits for `failure` raises it
            self._fail(error)

    async def _end(self, names: Sequence[str], within: float = _LEAVE) -> None:
        tasks = [self._running.pop(name) for name in names]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=within)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self.failure.done():
            self.failure.set_exception(error)
