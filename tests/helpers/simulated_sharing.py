"""aiokafka's consumer as `SharedWork` uses it, as a member of a simulated group. It takes no records."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka import ConsumerRebalanceListener, TopicPartition

from connector.kafka import shared_work
from connector.kafka.channel_log import POSITIONS
from helpers.processes import outside
from helpers.simulated_group import Group, Member
from helpers.simulated_kafka import SimulatedKafka


def patch_consumer(patch: pytest.MonkeyPatch, group: Group, kafka: SimulatedKafka) -> None:
    """Makes every SharedWork a member of this group. Kafka has all that it needs, as soon as it answers."""

    async def nothing(*_: object) -> None: ...

    patch.setattr(shared_work, "AIOKafkaConsumer", lambda **_: _Consumer(group, kafka))
    patch.setattr(shared_work, "require_count", lambda *_: None)
    patch.setattr(shared_work, "preflight", SimpleNamespace(require=nothing))
    patch.setattr(shared_work, "Watch", lambda *_: SimpleNamespace(run=lambda _: asyncio.Event().wait()))


class _Consumer(Member):
    def __init__(self, group: Group, kafka: SimulatedKafka) -> None:
        super().__init__(group)
        self._kafka = kafka
        self._listening = asyncio.Lock()
        self._taking_part: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await outside(self._kafka.request, lambda: None)

    def subscribe(self, _: list[str], listener: ConsumerRebalanceListener) -> None:
        self._listener = listener
        self._taking_part = asyncio.create_task(self.take_part())

    async def getmany(self, timeout_ms: int) -> None:
        await asyncio.sleep(timeout_ms / 1000)

    def partitions_for_topic(self, _: str) -> set[int]:
        return set(range(self.group.partitions))

    async def assigned(self, partitions: set[int]) -> None:
        async with self._listening:
            await self._listener.on_partitions_assigned(_places(partitions))

    async def revoked(self, partitions: set[int]) -> None:
        async with self._listening:
            await self._listener.on_partitions_revoked(_places(partitions))

    async def stop(self) -> None:
        """Leaves the group, after a call of the listener has ended."""
        if self._taking_part is None:
            return
        async with self._listening:
            self._taking_part.cancel()
        await self.ask(lambda: self.group.leave(self))


def _places(partitions: set[int]) -> list[TopicPartition]:
    return [TopicPartition(POSITIONS, partition) for partition in sorted(partitions)]
