"""Follows topics that every process reads whole: from their beginning to their end, and then live."""

import asyncio
from collections.abc import Callable

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from connector.config import Kafka
from connector.errors import Rejected
from connector.kafka.connection import opened, reader_settings
from connector.kafka.errors import translated
from connector.retry import kept_up

log = structlog.get_logger(__name__)

_POLL = 500  # milliseconds, until we look again whether everything was taken
_WAIT = 5_000  # milliseconds that Kafka and we wait for a live record, which is handed out at once
_AT_ONCE = 500  # records that one call gives

Take = Callable[[ConsumerRecord], None]


def parts_to(take: Callable[[bytes | None, bytes | None, int], None]) -> Take:
    """For a `take(key, value, offset)` that knows no Kafka."""
    return lambda record: take(record.key, record.value, record.offset)


class Follower:
    """Follows the whole topic `name`, without a consumer group. `take(record)` must not wait.

    A record for which `take` raises Rejected is logged and left out. After a failure the follower begins anew, and
    `take` gets records twice.
    """

    def __init__(self, kafka: Kafka, name: str, take: Take) -> None:
        self._kafka = kafka
        self._topic = kafka.topic_prefix + name
        self._take = take
        self._read = asyncio.Event()
        self._position = 0  # after the last record that was taken
        self._moved = asyncio.Event()

    async def caught_up(self) -> None:
        """Returns when everything was taken that was on the topic when the follower began."""
        await self._read.wait()

    async def read_to(self, offset: int) -> None:
        """Returns when everything of the topic's only partition up to this offset was taken."""
        while self._position <= offset:
            self._moved.clear()
            await self._moved.wait()

    async def run(self) -> None:
        """Follows until it is cancelled; waits out outages of Kafka."""
        await kept_up(self._follow)

    async def _follow(self) -> None:
        ends = await self._ends()
        settings = {**reader_settings(self._kafka), "fetch_max_wait_ms": _WAIT, "consumer_timeout_ms": _WAIT}
        async with opened(AIOKafkaConsumer(self._topic, **settings)) as consumer:
            while True:
                if not self._read.is_set():
                    with translated():
                        left = [place for place, end in ends.items() if await consumer.position(place) < end]
                    if not left:
                        self._read.set()
                with translated(reads={self._topic}):
                    wait = _WAIT if self._read.is_set() else _POLL
                    batches = await consumer.getmany(timeout_ms=wait, max_records=_AT_ONCE)
                for record in (record for batch in batches.values() for record in batch):
                    self._hand_out(record)
                    self._position = max(self._position, record.offset + 1)
                self._moved.set()

    async def _ends(self) -> dict[TopicPartition, int]:
        """Where each partition ends. Asked on the other connection, Kafka answers only when a fetch there is over."""
        settings = {**reader_settings(self._kafka), "fetch_max_wait_ms": 10}
        async with opened(AIOKafkaConsumer(self._topic, **settings)) as client:
            with translated():
                places = list(client.assignment())  # without a group: every partition
                ends: dict[TopicPartition, int] = await client.end_offsets(places)
        return ends

    def _hand_out(self, record: ConsumerRecord) -> None:
        try:
            self._take(record)
        except Rejected as error:
            place = f"{record.topic}/{record.partition}/{record.offset}"
            log.warning("record_left_out", record=place, reason=str(error))
