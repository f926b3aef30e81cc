"""Follows the topics that say something about persons, or that operators write, for the contact protection."""

import asyncio
from typing import NoReturn

from connector.config import Config
from connector.errors import Retryable
from connector.kafka.follower import Follower, parts_to
from connector.protection import CLAIMS, ContactProtection

_CLAIM_WITHIN = 30.0  # seconds; a claim comes back within some 20 ms


class PersonTopics:
    """What send knows from other topics than its own. It begins to follow them when send first asks."""

    def __init__(self, config: Config) -> None:
        self.protection = ContactProtection.of_config(config)
        self._kafka = config.kafka
        self._followers: dict[str, Follower] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._began = asyncio.Event()

    async def caught_up(self) -> None:
        """Returns when the protection knows all that was on the topics when we began to follow them.

        Raises:
            Fatal: Kafka refuses us.
        """
        if not self._tasks:  # new followers: what earlier ones had read says nothing about what came since
            takes = self.protection.topics().items()
            self._followers = {name: Follower(self._kafka, name, parts_to(take)) for name, take in takes}
            self._tasks = [asyncio.create_task(follower.run()) for follower in self._followers.values()]
            self._began.set()
        tasks, known = self._tasks, asyncio.create_task(self._all_caught_up())
        try:
            await asyncio.wait({known, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            known.cancel()
        for task in tasks:  # all who wait here hear of the failure, and the first of them makes room for new followers
            if task.done():
                for other in tasks:
                    other.cancel()
                if self._tasks is tasks:
                    self._tasks = []
                    self._began.clear()
                task.result()

    async def ended(self) -> NoReturn:
        """Waits until a topic is not followed any more: from then on nobody would hear of a new suppression.

        Raises:
            Fatal: Kafka refuses us.
        """
        while not self._tasks:
            await self._began.wait()
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled():  # by the one who found that another has failed
                task.result()
        raise Retryable("a topic about persons is not followed any more")

    async def claims_to(self, offset: int) -> None:
        """Returns when every claim up to this offset of `pisano.claims` is known.

        Raises:
            Retryable: That takes longer than 30 s.
        """
        try:
            async with asyncio.timeout(_CLAIM_WITHIN):
                await self._followers[CLAIMS].read_to(offset)
        except TimeoutError as error:
            raise Retryable(f"{CLAIMS}: the record at {offset} was not read within {_CLAIM_WITHIN:g} s") from error

    async def _all_caught_up(self) -> None:
        for follower in self._followers.values():
            await follower.caught_up()

    async def stop(self) -> None:
        """Ends it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
