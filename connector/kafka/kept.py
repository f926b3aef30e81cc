"""Reads what topics hold, for commands: all partitions or one, between times or offsets, up to the end as it is now."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from connector.config import Kafka
from connector.errors import Fatal
from connector.kafka.connection import opened, reader_settings
from connector.kafka.errors import nothing_came, translated
from connector.kafka.inbound import InRecord, consumed

_NO_PROGRESS = 30.0  # seconds without a record or a new position before the broker counts as away
_ASSIGNED_WITHIN = 20.0  # seconds; the metadata comes with the first answer
_LOOK = 0.05  # seconds between two looks
_POLL = 200  # milliseconds
_WAIT = 50  # milliseconds that the broker waits for more records; short, so that we soon know the end

Progress = Callable[[int, int], None]  # how many offsets were passed, and how many there are


class Place(NamedTuple):
    """A record's place, by the full name of its topic."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


Bound = datetime | Place | None  # None: where the topics begin, or end now
Span = Mapping[tuple[str, int], tuple[int, int]]  # of each partition the first offset, and the one behind the last


async def kept(
    kafka: Kafka,
    topics: Sequence[str],
    *,
    since: datetime | None = None,
    within: Span | None = None,
    progress: Progress = lambda *_: None,
) -> AsyncGenerator[InRecord, None]:
    """Every committed record of the topics that was written before this call, `since` then. In order per partition.

    With a span from `bounds`, the records `within` it.

    Raises:
        Fatal: A topic does not exist.
        Retryable: Kafka is away, or does not hand out records for 30 s.
    """
    async with _consumer(kafka, topics) as consumer:
        span = await _span(consumer, topics, since, None) if within is None else within
        starts = {TopicPartition(*place): start for place, (start, end) in span.items() if start < end}
        ends = {place: span[place.topic, place.partition][1] for place in starts}
        total = sum(ends.values()) - sum(starts.values())
        for place, start in starts.items():
            consumer.seek(place, start)
        positions, moved_at = starts, time.monotonic()
        while open_ := {place for place in starts if positions[place] < ends[place]}:
            with translated(reads=topics):
                batches = await consumer.getmany(*open_, timeout_ms=_POLL)
            for place, records in batches.items():
                for record in records:
                    if record.offset < ends[place]:
                        yield consumed(record)
            with translated():
                now = {place: await consumer.position(place) for place in starts}
            if now != positions:
                positions, moved_at = now, time.monotonic()
            elif time.monotonic() - moved_at > _NO_PROGRESS:
                raise nothing_came(", ".join(topics))
            progress(total - sum(max(0, ends[place] - positions[place]) for place in starts), total)


async def bounds(kafka: Kafka, topics: Sequence[str], begin: Bound = None, end: Bound = None) -> Span:
    """Where each partition begins, and where it ends for readers of what is committed; or the part between two bounds.

    `begin` belongs to the part and `end` does not. A place leaves only its own partition.

    Raises:
        Fatal: A topic does not exist, or does not hold a bound's place now.
        Retryable: Kafka is away.
    """
    async with _consumer(kafka, topics) as consumer:
        return await _span(consumer, topics, begin, end)


async def _span(consumer: AIOKafkaConsumer, topics: Sequence[str], begin: Bound, end: Bound) -> Span:
    places = _places(consumer, topics)
    with translated():
        firsts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    held = {place: range(firsts[place], ends[place] + 1) for place in places}
    starts, stops = await _offsets(consumer, held, begin, firsts), await _offsets(consumer, held, end, ends)
    return {(place.topic, place.partition): (starts[place], stops[place]) for place in starts if place in stops}


async def _offsets(
    consumer: AIOKafkaConsumer,
    held: Mapping[TopicPartition, range],
    bound: Bound,
    unbound: Mapping[TopicPartition, int],
) -> Mapping[TopicPartition, int]:
    """The offsets of a bound. Kafka answers a time with the first record that is not older."""
    match bound:
        case None:
            return unbound
        case datetime():
            with translated():
                at = max(0, int(bound.timestamp() * 1000))  # Kafka knows no time before 1970
                found = await consumer.offsets_for_times(dict.fromkeys(held, at))
            return {
                place: min(found[place].offset, held[place][-1]) if found[place] else held[place][-1] for place in held
            }
    place = TopicPartition(bound.topic, bound.partition)
    if place not in held:
        raise Fatal(f"{bound.topic} has no partition {bound.partition}")
    if bound.offset not in held[place]:
        first, end = held[place][0], held[place][-1]
        holds = f"holds the offsets {first} to {end - 1} now, and not {bound.offset}" if first < end else "is empty"
        raise Fatal(f"{bound.topic}/{bound.partition} {holds}")
    return {place: bound.offset}


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
        raise nothing_came(f"{topic}/{partition}")


@asynccontextmanager
async def _consumer(kafka: Kafka, topics: Sequence[str]) -> AsyncIterator[AIOKafkaConsumer]:
    """Without a group, a consumer of topics is assigned all their partitions."""
    async with opened(AIOKafkaConsumer(**reader_settings(kafka), fetch_max_wait_ms=_WAIT)) as consumer:
        with translated():
            there = await consumer.topics()
        if missing := [topic for topic in topics if topic not in there]:
            raise Fatal(f"there is no topic {' or '.join(missing)}; `connector topics apply` creates it")
        consumer.subscribe(topics)
        with translated():
            async with asyncio.timeout(_ASSIGNED_WITHIN):
                while {place.topic for place in consumer.assignment()} != {*topics}:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(_LOOK)
        yield consumer


def _places(consumer: AIOKafkaConsumer, topics: Sequence[str]) -> list[TopicPartition]:
    numbers = {topic: sorted(consumer.partitions_for_topic(topic) or ()) for topic in topics}
    return [TopicPartition(topic, number) for topic in topics for number in numbers[topic]]
