"""Keeps one stage at work: starts it, watches it, and starts it again after any failure."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

import structlog

from connector.cells import Cell
from connector.errors import ConnectorError, Fatal, Retryable

log = structlog.get_logger(__name__)

_STARTED_WITHIN = 60.0  # seconds; a stage takes 3, and longer when Kafka's group is busy with a rebalance
_ENDED_WITHIN = 15.0  # seconds for a stage that failed to leave its group; up to three commits may fail, with 4 s each
_LOOK = 5.0  # seconds between looks at whether Faust still lives; whatever fails otherwise, we notice at once


Check = Callable[[], Awaitable[None]]


class Runner(Protocol):
    """What runs a stage: a StageWorker or a SharedWork."""

    failure: asyncio.Future[None]

    @property
    def ready(self) -> bool: ...

    async def start(self) -> None: ...

    async def stop(self, drain: float) -> None: ...

    def check(self) -> None: ...


class CannotRestart(Retryable):
    """What is left of a stage may still hold its partitions, so only a new process can take its place."""


class Supervisor:
    """Call `run`, and cancel it to end. `build()` makes a runner; `cell` is held while the stage cannot run.

    `check()` is called before each start, and raises while Kafka lacks what the stage needs.
    """

    def __init__(self, name: str, check: Check, build: Callable[[], Runner], cell: Cell) -> None:
        self.name = name
        self._check = check
        self._build = build
        self._cell = cell
        self._runner: Runner | None = None
        self._ending: asyncio.Task[None] | None = None  # the stop of a runner that failed
        self._told: asyncio.Future[Fatal] | None = None  # what others notice about the stage that runs

    @property
    def ready(self) -> bool:
        """Whether the stage is at work."""
        return self._runner is not None and self._runner.ready

    async def run(self) -> None:
        """Keeps the stage at work.

        Raises:
            CannotRestart: The process has to be started again.
        """
        while True:
            async with self._cell.turn():
                try:
                    await self._start()
                    self._cell.works()
                    log.info("stage_started", stage=self.name)
                except Exception as error:  # noqa: BLE001 - after any error the other stages go on
                    self._hold(error)
                    await self._end()
                    continue
            self._hold(await self._until_it_fails())
            await self._end()

    async def stop(self, drain: float) -> None:
        """Drains the stage, for `drain` seconds at most. If it is ending already, waits for that."""
        if self._ending is not None:
            await self._ending
        if self._runner is not None:
            await self._runner.stop(drain)

    def tell(self, error: Fatal) -> None:
        """Says that the stage cannot go on as it is, if it runs. Then it ends, and is held."""
        if self._told is not None and not self._told.done():
            self._told.set_result(error)

    async def _start(self) -> None:
        self._runner = self._build()
        try:
            async with asyncio.timeout(_STARTED_WITHIN):
                await self._check()
                await self._runner.start()
        except TimeoutError:
            raise Retryable(f"{self.name} did not start within {_STARTED_WITHIN:g} s") from None

    async def _until_it_fails(self) -> Exception:
        assert self._runner is not None  # noqa: S101 - it was started
        failure = self._runner.failure
        self._told = asyncio.get_running_loop().create_future()
        ends: list[asyncio.Future[Any]] = [failure, self._told]
        try:
            while not self._told.done():
                await asyncio.wait(ends, timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
                self._runner.check()
                if failure.done():
                    failure.result()
        except Exception as error:  # noqa: BLE001 - after any error the other stages go on
            return error
        return self._told.result()

    def _hold(self, error: Exception) -> None:
        if not isinstance(error, ConnectorError):
            log.error("stage_failed_unexpectedly", stage=self.name, exc_info=error)
        said = str(error) if isinstance(error, ConnectorError) else f"{type(error).__name__}: {error}"
        self._cell.hold(
            error if isinstance(error, ConnectorError) else Fatal(said),
            "configuration" if isinstance(error, Fatal) else "outage",
        )

    async def _end(self) -> None:
        """Ends what is left of a stage that failed."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        # A stop that is cancelled on its way leaves tasks and threads behind, which never end.
        self._ending = asyncio.create_task(_stopped(runner))
        try:
            async with asyncio.timeout(_ENDED_WITHIN):
                await asyncio.shield(self._ending)
        except TimeoutError:
            raise CannotRestart(
                f"{self.name} failed ({self._cell.reason}), and what is left of it does not end. Start the service"
                " again: what is not finished is delivered again."
            ) from None


async def _stopped(runner: Runner) -> None:
    with suppress(ConnectorError):
        await runner.stop(0.0)
