"""How far a group is behind, for the workers' metrics and for `connector status`."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, TopicPartition

from connector.config import Kafka
from connector.kafka.connection import opened, reader_settings
from connector.kafka.errors import translated

_WITHIN = 5.0  # seconds; a partition that gives nothing by then has markers only, or is away
_POLL = 200  # milliseconds
_WAIT = 50  # milliseconds that the broker waits for more records

Offsets = Mapping[TopicPartition, int]


def unfinished(done: Offsets, ends: Offsets) -> dict[TopicPartition, int]:
    """The offset of the first record that is not finished, for each partition that has one."""
    return {place: offset for place, offset in done.items() if offset < ends[place]}


def records(first: Offsets, ends: Offsets) -> int:
    """How many records there are from these offsets on; a transaction counts as one more."""
    return sum(ends[place] - offset for place, offset in first.items())


def age(written: Mapping[TopicPartition, float], now: float) -> float:
    """Seconds since the oldest of these times; none can be below 0, though clocks differ."""
    return max(0.0, now - min(written.values(), default=now))


async def first_written(kafka: Kafka, offsets: Offsets) -> dict[TopicPartition, float]:
    """When the first record at or after each offset was written, in Unix time. A partition without one is left out.

    Raises:
        Fatal, Retryable: Kafka refuses us, or is away.
    """
    offsets = {TopicPartition(*place): offset for place, offset in offsets.items()}  # Faust has a type of its own
    found: dict[TopicPartition, float] = {}
    if not offsets:
        return found
    async with opened(AIOKafkaConsumer(**reader_settings(kafka), fetch_max_wait_ms=_WAIT)) as consumer:
        with translated(reads=sorted({place.topic for place in offsets})):
            ends = await consumer.end_offsets(list(offsets))
            consumer.assign(list(offsets))
            for place, offset in offsets.items():
                consumer.seek(place, offset)
            open_ = {place for place, offset in offsets.items() if offset < ends[place]}
            with suppress(TimeoutError):
                async with asyncio.timeout(_WITHIN):
                    while open_:
                        for place, records in (await consumer.getmany(*open_, timeout_ms=_POLL, max_records=1)).items():
                            found[place] = records[0].timestamp / 1000
                        passed = {place for place in open_ if await consumer.position(place) >= ends[place]}
                        open_ -= passed | found.keys()
    return found
