"""Waiting for something to become true, with a deadline, and never for time to pass."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0  # seconds; whoever waits in vain fails later, and nobody fails for a machine that is busy
_LOOK = 0.05  # seconds between two looks


async def until(condition: Callable[[], T | Awaitable[T]], within: float = PATIENCE) -> T:
    """What `condition` gives, once that is true; an AssertionError with what it gave last after `within` seconds."""
    last: T | None = None
    try:
        async with asyncio.timeout(within) as limit:
            while True:
                found = condition()
                last = await found if inspect.isawaitable(found) else found
                if last:
                    return last
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        if not limit.expired():  # it is the condition's own
            raise
        raise AssertionError(f"not within {within:g} s: {_source(condition)} was {last!r}") from None


def _source(condition: Callable[[], object]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):  # a bound method of a C class has none
        return repr(condition)
