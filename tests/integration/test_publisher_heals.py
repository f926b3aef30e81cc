"""The publisher goes on after every error that ends an idempotent producer for good."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors
from helpers import topics
from helpers.clock import Clock
from helpers.waiting import until

from connector.config import Kafka
from connector.errors import Fatal, Rejected, Retryable
from connector.kafka import connection
from connector.kafka import publisher as shared
from connector.kafka.cloud_events import OutRecord
from connector.kafka.publisher import Publisher
from connector.sandbox.broker import LocalBroker, kafka_broker


def record(topic: str, value: bytes, partition: int = 0) -> OutRecord:
    return OutRecord(topic, b"key", value, [], partition)


async def test_a_record_that_kafka_refuses_for_its_size_stops_no_later_one(bootstrap_servers: str, unique: str) -> None:
    """Report 1: aiokafka counts the refused record, so Kafka refuses every later record of the partition."""
    kafka = Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)
    topic = await topics.create(kafka, "in", max_message_bytes="20000")
    publisher = Publisher(kafka)
    await publisher.start()
    try:
        await publisher.send(record(topic, b"small 1"))
        with pytest.raises(Rejected):
            await publisher.send(record(topic, b"x" * 50_000))
        for number in range(2, 6):
            await publisher.send(record(topic, b"small %d" % number))
        assert publisher.replaced == 1
    finally:
        await publisher.stop()
    assert [each.value for each in await topics.read(kafka, "in")] == [b"small %d" % number for number in range(1, 6)]


@pytest.fixture
async def own_broker() -> AsyncIterator[LocalBroker]:
    async with kafka_broker("local", say=print) as broker:
        assert isinstance(broker, LocalBroker)
        yield broker


async def test_a_broker_that_was_away_longer_than_a_record_waits_gets_the_later_ones(
    own_broker: LocalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Report 1: the record that timed out left a gap. Like the real callers, `send` repeats until it works."""
    monkeypatch.setattr(connection, "_REQUEST_TIMEOUT", 2_000)
    monkeypatch.setattr(shared, "_STORED_WITHIN", 3.0)
    kafka = Kafka(bootstrap_servers=own_broker.bootstrap_servers, topic_prefix="heals.")
    topic = await topics.create(kafka, "in")
    publisher = Publisher(kafka)
    await publisher.start()
    stored: list[int] = []

    async def send(number: int) -> None:
        while number not in stored:
            try:
                await publisher.send(record(topic, b"%d" % number))
                stored.append(number)
            except Retryable:
                await asyncio.sleep(0.1)

    try:
        await send(0)
        own_broker.kill()
        sending = asyncio.gather(*map(send, range(1, 10)))
        with pytest.raises(Retryable):
            await publisher.send(record(topic, b"in the outage"))
        assert not await publisher.answers()
        await own_broker.start()
        async with asyncio.timeout(60):
            await sending
        await until(publisher.answers)
    finally:
        await publisher.stop()
    assert {each.value for each in await topics.read(kafka, "in")} >= {b"%d" % number for number in range(10)}


class Producer:
    """A stand-in for aiokafka's producer; the first one made fails with `error`."""

    made: list["Producer"]
    error: BaseException
    _message_accumulator = SimpleNamespace(_batches={}, _pending_batches=())
    _txn_manager = None

    def __init__(self, **_: Any) -> None:
        self.made.append(self)
        self.stopped = False
        self.client = SimpleNamespace(force_metadata_update=self._updated)

    async def _updated(self) -> bool:
        return True

    async def start(self) -> None:
        """Connects at once."""

    async def stop(self) -> None:
        self.stopped = True

    async def send(self, **_: Any) -> asyncio.Future[Any]:
        stored = asyncio.get_running_loop().create_future()
        if self is self.made[0]:
            stored.set_exception(self.error)
        else:
            stored.set_result(SimpleNamespace(offset=7))
        return stored


@pytest.mark.parametrize(
    "error",
    [
        errors.OutOfOrderSequenceNumber(),
        errors.UnknownProducerId(),
        errors.InvalidProducerEpoch(),
        errors.ProducerClosed(),
        errors.KafkaTimeoutError(),
        AssertionError("the sender has ended"),
    ],
)
async def test_whatever_ends_a_producer_it_is_replaced_once_for_all_who_use_it(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    Producer.made, Producer.error = [], error
    monkeypatch.setattr(shared, "AIOKafkaProducer", Producer)
    publisher = Publisher(Kafka(bootstrap_servers="nowhere:9092"))
    await publisher.start()
    with pytest.raises(Retryable):
        await publisher.send(record("t", b""))
    assert await asyncio.gather(*(publisher.send(record("t", b"")) for _ in range(5))) == [7] * 5
    assert publisher.replaced == 1
    await publisher.stop()
    assert [producer.stopped for producer in Producer.made] == [True, True]


async def test_a_publisher_that_stores_nothing_for_a_minute_is_not_ready_though_kafka_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Producer.made, Producer.error = [], errors.TopicAuthorizationFailedError("pisano.feedback")
    monkeypatch.setattr(shared, "AIOKafkaProducer", Producer)
    clock = Clock(0.0)
    publisher = Publisher(Kafka(bootstrap_servers="nowhere:9092"), clock=clock)
    await publisher.start()
    with pytest.raises(Fatal):
        await publisher.send(record("t", b""))
    assert await publisher.answers()
    clock.now += 61
    Producer.made.clear()  # so that the next producer fails too
    with pytest.raises(Fatal):
        await publisher.send(record("t", b""))
    assert not await publisher.answers()
    clock.now += 61
    assert await publisher.answers(), "nobody sends to a process that is not ready, and only a send can show that it is"
    Producer.made.clear()
    with pytest.raises(Fatal):
        await publisher.send(record("t", b""))
    assert not await publisher.answers()
    await publisher.send(record("t", b""))
    assert await publisher.answers()
    await publisher.stop()
