"""Waits for a condition to become true, with a deadline; never just for time to pass."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0  # seconds; long, so that no test fails on a busy machine
_LOOK = 0.05  # seconds between two checks; a check that takes longer is followed by a pause as long as itself


async def until(condition: Callable[[], T | Awaitable[T]], within: float = PATIENCE) -> T:
    """Waits until `condition` is true and returns its value; AssertionError with the last value after `within` s."""
    last: T | None = None
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(within) as limit:
            while True:
                began, found = loop.time(), condition()
                last = await found if inspect.isawaitable(found) else found
                if last:
                    return last
                await asyncio.sleep(max(_LOOK, loop.time() - began))
    except TimeoutError:
        if not limit.expired():  # the condition itself raised it
            raise
        raise AssertionError(f"not within {within:g} s: {_source(condition)} was {last!r}") from None


def _source(condition: Callable[[], object]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):  # a bound method of a C class has no source
        return repr(condition)
