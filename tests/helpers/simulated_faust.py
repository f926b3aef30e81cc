"""Faust as `StageWorker` uses it, as a member of a simulated group with one partition."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from connector.kafka import stage_worker
from helpers.simulated_group import Group, Member

TOPIC = TP("pisano.invitations", 0)
_BATCH = 5  # records that Faust hands out at once, if there are as many


def patch_faust(patch: pytest.MonkeyPatch, group: Group) -> None:
    """Makes every StageWorker a member of this group. Kafka has all that it needs."""

    async def nothing(*_: object) -> list[Any]:
        return []

    patch.setattr(stage_worker, "faust_app", lambda _, __, offsets: _FaustApp(group, offsets))
    patch.setattr(stage_worker, "preflight", SimpleNamespace(require=nothing))
    patch.setattr(stage_worker, "look_for_holes", nothing)
    patch.setattr(stage_worker, "Watch", lambda *_: SimpleNamespace(run=lambda _: asyncio.Event().wait(), lag=None))


class _FaustApp(Member):
    """The part of a Faust app that `StageWorker` uses."""

    started, crashed, should_stop, rebalancing = True, False, False, False

    def __init__(self, group: Group, offsets: Any) -> None:
        super().__init__(group)
        self._offsets = offsets
        self._records: asyncio.Queue[Any] = asyncio.Queue(64)
        self._tasks: list[asyncio.Task[None]] = []
        self._fetching: asyncio.Task[None] | None = None

    @property
    def consumer_generation_id(self) -> int:
        return self.generation

    def topic(self, *_: str, **__: object) -> None:
        """Does nothing: the topic exists."""

    def agent(self, *_: None, **__: str) -> Callable[[Callable[["_FaustApp"], Any]], None]:
        def take(body: Callable[[_FaustApp], Any]) -> None:
            self._body = body

        return take

    def finalize(self) -> None:
        """Does nothing: no more agents follow."""

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(main) for main in (self._body(self), self.take_part(), self._commits())]

    async def stop(self) -> None:
        await self._commit()
        await self.ask(lambda: self.group.leave(self))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def noack(self) -> "_FaustApp":
        return self

    async def events(self) -> AsyncIterator[Any]:
        while True:
            yield SimpleNamespace(message=await self._records.get(), ack=lambda: None)

    async def assigned(self, partitions: set[int]) -> None:
        if partitions:
            await self._offsets.assigned({TOPIC})
            self._fetching = asyncio.create_task(self._fetch(self.group.position))

    async def revoked(self, partitions: set[int]) -> None:
        revoked = {TOPIC} if partitions else set()
        self.group.letting_go.add(self.name)
        await self._offsets.settle(revoked)
        self.group.letting_go.remove(self.name)
        await self._commit()
        self._offsets.forget(revoked)
        if self._fetching:
            self._fetching.cancel()
        while not self._records.empty():
            self._records.get_nowait()

    async def _fetch(self, offset: int) -> None:
        generation = self.generation
        while True:
            if offset == len(self.group.records):
                await asyncio.sleep(0.5)
                continue
            batch = [
                SimpleNamespace(
                    topic=TOPIC.topic,
                    partition=TOPIC.partition,
                    offset=offset + place,
                    key=record.key,
                    value=record.value,
                    headers=record.headers,
                    timestamp=0.0,
                )
                for place, record in enumerate(self.group.records[offset : offset + _BATCH])
            ]
            await self._records.put(SimpleNamespace(tp=TOPIC, records=batch, generation_id=generation))
            offset += len(batch)

    async def _commits(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            await self._commit()

    async def _commit(self) -> None:
        position, generation = self._offsets.acks(TOPIC).committable(None), self.generation
        if position is not None and position != self.group.position:
            await self.ask(lambda: self.group.commit(self, generation, position))
