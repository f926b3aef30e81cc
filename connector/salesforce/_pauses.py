"""How long the writer waits between two tries, and whether another one may end otherwise."""

import random

from connector.errors import Rejected, Retryable
from connector.salesforce.errors import Failing
from connector.salesforce.rest import Result

FAILURES = 4  # times that a call may end in a 5xx before its records are tried in halves, or one alone is given up
_FIRST_PAUSE = 0.2  # seconds; a locked row is free again as soon as somebody's save has ended
_LONGEST_PAUSE = 30.0  # seconds; past it a person looks
_DOUBLINGS = 8  # of the first pause; more lead beyond the longest


def may_pass(operation: str, result: Result, tries: int) -> bool:
    """Whether the next try may end otherwise. Two upserts that both create are a race, which is over by then (§D4)."""
    if isinstance(result.error, Failing):
        return tries < FAILURES
    raced = isinstance(result.error, Rejected) and result.error.code == "DUPLICATE_VALUE"
    return isinstance(result.error, Retryable) or (raced and operation == "upsert" and tries == 0)


def pause(result: Result, tries: int) -> float:
    if isinstance(result.error, Retryable) and result.error.retry_after is not None:
        return result.error.retry_after
    seconds = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(tries, _DOUBLINGS))
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
