"""The topic of parked records in memory and in simulated time, for simulations of stages with cells."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Any

import pytest

from connector.kafka import parking
from connector.kafka.cloud_events import OutRecord
from connector.kafka.lot import Lot
from helpers.processes import name_of_this, outside


class _Record:
    """Like aiokafka's ConsumerRecord."""

    def __init__(self, offset: int, record: OutRecord) -> None:
        self.offset, self.key, self.value, self.headers = offset, record.key, record.value, tuple(record.headers)


class SimulatedParking:
    """One partition. `park` is what `Parking` publishes with; the producer of each process keeps its order."""

    def __init__(self, random: Random) -> None:
        self.records: list[OutRecord] = []
        self._random = random
        self._there_at: defaultdict[str, float] = defaultdict(float)  # by process, the time of its last record

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        """Replaces the topic of parked records by this one."""

        async def one(*_: object) -> int:
            return 1

        patch.setattr(parking, "read_back", self._read_back)
        patch.setattr(parking, "partition_count", one)
        patch.setattr(parking, "Lot", type("SimulatedLot", (_Lot,), {"parked": self.records, "random": self._random}))

    async def park(self, records: Sequence[OutRecord]) -> list[int]:
        return await asyncio.gather(*(self._put(record) for record in records))

    async def _put(self, record: OutRecord) -> int:
        delay = self._random.choice((0.01, 0.1, 3.0))  # sometimes slow, so that a kill can come first
        name, now = name_of_this(), asyncio.get_running_loop().time()
        self._there_at[name] = max(self._there_at[name] + 1e-6, now + delay)
        return await outside(self._append, record, self._there_at[name])

    async def _append(self, record: OutRecord, at: float) -> int:
        await asyncio.sleep(at - asyncio.get_running_loop().time())
        self.records.append(record)
        return len(self.records) - 1

    async def _read_back(self, *_: object) -> AsyncIterator[Any]:
        await asyncio.sleep(self._random.uniform(0, 0.5))
        for offset, record in enumerate(list(self.records)):
            yield _Record(offset, record)


class _Lot(Lot):
    parked: list[OutRecord]
    random: Random

    async def _read(self, start: int) -> AsyncIterator[Any]:
        offset = start
        while self.todo is not None:
            await asyncio.sleep(self.random.uniform(0, 0.05))
            records = self.parked[offset : offset + 50]
            for number, record in enumerate(records, offset):
                if record.key == self.place.key and record.value is not None:
                    yield _Record(number, record)
            offset += len(records)
