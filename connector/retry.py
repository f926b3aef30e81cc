"""How every stage waits out an outage: with growing, jittered pauses and without a limit (rule 4)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TypeVar

import stamina

from connector.errors import ConnectorError, Retryable

T = TypeVar("T")

_FIRST_PAUSE = 0.2  # seconds; short, because most outages that we see are a lost connection
PATIENCE = 30.0  # seconds that we wait in memory for a failure to pass; after that the stage holds a cell
_LONGEST_PAUSE = 60.0  # seconds; we notice the end of an hour-long outage within a minute


def _pause(error: Exception) -> bool | float:
    """Retries a Retryable error, after the time that the other side named, if any."""
    if isinstance(error, Retryable):
        return True if error.retry_after is None else error.retry_after
    return False


def until_it_works() -> "stamina._core._RetryContextIterator":
    """`async for attempt in until_it_works(): with attempt: …` repeats the body while it raises Retryable."""
    return stamina.retry_context(
        on=_pause,
        attempts=None,
        timeout=None,
        wait_initial=_FIRST_PAUSE,
        wait_max=_LONGEST_PAUSE,
        wait_jitter=_FIRST_PAUSE,
    )


async def until_done(work: Callable[[], Awaitable[T]]) -> T:
    """Repeats `work` while it raises Retryable, and returns its result."""
    try:
        return await work()  # most work succeeds at once, and stamina's loop would cost it 0.1 ms
    except Retryable as error:
        first: Retryable | None = error
    async for attempt in until_it_works():
        with attempt:
            if first is not None:
                failed, first = first, None
                raise failed
            return await work()
    raise AssertionError("stamina gave up, though it has no limit")


async def kept_up(work: Callable[[], Awaitable[T]]) -> T:
    """Like `until_done`, for work that goes on for long. Once it went on for a minute, the pauses begin short again."""
    loop = asyncio.get_running_loop()
    while True:
        async for attempt in until_it_works():
            with attempt:
                began = loop.time()
                try:
                    return await work()
                except Retryable as error:
                    if error.retry_after or loop.time() - began < _LONGEST_PAUSE:
                        raise


class Lasts(ConnectorError):
    """An outage lasts longer than the caller waits. `at_least`: the seconds that the other side named, if any."""

    def __init__(self, error: Retryable) -> None:
        super().__init__(str(error))
        self.at_least = error.retry_after


async def patiently(work: Callable[[], Awaitable[None]], patience: float = PATIENCE) -> None:
    """Repeats `work` while it raises Retryable, for `patience` seconds after the first failure.

    Raises:
        Lasts: `work` still fails after that, or the other side asks for a longer pause.
    """
    loop, since = asyncio.get_running_loop(), None

    async def tried() -> None:
        nonlocal since
        try:
            await work()
        except Retryable as error:
            since = loop.time() if since is None else since
            if loop.time() - since + (error.retry_after or 0.0) > patience:
                raise Lasts(error) from error
            raise

    await until_done(tried)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, from a Retry-After header with seconds or an HTTP date; None without a readable header."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
