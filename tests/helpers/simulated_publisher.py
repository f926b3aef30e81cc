"""aiokafka's idempotent producer in simulated time, as `Publisher` uses it, on a simulated Kafka."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, OutOfOrderSequenceNumber, ProducerClosed

from connector.kafka import publisher
from connector.kafka.cloud_events import OutRecord
from helpers.processes import outside
from helpers.simulated_kafka import SimulatedKafka, Transaction
from helpers.simulated_workers import clock


def patch_producer(patch: pytest.MonkeyPatch, kafka: SimulatedKafka, largest: dict[str, int]) -> None:
    """Makes every Publisher write to this Kafka. `largest` says how many bytes a record of a topic may have."""
    patch.setattr(publisher, "AIOKafkaProducer", lambda **_: _Producer(kafka, largest))


class _Producer:
    """After its first failure it accepts nothing more, as aiokafka's may."""

    _sender = SimpleNamespace(sender_task=None)
    _message_accumulator = SimpleNamespace(_batches={}, _pending_batches=())
    _txn_manager = None

    def __init__(self, kafka: SimulatedKafka, largest: dict[str, int]) -> None:
        self._kafka, self._largest = kafka, largest
        self._failed = self._stopped = False

    async def start(self) -> None:
        await outside(self._kafka.request, lambda: None)

    async def stop(self) -> None:
        self._stopped = True
        await outside(self._kafka.request, lambda: None)

    @property
    def client(self) -> SimpleNamespace:
        async def close() -> None:
            self._stopped = True

        return SimpleNamespace(close=close)

    async def send(self, **arguments: Any) -> asyncio.Future[Any]:
        record = OutRecord(**arguments)
        if self._stopped:
            raise ProducerClosed
        if len(record.value or b"") > self._largest[record.topic]:
            raise MessageSizeTooLargeError
        return asyncio.ensure_future(self._store(record))

    async def _store(self, record: OutRecord) -> SimpleNamespace:
        stored: list[int] = []

        def store() -> int:
            if not stored:  # else the request is a repeat
                stored.append(len(self._kafka.log))
                self._kafka.log.append((Transaction([(0, record)], "committed"), record))
                self._kafka.committed_at.append((clock(), record))
            return stored[0]

        if self._failed:
            raise OutOfOrderSequenceNumber
        try:
            return SimpleNamespace(offset=await outside(self._kafka.request, store))
        except KafkaError:
            self._failed = True
            raise
