"""Looks at the topics of all stages while they run: what changes there can cost records, so a person must know soon."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NoReturn

from connector.config.catalogue import Topic
from connector.errors import Fatal, Retryable

_EVERY = 10.0  # seconds between two looks
_SURE_AFTER = 3.0  # seconds until a second look: a broker that has just started may not know every topic yet

Require = Callable[[Sequence[Topic]], Awaitable[None]]
Sleep = Callable[[float], Awaitable[None]]


class TopicWatch:
    """`run` it beside the stages. `topics` are those of each stage, by its name.

    `require(topics)` raises Fatal when they are not what a stage can work with. Then `tell(stage, error)` is called:
    the stage itself would wait without a word.
    """

    def __init__(
        self,
        topics: Mapping[str, Sequence[Topic]],
        require: Require,
        tell: Callable[[str, Fatal], None],
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._topics = topics
        self._require = require
        self._tell = tell
        self._sleep = sleep

    async def run(self) -> NoReturn:
        """Looks until it is cancelled."""
        while True:
            await self._sleep(_EVERY)
            if before := await self._wrong():
                await self._sleep(_SURE_AFTER)
                for stage, error in (await self._wrong()).items():
                    if stage in before:
                        self._tell(stage, error)

    async def _wrong(self) -> dict[str, Fatal]:
        """What is wrong, by stage. One look at all topics is enough while nothing is."""
        every = {topic.name: topic for topics in self._topics.values() for topic in topics}
        if await self._fault(list(every.values())) is None:
            return {}
        faults = {stage: await self._fault(topics) for stage, topics in self._topics.items()}
        return {stage: fault for stage, fault in faults.items() if fault is not None}

    async def _fault(self, topics: Sequence[Topic]) -> Fatal | None:
        if not topics:
            return None
        try:
            await self._require(topics)
        except Fatal as error:
            return None if isinstance(error.__cause__, Retryable) else error  # no broker answers: the stages notice
        return None
