"""Waiting for something to become true, with a deadline, and never for time to pass."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_LOOK = 0.05  # seconds between two looks


async def until(condition: Callable[[], T | Awaitable[T]], within: float = 30.0) -> T:
    """What `condition` gives, once that is true; an AssertionError with what it gave last after `within` seconds."""
    last: T | None = None
    try:
        async with asyncio.timeout(within):
            while True:
                found = condition()
                last = await found if inspect.isawaitable(found) else found
                if last:
                    return last
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        raise AssertionError(f"not within {within:g} s: {inspect.getsource(condition).strip()} was {last!r}") from None
