"""How long the writer waits between two tries, and whether another try may succeed."""

import random
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

from connector.errors import Rejected, Retryable
from connector.salesforce._refusals import Failing
from connector.salesforce.rest import Result

T = TypeVar("T")

FAILURES = 4  # 5xx answers to a call before we try its records in halves, or give up a single record
_FIRST_PAUSE = 0.2  # seconds; a locked row is free again as soon as another user's save has ended
_LONGEST_PAUSE = 30.0  # seconds; for longer outages a person looks
_DOUBLINGS = 8  # of the first pause; more would exceed the longest pause


def may_pass(operation: str, result: Result, tries: int) -> bool:
    """Whether the next try may succeed. If two upserts both create a record, their race is over by then (§D4).

    `tries` is how often the record was tried again after an error of this kind: a lock before says nothing about it.
    """
    if isinstance(result.error, Failing):
        return tries < FAILURES
    raced = isinstance(result.error, Rejected) and result.error.code == "DUPLICATE_VALUE"
    return isinstance(result.error, Retryable) or (raced and operation == "upsert" and tries == 0)


def pause(result: Result, tries: int) -> float:
    if isinstance(result.error, Retryable) and result.error.retry_after is not None:
        return result.error.retry_after
    seconds = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(tries, _DOUBLINGS))
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


async def patiently(
    ask: Callable[[], Awaitable[T]],
    patience: float,
    sleep: Callable[[float], Awaitable[None]],
    clock: Callable[[], float],
) -> T:
    """What `ask` returns. Repeats it during an outage, for `patience` seconds.

    Raises:
        Retryable: The outage lasts longer.
    """
    began = clock()
    for tries in count():
        try:
            return await ask()
        except Retryable as outage:
            if clock() - began + (outage.retry_after or 0.0) > patience:
                raise
            await sleep(pause(Result(False, error=outage), tries))
    raise AssertionError("count() has no end")
