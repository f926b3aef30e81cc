"""How every stage waits out an outage: with growing, jittered pauses and without a limit (rule 4)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import stamina

from connector.errors import ConnectorError, Retryable

_FIRST_PAUSE = 0.2  # seconds; most outages that we see are a lost connection
PATIENCE = 30.0  # seconds that a failure which may pass is waited out in memory; past it a cell is held
_LONGEST_PAUSE = 60.0  # seconds; an hour-long outage is noticed within a minute of its end


def _pause(error: Exception) -> bool | float:
    """Retries what is Retryable, after the time that the other side named if it did."""
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


class Lasts(ConnectorError):
    """An outage that lasts longer than somebody waits for it. `at_least`: the seconds that the other side asked for."""

    def __init__(self, error: Retryable) -> None:
        super().__init__(str(error))
        self.at_least = error.retry_after


async def patiently(work: Callable[[], Awaitable[None]], patience: float = PATIENCE) -> None:
    """Repeats `work` while it raises Retryable, for `patience` seconds from the first failure on.

    Raises:
        Lasts: It still fails after that, or the other side asks for a longer pause.
    """
    loop, since = asyncio.get_running_loop(), None
    async for attempt in until_it_works():
        with attempt:
            try:
                await work()
            except Retryable as error:
                since = loop.time() if since is None else since
                if loop.time() - since + (error.retry_after or 0.0) > patience:
                    raise Lasts(error) from error
                raise


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait by the Retry-After header, given as seconds or as an HTTP date; None without a readable one."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
