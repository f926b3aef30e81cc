"""Reads what topics hold, for commands: all partitions from a time or from the start, to the end as it is now."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition

from connector.config import Kafka
from connector.errors import Fatal, Retryable
from connector.kafka.connection import reader_settings, stopped
from connector.kafka.errors import translated
from connector.kafka.inbound import InRecord, consumed

_NO_PROGRESS = 30.0  # seconds without a record or a new position before the broker counts as away
_ASSIGNED_WITHIN = 20.0  # seconds; the metadata comes with the first answer
_LOOK = 0.05  # seconds between two looks
_POLL = 200  # milliseconds
_WAIT = 50  # milliseconds that the broker waits for more records; short, so that we soon know the end

Progress = Callable[[int, int], None]  # how many offsets were passed, and how many there are


async def kept(
    kafka: Kafka, topics: Sequence[str], *, since: datetime | None = None, progress: Progress = lambda *_: None
) -> AsyncGenerator[InRecord, None]:
    """Every committed record of the topics that was written before this call, `since` then. In order per partition.

    Raises:
        Fatal: A topic does not exist.
        Retryable: Kafka is away, or does not hand out records for 30 s.
    """
    async with _consumer(kafka, topics) as consumer:
        places = _places(consumer, topics)
        with translated():
            ends = await consumer.end_offsets(places)
            starts = await consumer.beginning_offsets(places)
            if since is not None:
                found = await consumer.offsets_for_times({place: int(since.timestamp() * 1000) for place in places})
                starts = {place: found[place].offset if found[place] else ends[place] for place in places}
        wanted = {place for place in places if starts[place] < ends[place]}
        total = sum(ends[place] - starts[place] for place in wanted)
        for place in wanted:
            consumer.seek(place, starts[place])
        positions, moved_at = {place: starts[place] for place in wanted}, time.monotonic()
        while open_ := {place for place in wanted if positions[place] < ends[place]}:
            with translated(reads=topics):
                batches = await consumer.getmany(*open_, timeout_ms=_POLL)
            for place, records in batches.items():
                for record in records:
                    if record.offset < ends[place]:
                        yield consumed(record)
            with translated():
                now = {place: await consumer.position(place) for place in wanted}
            if now != positions:
                positions, moved_at = now, time.monotonic()
            elif time.monotonic() - moved_at > _NO_PROGRESS:
                raise Retryable(f"reading {', '.join(topics)}: nothing came for {_NO_PROGRESS:g} s")
            progress(total - sum(max(0, ends[place] - positions[place]) for place in wanted), total)


async def bounds(kafka: Kafka, topics: Sequence[str]) -> dict[tuple[str, int], tuple[int, int]]:
    """Where each partition begins, and where it ends for readers of what is committed.

    Raises:
        Fatal: A topic does not exist.
        Retryable: Kafka is away.
    """
    async with _consumer(kafka, topics) as consumer:
        places = _places(consumer, topics)
        with translated():
            starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    return {(place.topic, place.partition): (starts[place], ends[place]) for place in places}


async def record_at(kafka: Kafka, topic: str, partition: int, offset: int) -> InRecord:
    """The record at this place.

    Raises:
        Fatal: There is none: no such topic or partition, deleted, or not a record of its own (a transaction's marker).
        Retryable: Kafka is away.
    """
    place = TopicPartition(topic, partition)
    async with _consumer(kafka, [topic]) as consumer:
        if place not in _places(consumer, [topic]):
            raise Fatal(f"{topic} has no partition {partition}")
        with translated():
            first = (await consumer.beginning_offsets([place]))[place]
            end = (await consumer.end_offsets([place]))[place]
        if first == end:
            raise Fatal(f"{topic}/{partition} is empty")
        if not first <= offset < end:
            raise Fatal(f"{topic}/{partition} holds the offsets {first} to {end - 1} now, and not {offset}")
        consumer.seek(place, offset)
        began = time.monotonic()
        while time.monotonic() - began < _NO_PROGRESS:
            with translated():
                batches = await consumer.getmany(place, timeout_ms=_POLL)
                position = await consumer.position(place)
            for record in batches.get(place, ()):
                if record.offset == offset:
                    return consumed(record)
            if position > offset:
                raise Fatal(f"{topic}/{partition} has no record at the offset {offset}; it is a mark of Kafka's own")
        raise Retryable(f"reading {topic}/{partition}: nothing came for {_NO_PROGRESS:g} s")


@asynccontextmanager
async def _consumer(kafka: Kafka, topics: Sequence[str]) -> AsyncIterator[AIOKafkaConsumer]:
    """Without a group, a consumer of topics is assigned all their partitions."""
    consumer = AIOKafkaConsumer(**reader_settings(kafka), fetch_max_wait_ms=_WAIT)
    try:
        with translated():
            await consumer.start()
            there = await consumer.topics()
        if missing := [topic for topic in topics if topic not in there]:
            raise Fatal(f"there is no topic {' or '.join(missing)}; `connector topics apply` creates it")
        consumer.subscribe(topics)
        with translated():
            async with asyncio.timeout(_ASSIGNED_WITHIN):
                while {place.topic for place in consumer.assignment()} != {*topics}:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(_LOOK)
        yield consumer
    finally:
        await stopped(consumer.stop)


def _places(consumer: AIOKafkaConsumer, topics: Sequence[str]) -> list[TopicPartition]:
    numbers = {topic: sorted(consumer.partitions_for_topic(topic) or ()) for topic in topics}
    return [TopicPartition(topic, number) for topic in topics for number in numbers[topic]]
