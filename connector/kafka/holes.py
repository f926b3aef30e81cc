"""Records that Kafka deleted before a group had read them: they would be skipped without a word."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from connector.config import Kafka
from connector.kafka.connection import client_settings
from connector.kafka.errors import translated

_WITHIN = 10.0  # seconds; a rebalance waits for it


@dataclass(frozen=True)
class Hole:
    """The group is at `committed`, and the first record that Kafka still has, or will have, is at `begins`.

    A topic that was created anew ends before `committed`; then `begins` is 0 and what was lost cannot be counted.
    """

    topic: str
    partition: int
    committed: int
    begins: int

    @property
    def records(self) -> int:
        """How many records were deleted unread, as far as that can be told."""
        return max(0, self.begins - self.committed)

    def __str__(self) -> str:
        place = f"{self.topic}/{self.partition}"
        if self.begins > self.committed:
            lost = f"{self.committed} to {self.begins - 1}"
            return f"Kafka deleted {self.records} records of {place} before they were read: {lost}"
        return f"{place} was created anew: it ends before offset {self.committed}, up to which it had been read"


async def holes(kafka: Kafka, group: str, partitions: Iterable[tuple[str, int]]) -> list[Hole]:
    """Where the group's next record is not there any more. `group` is the full name.

    Raises:
        Retryable, Fatal: Kafka does not answer, or refuses us.
    """
    places = [TopicPartition(*partition) for partition in partitions]
    client = AIOKafkaConsumer(**client_settings(kafka), group_id=group, enable_auto_commit=False)
    try:
        with translated():
            async with asyncio.timeout(_WITHIN):
                await client.start()
                begins = await client.beginning_offsets(places)
                ends = await client.end_offsets(places)
                committed = {place: await client.committed(place) for place in places}
    finally:
        await client.stop()
    return [
        Hole(place.topic, place.partition, at, begins[place])
        for place, at in committed.items()
        if at is not None and not begins[place] <= at <= ends[place]
    ]
