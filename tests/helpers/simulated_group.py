"""A consumer group with one partition, in simulated time, and Faust as `StageWorker` uses it.

The partition gets a new owner when all members have let go and joined again. The group expels a member that sent no
heartbeat for 10 s or took too long to join. It learns this at its next request; until then it works beside the new
owner.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar

from faust.types import TP

from connector.kafka.cloud_events import OutRecord
from helpers.processes import name_of_this, outside

T = TypeVar("T")

TOPIC = TP("pisano.invitations", 0)

_SESSION = 10.0  # seconds; as in `connector.kafka.faust_app`, like the next one
_BEAT = 2.5
_REJOIN_WITHIN = 60.0
_LOOK = 0.25  # seconds between two checks of the members


class Group:
    """The group and its partition. `cut_off` says which members the coordinator cannot hear, and until when."""

    def __init__(self, random: Random, say: Callable[[str], None]) -> None:
        self.records: list[OutRecord] = []
        self.cut_off: dict[str, float] = {}
        self.letting_go: set[str] = set()
        self.position = 0
        self.generation = 0
        self.owner: _Member | None = None
        self._random, self._say = random, say
        self._beats: dict[_Member, float] = {}
        self._joined: dict[_Member, asyncio.Future[int]] = {}
        self._rebalancing_since: float | None = None

    def faust_app(self, _: object, __: str, offsets: Any) -> "_Member":
        """Stands in for `connector.kafka.faust_app`."""
        return _Member(self, offsets)

    async def request(self, carry_out: Callable[[], T]) -> T:
        """The coordinator always answers; `cut_off` models one that a member cannot reach."""
        await asyncio.sleep(self._random.uniform(0, 0.03))
        return carry_out()

    async def join(self, member: "_Member") -> int:
        """Returns the new generation when all members have joined."""
        self._beat(member)
        joined = self._joined[member] = asyncio.get_running_loop().create_future()
        self.rebalance()
        return await joined

    def beat(self, member: "_Member") -> bool:
        """Whether the member may go on; otherwise it must let go of its partition and join again."""
        if asyncio.get_running_loop().time() < self.cut_off.get(member.name, 0.0):
            return True  # the group does not hear the member, nor the member the group
        if member not in self._beats:
            return False
        self._beat(member)
        return self._rebalancing_since is None

    def commit(self, member: "_Member", generation: int, position: int) -> None:
        if member in self._beats and generation == self.generation:
            self.position = position

    def leave(self, member: "_Member") -> None:
        self._joined.pop(member, None)
        if self._beats.pop(member, None) is not None:
            self.rebalance()

    def rebalance(self) -> None:
        if self._rebalancing_since is None:
            self._rebalancing_since = asyncio.get_running_loop().time()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK)
            for member, beat in list(self._beats.items()):
                if member not in self._joined and loop.time() - beat > _SESSION:
                    self._expel(member)
            if self._rebalancing_since is None:
                continue
            if loop.time() - self._rebalancing_since > _REJOIN_WITHIN:
                for member in self._beats.keys() - self._joined.keys():
                    self._expel(member)
            if self._joined and self._joined.keys() >= self._beats.keys():
                self._assign()

    def _assign(self) -> None:
        members, self._joined = self._joined, {}
        self.generation += 1
        self.owner = self._random.choice(list(members))
        self._rebalancing_since = None
        self._say(f"{self.owner.name} owns the partition from {self.position} on")
        for member, joined in members.items():
            self._beat(member)
            joined.set_result(self.generation)

    def _beat(self, member: "_Member") -> None:
        self._beats[member] = asyncio.get_running_loop().time()

    def _expel(self, member: "_Member") -> None:
        self._say(f"{member.name} is not a member any more")
        del self._beats[member]
        self.rebalance()


class _Member:
    """The part of a Faust app that `StageWorker` uses, in the worker's process."""

    started, crashed, should_stop, rebalancing = True, False, False, False

    def __init__(self, group: Group, offsets: Any) -> None:
        self.name = name_of_this()
        self.consumer_generation_id = 0
        self._group, self._offsets = group, offsets
        self._records: asyncio.Queue[Any] = asyncio.Queue(64)
        self._tasks: list[asyncio.Task[None]] = []

    def topic(self, *_: str, **__: object) -> None:
        """Does nothing: the topic exists."""

    def agent(self, *_: None, **__: str) -> Callable[[Callable[["_Member"], Any]], None]:
        def take(body: Callable[[_Member], Any]) -> None:
            self._body = body

        return take

    def finalize(self) -> None:
        """Does nothing: no more agents follow."""

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(main) for main in (self._body(self), self._be_a_member(), self._commits())]

    async def stop(self) -> None:
        await self._commit()
        await self._ask(lambda: self._group.leave(self))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def noack(self) -> "_Member":
        return self

    async def events(self) -> AsyncIterator[Any]:
        while True:
            yield SimpleNamespace(message=await self._records.get(), ack=lambda: None)

    async def _be_a_member(self) -> None:
        while True:
            self.consumer_generation_id = await outside(self._group.join, self)
            fetching = None
            if self._group.owner is self and self._group.generation == self.consumer_generation_id:
                await self._offsets.assigned({TOPIC})
                fetching = asyncio.create_task(self._fetch(self._group.position))
            while await self._ask(lambda: self._group.beat(self)):  # noqa: ASYNC110 - heartbeats come at intervals
                await asyncio.sleep(_BEAT)
            beating = asyncio.create_task(self._beats())
            revoked = {TOPIC} if fetching else set()
            self._group.letting_go.add(self.name)
            await self._offsets.settle(revoked)
            self._group.letting_go.remove(self.name)
            await self._commit()
            self._offsets.forget(revoked)
            if fetching:
                fetching.cancel()
            while not self._records.empty():
                self._records.get_nowait()
            beating.cancel()

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(_BEAT)
            await self._ask(lambda: self._group.beat(self))

    async def _fetch(self, offset: int) -> None:
        generation = self.consumer_generation_id
        while True:
            if offset == len(self._group.records):
                await asyncio.sleep(0.5)
                continue
            record = self._group.records[offset]
            message = SimpleNamespace(
                topic=TOPIC.topic,
                partition=TOPIC.partition,
                tp=TOPIC,
                offset=offset,
                key=record.key,
                value=record.value,
                headers=record.headers,
                timestamp=0.0,
                generation_id=generation,
            )
            await self._records.put(message)
            offset += 1

    async def _commits(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            await self._commit()

    async def _commit(self) -> None:
        position, generation = self._offsets.position(TOPIC), self.consumer_generation_id
        if position is not None and position != self._group.position:
            await self._ask(lambda: self._group.commit(self, generation, position))

    async def _ask(self, carry_out: Callable[[], T]) -> T:
        return await outside(self._group.request, carry_out)
