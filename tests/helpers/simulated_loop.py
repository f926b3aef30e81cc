"""An event loop in simulated time: when every task waits, time jumps to the moment when the next task wakes."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    def __init__(self, now: float, tick: float) -> None:
        super().__init__()
        self.now, self._tick = now, tick

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits for something that will never come")
        self.now += timeout + self._tick
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """For tasks that wait only for each other and for time. `time()` begins at `now` seconds.

    Each round of the loop takes `tick` seconds. Without this, code that waits for less than a rounding error, as
    aiolimiter may, would spin for ever, because time would stand still while tasks work.
    """

    def __init__(self, now: float = 0.0, tick: float = 0.0) -> None:
        self._simulated = _Selector(now, tick)
        super().__init__(self._simulated)

    def time(self) -> float:
        return self._simulated.now


def simulate(main: Coroutine[Any, Any, T], now: float = 0.0, tick: float = 0.0) -> T:
    """Runs `main` on its own loop and returns its result."""
    with asyncio.Runner(loop_factory=lambda: SimulatedLoop(now, tick)) as runner:
        return runner.run(main)
