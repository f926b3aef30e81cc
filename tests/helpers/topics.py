"""Kafka through plain aiokafka, like any other client, so that a mistake in `connector.kafka` cannot hide itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import NodeNotReadyError

from connector.config import Kafka
from connector.kafka.cloud_events import OutRecord
from connector.kafka.publisher import Publisher
from helpers.waiting import until

_LONGEST_TRANSACTION = 80.0  # seconds: Kafka ends one after 60, and looks each 10


async def create(kafka: Kafka, topic: str, partitions: int = 1, **settings: str) -> str:
    """Creates a topic under the prefix, with Kafka `settings` (underscores for dots). Returns its full name."""
    name = kafka.topic_prefix + topic
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    async with _started(admin, admin.close):
        configs = {setting.replace("_", "."): value for setting, value in settings.items()}
        await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
    await _partitions(kafka, name)
    return name


async def delete(kafka: Kafka, name: str) -> None:
    """Deletes a topic and waits until the broker, too, knows it no more: the controller answers before that."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)

    async def is_gone() -> bool:
        return name not in await admin.list_topics()

    async with _started(admin, admin.close):
        await admin.delete_topics([name])
        await until(is_gone)


async def produce(kafka: Kafka, topic: str, values: Iterable[bytes], partition: int = 0) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all")
    async with _started(producer, producer.stop):
        for value in values:
            await producer.send(topic, value, partition=partition)
        await producer.flush()


async def write_at(kafka: Kafka, record: OutRecord, at: datetime) -> None:
    """Writes a record with an older time than now."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all")
    async with _started(producer, producer.stop):
        await producer.send_and_wait(**record.arguments(), timestamp_ms=int(at.timestamp() * 1000))


async def publish(kafka: Kafka, records: Iterable[OutRecord]) -> None:
    """Writes our own records, as the stages write them."""
    publisher = Publisher(kafka)
    await publisher.start()
    try:
        for record in records:
            await publisher.send(record)
    finally:
        await publisher.stop()


async def write_in_transactions(kafka: Kafka, topic: str, count: int) -> None:
    """Writes `0` to `count` - 1 to partition 0, each in its own transaction; an aborted one follows some of them."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=topic)
    async with _started(producer, producer.stop):
        for number in range(count):
            async with producer.transaction():
                await producer.send(topic, b"%d" % number, partition=0)
            if number % 4 == 0:
                await producer.begin_transaction()
                await producer.send_and_wait(topic, b"aborted", partition=0)
                await producer.abort_transaction()


@asynccontextmanager
async def open_transaction(kafka: Kafka, topic: str, value: bytes) -> AsyncIterator[None]:
    """Writes a record to partition 0 in a transaction, which ends, aborted, with the `async with` block."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=topic)
    async with _started(producer, producer.stop):
        await producer.begin_transaction()
        await producer.send_and_wait(topic, value, partition=0)
        yield
        await producer.abort_transaction()


async def read(kafka: Kafka, topic: str) -> list[ConsumerRecord]:
    """Every committed record of all partitions of `topic` under the prefix, in order in each partition.

    Waits until all records there are committed or aborted: a transaction ends in its partitions one after the other.
    """
    name = kafka.topic_prefix + topic
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=50,
    )
    async with _started(consumer, consumer.stop):
        places = [TopicPartition(name, number) for number in await _partitions(kafka, name)]
        consumer.assign(places)
        found: list[ConsumerRecord] = []
        ends = dict[TopicPartition, int]()  # the ends at the first read; `end_offsets` gives the committed ends
        began = time.monotonic()
        while [place for place in places if place not in ends or await consumer.position(place) < ends[place]]:
            assert time.monotonic() - began < _LONGEST_TRANSACTION, f"a transaction in {name} does not end"
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += records
            for place in places:
                if (end := consumer.highwater(place)) is not None:
                    ends.setdefault(place, end)
        return sorted(found, key=lambda record: (record.partition, record.offset))


@asynccontextmanager
async def unless_kafka_loses_a_mark(kafka: Kafka, *names: str) -> AsyncIterator[None]:
    """Skips a test that fails while a transaction in one of these topics never ends, though its writer has ended it.

    Kafka 4.4.0 may lose the mark of the end when the only broker dies: docs/kafka.md, Transactions that hang.
    """
    try:
        yield
    except AssertionError:
        if hanging := [name for name in names if await _hangs(kafka, kafka.topic_prefix + name)]:
            pytest.skip(f"Kafka has lost the end of a transaction in {', '.join(hanging)}")
        raise


async def _hangs(kafka: Kafka, name: str) -> bool:
    """Whether the last committed record stands before the last record, longer than any transaction may take."""
    places = [TopicPartition(name, number) for number in await _partitions(kafka, name)]

    async def ends(level: str) -> dict[TopicPartition, int]:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, isolation_level=level)
        async with _started(consumer, consumer.stop):
            return dict(await consumer.end_offsets(places))

    before = await ends("read_committed")
    await asyncio.sleep(_LONGEST_TRANSACTION)
    after, whole = await ends("read_committed"), await ends("read_uncommitted")
    return any(before[place] == after[place] < whole[place] for place in places)


async def committed(kafka: Kafka, group: str) -> dict[tuple[str, int], int]:
    """The committed offsets of a consumer group, by full topic name and partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    async with _started(admin, admin.close):
        offsets = await admin.list_consumer_group_offsets(kafka.topic_prefix + group)
    return {(place.topic, place.partition): entry.offset for place, entry in offsets.items() if entry.offset >= 0}


async def lag(kafka: Kafka, group: str, topic: str) -> dict[int, int]:
    """The lag of a group as Kafka's own tools show it: the log's end, behind all markers, minus what is committed."""
    name = kafka.topic_prefix + topic
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers)  # read_uncommitted
    async with _started(consumer, consumer.stop):
        ends = await consumer.end_offsets([TopicPartition(name, number) for number in await _partitions(kafka, name)])
    done = await committed(kafka, group)
    return {place.partition: end - done.get((name, place.partition), 0) for place, end in ends.items()}


async def _partitions(kafka: Kafka, name: str) -> Sequence[int]:
    """Waits until the broker knows the topic: a moment after its creation, or after the broker was frozen."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)

    async def described() -> dict[str, Any] | None:
        try:
            (topic,) = await admin.describe_topics([name])
        except NodeNotReadyError:
            return None
        return None if topic["error_code"] else topic

    async with _started(admin, admin.close):
        topic = await until(described)
    assert topic is not None
    return [partition["partition"] for partition in topic["partitions"]]


@asynccontextmanager
async def _started(client: Any, stop: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Starts a client of aiokafka and stops it. A cancellation waits for the start: else something stays open."""
    starting = asyncio.ensure_future(client.start())
    try:
        await asyncio.shield(starting)
        yield
    finally:
        await asyncio.wait([starting])
        await stop()
