"""A topic is followed from its beginning to its end, and then live."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from helpers import topics
from helpers.waiting import PATIENCE, until

from connector.config import Kafka
from connector.kafka import follower


class LateConsumer(AIOKafkaConsumer):
    """Asks for the ends some time after its start. A fetch is under way by then, as it may be after any start."""

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        await asyncio.sleep(0.5)
        ends: dict[TopicPartition, int] = await super().end_offsets(partitions)
        return ends


@pytest.fixture
def kafka(bootstrap_servers: str, unique: str) -> Kafka:
    return Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)


@asynccontextmanager
async def following(kafka: Kafka, taken: list[bytes | None]) -> AsyncIterator[follower.Follower]:
    def take(record: ConsumerRecord) -> None:
        taken.append(record.value)

    one = follower.Follower(kafka, "topic", take)
    run = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def test_it_takes_what_was_there_before_it_has_caught_up_and_later_what_comes(kafka: Kafka) -> None:
    name, taken = await topics.create(kafka, "topic", partitions=3), list[bytes | None]()
    for partition in range(3):
        await topics.produce(kafka, name, [b"before"] * 700, partition)
    async with following(kafka, taken) as one:
        await one.caught_up()
        assert taken == [b"before"] * 2_100
        await topics.produce(kafka, name, [b"after"], partition=1)
        await until(lambda: taken[2_100:] == [b"after"])


async def test_it_has_caught_up_with_an_empty_topic_before_a_fetch_ends(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka answers the requests of a connection in turn, and a fetch waits there for records."""
    monkeypatch.setattr(follower, "AIOKafkaConsumer", LateConsumer)
    monkeypatch.setattr(follower, "_WAIT", 1_000 * int(PATIENCE))
    await topics.create(kafka, "topic", partitions=3)
    taken: list[bytes | None] = []
    async with following(kafka, taken) as one, asyncio.timeout(PATIENCE / 2):
        await one.caught_up()
