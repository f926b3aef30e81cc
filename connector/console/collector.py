"""Looks at the service for all open pages together, so that a page costs the service nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn, Protocol

import structlog

from connector.errors import ConnectorError
from connector.operate.status import Status

log = structlog.get_logger(__name__)

EVERY = 2.0  # seconds between two looks at the workers: a limiter's gauge moves within its shortest window of 5 s
_KAFKA_EVERY = 3  # looks; Kafka's answers cost its brokers more than a worker's page costs the worker
_WITHIN = 90.0  # seconds for a look at Kafka: the first one reads a week of outcomes

Over = Sequence[tuple[datetime, Mapping[str, int]]]


class Looks(Protocol):
    """`connector.operate.status.Board`."""

    async def look(self) -> Status:
        """Looks at Kafka and the workers."""

    async def glance(self) -> Status:
        """Looks at the workers."""

    def outcomes_over_time(self, period: str, bars: int) -> Over:
        """Outcomes in parts of a period."""


@dataclass(frozen=True)
class Snapshot:
    """The last look. `status` is None before the first. `kafka` says why Kafka's figures are old or missing.

    `number` grows with each look.
    """

    number: int = 0
    status: Status | None = None
    kafka: str | None = None
    kafka_at: datetime | None = None


@dataclass
class Collector:
    """`run` it beside the pages. `snapshot` is the last look, and `newer` waits for the next one."""

    board: Looks
    every: float = EVERY
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    within: float = _WITHIN
    snapshot: Snapshot = Snapshot()
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> NoReturn:
        """Looks until it is cancelled. No error ends it: the snapshot says what is away."""
        looking: asyncio.Task[None] | None = None
        turn = 0
        try:
            while True:
                if turn == 0 and (looking is None or looking.done()):
                    looking = asyncio.create_task(self._look())
                turn = (turn + 1) % _KAFKA_EVERY
                await self._glance()
                await self.sleep(self.every)
        finally:
            if looking:
                looking.cancel()

    async def newer(self, number: int, within: float) -> Snapshot:
        """The first snapshot after this number. Raises TimeoutError when there is none within `within` seconds."""
        async with asyncio.timeout(within):
            while self.snapshot.number <= number:
                await self._changed.wait()
        return self.snapshot

    async def _look(self) -> None:
        """Kafka may hang for many seconds. Meanwhile the workers are asked all the same."""
        try:
            async with asyncio.timeout(self.within):
                status = await self.board.look()
        except TimeoutError:
            self._tell(self.snapshot.status, f"Kafka has not answered for {self.within:g} s", self.snapshot.kafka_at)
        except ConnectorError as error:
            self._tell(self.snapshot.status, str(error), self.snapshot.kafka_at)
        except Exception:
            log.exception("look_failed")
            self._tell(self.snapshot.status, "an error in the console; see its log", self.snapshot.kafka_at)
        else:
            self._tell(status, None, datetime.now(UTC))

    async def _glance(self) -> None:
        try:
            status = await self.board.glance()
        except Exception:
            log.exception("glance_failed")
        else:
            self._tell(status, self.snapshot.kafka, self.snapshot.kafka_at)

    def _tell(self, status: Status | None, kafka: str | None, kafka_at: datetime | None) -> None:
        self.snapshot = Snapshot(self.snapshot.number + 1, status, kafka, kafka_at)
        self._changed.set()
        self._changed = asyncio.Event()
