"""A consumer group and its members, in simulated time.

The partitions get new owners when all members have let go and joined again. The group expels a member that sent no
heartbeat for 10 s or took too long to join. It learns this at its next request; until then it works beside the new
owner.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import NoReturn, TypeVar

from connector.kafka.cloud_events import OutRecord
from helpers.processes import name_of_this, outside

T = TypeVar("T")

_SESSION = 10.0  # seconds; as in `connector.kafka.faust_app`, like the next one
_BEAT = 2.5
_REJOIN_WITHIN = 60.0
_LOOK = 0.25  # seconds between two checks of the members


class Group:
    """The group and its partitions. `cut_off` says which members the coordinator cannot hear, and until when.

    `records` are those of the first partition, and `position` is what is committed of them.
    """

    def __init__(self, random: Random, say: Callable[[str], None], partitions: int = 1) -> None:
        self.partitions = partitions
        self.records: list[OutRecord] = []
        self.cut_off: dict[str, float] = {}
        self.letting_go: set[str] = set()
        self.position = 0
        self.generation = 0
        self._owners: list[Member] = []  # by partition
        self._random, self._say = random, say
        self._beats: dict[Member, float] = {}
        self._joined: dict[Member, asyncio.Future[int]] = {}
        self._rebalancing_since: float | None = None

    async def request(self, carry_out: Callable[[], T]) -> T:
        """The coordinator always answers; `cut_off` models one that a member cannot reach."""
        await asyncio.sleep(self._random.uniform(0, 0.03))
        return carry_out()

    async def join(self, member: "Member") -> int:
        """Returns the new generation when all members have joined."""
        self._beat(member)
        joined = self._joined[member] = asyncio.get_running_loop().create_future()
        self.rebalance()
        return await joined

    def share(self, member: "Member") -> set[int]:
        """The partitions that the member owns, as it knows by now."""
        if member.generation != self.generation:
            return set()
        return {partition for partition, owner in enumerate(self._owners) if owner is member}

    def beat(self, member: "Member") -> bool:
        """Whether the member may go on; otherwise it must let go of its partition and join again."""
        if asyncio.get_running_loop().time() < self.cut_off.get(member.name, 0.0):
            return True  # the group does not hear the member, nor the member the group
        if member not in self._beats:
            return False
        self._beat(member)
        return self._rebalancing_since is None

    def commit(self, member: "Member", generation: int, position: int) -> None:
        if member in self._beats and generation == self.generation:
            self.position = position

    def leave(self, member: "Member") -> None:
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
        self._owners = [self._random.choice(list(members)) for _ in range(self.partitions)]
        self._rebalancing_since = None
        self._say(f"{', '.join(owner.name for owner in self._owners)} own the partitions")
        for member, joined in members.items():
            self._beat(member)
            joined.set_result(self.generation)

    def _beat(self, member: "Member") -> None:
        self._beats[member] = asyncio.get_running_loop().time()

    def _expel(self, member: "Member") -> None:
        self._say(f"{member.name} is not a member any more")
        del self._beats[member]
        self.rebalance()


class Member:
    """A member of the group, in the worker's process. A subclass says what it does with its partitions."""

    def __init__(self, group: Group) -> None:
        self.name = name_of_this()
        self.group = group
        self.generation = 0

    async def assigned(self, partitions: set[int]) -> None:
        raise NotImplementedError

    async def revoked(self, partitions: set[int]) -> None:
        raise NotImplementedError

    async def take_part(self) -> NoReturn:
        """Is a member until it is cancelled."""
        while True:
            self.generation = await outside(self.group.join, self)
            mine = self.group.share(self)
            await self.assigned(mine)
            await self._until_a_rebalance()
            beating = asyncio.create_task(self._beats())
            try:
                await self.revoked(mine)
            finally:
                beating.cancel()

    async def ask(self, carry_out: Callable[[], T]) -> T:
        """Asks the coordinator."""
        return await outside(self.group.request, carry_out)

    async def _until_a_rebalance(self) -> None:
        while await self.ask(lambda: self.group.beat(self)):  # noqa: ASYNC110 - heartbeats come at intervals
            await asyncio.sleep(_BEAT)

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(_BEAT)
            await self.ask(lambda: self.group.beat(self))
