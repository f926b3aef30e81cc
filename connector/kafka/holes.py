"""Finds records that Kafka deleted before a group had read them. The group itself would skip them silently."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from connector.config import Kafka
from connector.errors import Retryable
from connector.kafka.connection import client_settings, opened
from connector.kafka.errors import translated
from connector.kafka.parking import partition_count
from connector.kafka.topics import require_count

log = structlog.get_logger(__name__)

_WITHIN = 10.0  # seconds; a rebalance waits for this check


@dataclass(frozen=True)
class Hole:
    """The group is at `committed`, and the first record that Kafka still has, or will have, is at `begins`.

    A topic that was created anew ends before `committed`; then `begins` is 0 and the lost records cannot be counted.
    """

    topic: str
    partition: int
    committed: int
    begins: int

    @property
    def records(self) -> int:
        """How many records were deleted unread, as far as we know."""
        return max(0, self.begins - self.committed)

    def __str__(self) -> str:
        place = f"{self.topic}/{self.partition}"
        if self.begins > self.committed:
            lost = f"{self.committed} to {self.begins - 1}"
            return f"Kafka deleted {self.records} records of {place} before they were read: {lost}"
        return f"{place} was created anew: it ends before offset {self.committed}, up to which the group had read"


async def holes(kafka: Kafka, group: str, partitions: Iterable[tuple[str, int]]) -> list[Hole]:
    """The partitions in which the group's next record is gone. `group` is the full name.

    Raises:
        Retryable, Fatal: Kafka does not answer, or refuses us.
    """
    places = [TopicPartition(*partition) for partition in partitions]
    member = AIOKafkaConsumer(**client_settings(kafka), group_id=group, enable_auto_commit=False)
    with translated():
        async with asyncio.timeout(_WITHIN), opened(member) as client:
            begins = await client.beginning_offsets(places)
            ends = await client.end_offsets(places)
            committed = {place: await client.committed(place) for place in places}
    return [
        Hole(place.topic, place.partition, at, begins[place])
        for place, at in committed.items()
        if at is not None and not begins[place] <= at <= ends[place]
    ]


async def look_for_holes(
    kafka: Kafka,
    group: str,
    partitions: Collection[tuple[str, int]],
    on_hole: Callable[[Hole], None],
    fail: Callable[[BaseException], None],
) -> None:
    """Calls `on_hole` for each hole. Raises nothing: an error would end Faust's rebalance, so `fail` gets it.

    Fails, too, when a topic's number of partitions is no longer the one by which we remember what was done: a record of
    a new partition must not be worked off without that memory.
    """
    try:
        for topic in {topic for topic, _ in partitions}:
            require_count(kafka, topic, await partition_count(kafka, topic))
    except Exception as error:  # noqa: BLE001 - as said above
        fail(error)
        return
    try:
        for hole in await holes(kafka, group, partitions):
            on_hole(hole)
    except Retryable as error:
        log.warning("not_looked_for_deleted_records", group=group, reason=str(error))
    except Exception as error:  # noqa: BLE001 - as above
        fail(error)
