"""A lot is read through outages."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from faust.types import TP
from helpers.simulated_loop import simulate

from connector.config import Kafka
from connector.errors import Retryable
from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.kafka.lot import Lot, Place

PLACE = Place("send", "main", TP("pisano.invitations", 0))
RECORDS = 100


class ShakyLot(Lot):
    """Kafka fails after each record, and once for long."""

    parked: list[OutRecord]

    async def _read(self, start: int) -> AsyncIterator[Any]:
        if 20 < asyncio.get_running_loop().time() < 50:
            raise Retryable("Kafka is away")
        record = self.parked[start]
        yield ConsumerRecord("connector.parked", 0, start, 0, 0, record.key, record.value, None, 0, 2, record.headers)
        await asyncio.sleep(1)
        raise Retryable("Kafka closed the connection")


def lot_with(kind: type[ShakyLot], count: int) -> ShakyLot:
    """A lot to which so many records are on their way."""
    parked: list[OutRecord] = []

    async def publish(records: Sequence[OutRecord]) -> list[int]:
        parked.extend(records)
        return list(range(len(parked) - len(records), len(parked)))

    lot = kind(PLACE, TopicPartition("connector.parked", 0), Kafka(bootstrap_servers="none:9"), publish)
    lot.parked = parked
    for number in range(count):
        lot.announce()
        lot.put(InRecord("pisano.invitations", 0, number, b"key", b"{}", (), 0.0))
    return lot


async def read_all() -> tuple[list[int], float]:
    lot, read = lot_with(ShakyLot, RECORDS), []
    async for offset, _ in lot.records():
        read.append(offset)
        await lot.done(offset + 1)
    return read, asyncio.get_running_loop().time()


def test_a_lot_is_read_through_many_short_outages_and_a_long_one() -> None:
    read, took = simulate(read_all())
    assert read == list(range(RECORDS))
    assert took < 30 + RECORDS * 1.5  # seconds; after each record that comes, the pauses are short again


class CutLot(ShakyLot):
    """Kafka closes the connection after the record, and is away for the first try after that."""

    tries = 0

    async def _read(self, start: int) -> AsyncIterator[Any]:
        self.tries += 1
        if self.tries == 2:
            raise Retryable("Kafka is away")
        if self.todo is not None:
            async for record in super()._read(start):
                yield record


async def read_one() -> list[int]:
    lot, read, working = lot_with(CutLot, 1), [], list[asyncio.Task[None]]()

    async def work(offset: int) -> None:
        await asyncio.sleep(1.1)  # it ends while the lot waits for Kafka
        await lot.done(offset + 1)

    async for offset, _ in lot.records():
        read.append(offset)
        working.append(asyncio.create_task(work(offset)))
    return read


def test_the_last_record_may_be_worked_off_while_kafka_is_away() -> None:
    assert simulate(read_one()) == [0]
