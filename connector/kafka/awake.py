"""Notices that the whole process stood still, for example under SIGSTOP or on a paused machine.

Meanwhile Kafka gives the worker's partitions to other workers, and this worker wakes up without knowing. Until Kafka
tells it, the worker must not do work that Kafka cannot fence: another worker may already be further on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog

log = structlog.get_logger(__name__)

_TICK = 1.0  # seconds
_FROZEN = 5.0  # seconds without a tick; heartbeats are 2.5 s apart, and Kafka gives partitions away after 10 s

# Seconds until a worker that has lost its partitions without knowing surely knows: more than Kafka's session timeout
# of 10 s, because a heartbeat within that time gets the news.
TOLD_WITHIN = 15.0


class Awake:
    """Start `run` beside the work; await `sure` before each step that cannot be undone.

    `clock` is the wall clock, in seconds.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.time, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._seen = clock()
        self._unsure_until = 0.0

    async def run(self) -> NoReturn:
        """Looks at the clock until it is cancelled."""
        while True:
            self._look()
            await self._sleep(_TICK)

    async def sure(self) -> None:
        """Returns at once. After a freeze it waits until Kafka has told us what we lost: tasks that live may go on."""
        self._look()
        while (pause := self._unsure_until - self._clock()) > 0:
            await self._sleep(min(pause, _TICK))
            self._look()

    def _look(self) -> None:
        now = self._clock()
        if now - self._seen > _FROZEN:
            log.warning("was_frozen", seconds=round(now - self._seen), waits=TOLD_WITHIN)
            self._unsure_until = now + TOLD_WITHIN
        self._unsure_until = min(self._unsure_until, now + TOLD_WITHIN)  # also when the clock was set back
        self._seen = now
