"""A channel's log on a real broker: it stores events and position together or not at all, from one worker at a time."""

import asyncio
import gc
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaProducer
from helpers import topics

from connector.config import Kafka
from connector.errors import Fatal, Rejected, Retryable
from connector.kafka.channel_log import POSITIONS, ChannelLog
from connector.kafka.cloud_events import OutRecord
from connector.kafka.errors import Fenced
from connector.records import Position

CHANNEL = "/data/CaseChangeEvent"


@pytest.fixture
async def kafka(bootstrap_servers: str, unique: str) -> Kafka:
    kafka = Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)
    await topics.create(kafka, POSITIONS)
    await topics.create(kafka, "events")
    return kafka


def position(replay_id: str) -> Position:
    return Position(channel=CHANNEL, replay_id=replay_id, at=datetime(2026, 1, 1, tzinfo=UTC))


def event(kafka: Kafka, value: bytes) -> OutRecord:
    return OutRecord(kafka.topic_prefix + "events", b"key", value, [])


async def values(kafka: Kafka, topic: str) -> list[bytes | None]:
    return [record.value for record in await topics.read(kafka, topic)]


async def test_position_behind_the_open_transaction_of_another_channel_is_found(kafka: Kafka) -> None:
    """Channels share partitions, and Kafka hides records behind an open transaction from readers until it ends."""
    first = ChannelLog(kafka, CHANNEL, 0)
    await first.open()
    other = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=kafka.topic_prefix + "other")
    await other.start()
    try:
        await other.begin_transaction()
        await other.send_and_wait(kafka.topic_prefix + POSITIONS, b"{}", b"other", partition=0)
        await first.append([], position("aa"))
        second = ChannelLog(kafka, CHANNEL, 0)
        opening = asyncio.create_task(second.open())
        await asyncio.wait([opening], timeout=1)
        await other.abort_transaction()
        await opening
        assert second.position == position("aa")
    finally:
        await other.stop()
    await first.close()
    await second.close()


async def test_events_and_their_position_are_there_together(kafka: Kafka) -> None:
    """Also after a cancelled append: when the log is opened again, it finds where it ends."""
    channel_log = ChannelLog(kafka, CHANNEL, 0)
    await channel_log.open()
    assert channel_log.position is None
    await channel_log.append([event(kafka, b"1"), event(kafka, b"2")], position("aa"))
    given_up = asyncio.create_task(channel_log.append([event(kafka, b"3")], position("bb")))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    await channel_log.open()
    assert channel_log.position == position("aa")
    await channel_log.append([event(kafka, b"3")], position("cc"))
    await channel_log.close()
    assert await values(kafka, "events") == [b"1", b"2", b"3"]
    again = ChannelLog(kafka, CHANNEL, 0)
    await again.open()
    assert again.position == position("cc")
    await again.close()


async def test_worker_that_was_taken_over_cannot_write(kafka: Kafka) -> None:
    first, second = ChannelLog(kafka, CHANNEL, 0), ChannelLog(kafka, CHANNEL, 0)
    await first.open()
    await first.append([event(kafka, b"by the first")], position("aa"))
    await second.open()
    with pytest.raises(Fenced):
        await first.append([event(kafka, b"too late")], position("bb"))
    await second.append([event(kafka, b"by the second")], position("cc"))
    await second.close()
    assert await values(kafka, "events") == [b"by the first", b"by the second"]


async def test_record_that_is_too_large_takes_nothing_with_it(kafka: Kafka) -> None:
    channel_log = ChannelLog(kafka, CHANNEL, 0)
    await channel_log.open()
    with pytest.raises(Rejected):
        await channel_log.append([event(kafka, b"small"), event(kafka, b"x" * 20_000_000)], position("aa"))
    await channel_log.open()
    assert channel_log.position is None
    await channel_log.append([event(kafka, b"small")], position("bb"))
    await channel_log.close()
    assert await values(kafka, "events") == [b"small"]


async def test_kafka_that_is_away_is_retryable_and_leaves_nothing_open() -> None:
    channel_log = ChannelLog(Kafka(bootstrap_servers="127.0.0.1:1"), CHANNEL, 0)
    with pytest.raises(Retryable):
        await channel_log.open()
    gc.collect()  # an unclosed client gives a warning, and in the tests a warning is an error


async def test_something_else_in_the_place_of_a_position_stops_the_channel_and_says_where_it_lies(kafka: Kafka) -> None:
    """Starting anywhere else could skip changes, so a person decides; in this test the person deletes the record."""
    topic = kafka.topic_prefix + POSITIONS
    await topics.publish(kafka, [OutRecord(topic, CHANNEL.encode(), b"no position", [])])
    channel_log = ChannelLog(kafka, CHANNEL, 0)
    with pytest.raises(Fatal, match=r"salesforce\.positions, partition 0, offset 0 is no position, so where /data"):
        await channel_log.open()
    await topics.publish(kafka, [OutRecord(topic, CHANNEL.encode(), None, [])])
    await channel_log.open()
    assert channel_log.position is None
    await channel_log.close()
