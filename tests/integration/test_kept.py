"""What commands read: every record of some topics up to now, from a time on, or one record at its place."""

import asyncio
from datetime import UTC, datetime

import pytest
from helpers import topics

from connector.config import Kafka
from connector.errors import Fatal
from connector.kafka.cloud_events import OutRecord
from connector.kafka.connection import close, transaction, transactional_producer
from connector.kafka.kept import kept, record_at
from connector.operate.counts import Tail


@pytest.fixture
def kafka(bootstrap_servers: str, unique: str) -> Kafka:
    return Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)


def records(topic: str, values: range) -> list[OutRecord]:
    return [OutRecord(topic, b"%d" % value, b"%d" % value, []) for value in values]


async def test_all_records_of_several_topics_are_read_up_to_now_and_markers_end_nothing(kafka: Kafka) -> None:
    """Each transaction ends with a marker, which takes an offset and is no record."""
    names = [await topics.create(kafka, name, partitions=3) for name in ("first", "second", "empty")]
    producer = await transactional_producer(kafka, "writer")
    for number in range(5):
        batch = range(number * 10, number * 10 + 10)
        await transaction(producer, records(names[0], batch))
        await transaction(producer, records(names[1], batch))
    await close(producer)
    told: list[tuple[int, int]] = []
    found = [record async for record in kept(kafka, names, progress=lambda *counts: told.append(counts))]
    for name in names[:2]:
        assert sorted(int(record.value or b"") for record in found if record.topic == name) == [*range(50)]
        for partition in range(3):
            offsets = [record.offset for record in found if (record.topic, record.partition) == (name, partition)]
            assert offsets == sorted(offsets)
    assert told[-1][0] == told[-1][1] > 100


async def test_records_from_a_time_on(kafka: Kafka) -> None:
    name = await topics.create(kafka, "times", partitions=2)
    await topics.publish(kafka, records(name, range(5)))
    await asyncio.sleep(0.002)  # Kafka's times are in milliseconds
    moment = datetime.now(UTC)
    await topics.publish(kafka, records(name, range(5, 10)))
    found = [int(record.value or b"") async for record in kept(kafka, [name], since=moment)]
    assert sorted(found) == [*range(5, 10)]
    assert [record async for record in kept(kafka, [name], since=datetime.now(UTC))] == []


async def test_records_from_a_time_that_kafka_does_not_know(kafka: Kafka) -> None:
    """As `--from 100y` or `--from 0001-01-01` means: from the beginning."""
    name = await topics.create(kafka, "old-times", partitions=1)
    await topics.publish(kafka, records(name, range(3)))
    since = datetime(1, 1, 1, tzinfo=UTC)
    assert [int(record.value or b"") async for record in kept(kafka, [name], since=since)] == [0, 1, 2]


async def test_a_tail_goes_on_with_a_topic_that_was_made_anew(kafka: Kafka) -> None:
    """The console runs for weeks, and would count nothing of the new topic until that is as long as the old one."""
    name, taken = await topics.create(kafka, "tail"), list[bytes | None]()
    tail = Tail(kafka, "tail", lambda record: taken.append(record.value))
    await topics.publish(kafka, records(name, range(3)))
    for _ in range(2):
        await tail.read(datetime.now(UTC))
    assert taken == [b"0", b"1", b"2"]
    await topics.delete(kafka, name)
    await topics.create(kafka, "tail")
    await topics.publish(kafka, records(name, range(3, 5)))
    for _ in range(2):
        await tail.read(datetime.now(UTC))
    assert taken == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_place_that_holds_no_record_says_what_is_there(kafka: Kafka) -> None:
    name = await topics.create(kafka, "places")
    producer = await transactional_producer(kafka, "writer")
    await transaction(producer, records(name, range(2)))
    await close(producer)
    assert (await record_at(kafka, name, 0, 1)).value == b"1"
    with pytest.raises(Fatal, match="no record at the offset 2; it is a mark"):
        await record_at(kafka, name, 0, 2)
    with pytest.raises(Fatal, match="holds the offsets 0 to 2 now, and not 3"):
        await record_at(kafka, name, 0, 3)
    with pytest.raises(Fatal, match="has no partition 1"):
        await record_at(kafka, name, 1, 0)
    with pytest.raises(Fatal, match="there is no topic nowhere"):
        await record_at(kafka, "nowhere", 0, 0)
