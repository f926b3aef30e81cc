"""The shared producer when Kafka fails: it is replaced once for all callers, and connects whatever went wrong first."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from helpers.waiting import until

from connector.config import Kafka, Service
from connector.errors import Retryable
from connector.kafka import publisher
from connector.kafka.cloud_events import OutRecord
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.publisher import Publisher
from connector.observe.metrics import Metrics
from connector.wiring import receive
from connector.wiring.receive import Receiving

KAFKA = Kafka(bootstrap_servers="nowhere:9092")
RECORD = OutRecord("topic", b"key", b"value", [])


class Producers:
    """Makes producers that start when `may_start` is set, unless there is an `error`. The first one stores nothing.

    What becomes of a record with the key `late` is up to the test.
    """

    def __init__(self) -> None:
        self.late: list[asyncio.Future[Any]] = []
        self.made = self.started = 0
        self.may_start = asyncio.Event()
        self.error: Exception | None = None

    def __call__(self, **_: Any) -> SimpleNamespace:
        self.made += 1
        stores = self.made > 1

        async def start() -> None:
            await self.may_start.wait()
            if self.error:
                raise self.error
            self.started += 1

        async def stop() -> None: ...

        async def send(*, key: bytes, **_: Any) -> asyncio.Future[Any]:
            stored: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            if key == b"late":
                self.late.append(stored)
            elif stores:
                stored.set_result(SimpleNamespace(offset=7))
            else:
                stored.set_exception(KafkaConnectionError())
            return stored

        left = {"_message_accumulator": SimpleNamespace(_batches={}, _pending_batches=()), "_txn_manager": None}
        return SimpleNamespace(start=start, stop=stop, send=send, **left)


@pytest.fixture
def producers(monkeypatch: pytest.MonkeyPatch) -> Producers:
    found = Producers()
    monkeypatch.setattr(publisher, "AIOKafkaProducer", found)
    return found


async def test_a_caller_that_gives_up_neither_waits_for_the_new_producer_nor_ends_it(producers: Producers) -> None:
    shared = Publisher(KAFKA)
    producers.may_start.set()
    await shared.start()
    with pytest.raises(Retryable):
        await shared.send(RECORD)
    producers.may_start.clear()
    for _ in range(3):
        caller = asyncio.create_task(shared.send(RECORD))
        await until(lambda: producers.made == 2)
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
    producers.may_start.set()
    assert await shared.send(RECORD) == 7
    assert (producers.made, shared.replaced) == (2, 1)
    await shared.stop()


async def test_a_late_failure_of_a_replaced_producer_does_not_end_the_new_one(producers: Producers) -> None:
    shared = Publisher(KAFKA)
    producers.may_start.set()
    await shared.start()
    late = asyncio.create_task(shared.send(OutRecord("topic", b"late", b"value", [])))
    await until(lambda: len(producers.late) == 1)
    with pytest.raises(Retryable):
        await shared.send(RECORD)
    assert await shared.send(RECORD) == 7
    producers.late[0].set_exception(KafkaConnectionError())
    with pytest.raises(Retryable):
        await late
    assert await shared.send(RECORD) == 7
    assert (producers.made, shared.replaced) == (2, 1)
    await shared.stop()


async def test_receive_connects_after_kafka_had_refused_it(
    producers: Producers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive, "_TRY_AGAIN", 0.01)
    producers.may_start.set()
    producers.error = TopicAuthorizationFailedError()
    service = Service.model_validate({"spool": {"max_bytes": 0}})
    config = SimpleNamespace(kafka=KAFKA, pisano={}, service=service)
    letters = DeadLetters(KAFKA, "receive", lambda *_: None)
    shared: Any = SimpleNamespace(config=config, metrics=Metrics(), letters=lambda _: letters, topic=str)
    receiving = Receiving(shared)
    await receiving.start()
    await until(lambda: producers.made > 1)
    producers.error = None
    await until(lambda: producers.started == 1)
    await receiving.stop()
