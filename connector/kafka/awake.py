"""Notices that the whole process stood still, as under SIGSTOP or on a machine that was paused.

Kafka gives a worker's partitions away meanwhile, and the worker wakes up without knowing. Until Kafka has told it, it
must not do what cannot be fenced and what another worker may have gone beyond.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog

log = structlog.get_logger(__name__)

_TICK = 1.0  # seconds
_FROZEN = 5.0  # seconds without a tick: with heartbeats 2.5 s apart, well before the 10 s after which Kafka gives away

# Seconds until a worker that has lost its partitions without knowing has been told so: more than Kafka's session
# timeout of 10 s, within which a heartbeat does it.
TOLD_WITHIN = 15.0


class Awake:
    """`run` beside the work, `sure` before each step that cannot be taken back. `clock`: the wall clock, in seconds."""

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
        """Returns at once; after a freeze, when Kafka has told what was given away: tasks that still live may go on."""
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
