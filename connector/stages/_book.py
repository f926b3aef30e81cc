"""Writes an account's calls and what they decide into its ledger, and keeps what it could not write."""

from collections.abc import Callable, Sequence
from datetime import datetime

from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.kafka.ledger import Ledger
from connector.observe.metrics import Metrics
from connector.records import Attempt, Outcome
from connector.stages._batches import Entry, Queue
from connector.stages._endings import Ending, Result, settled, settlement

_STALE = 5.0  # seconds from an attempt's beginning to its call; later a frozen worker may have lost the account
TOO_LATE = f"not made: writing it down took over {_STALE:g} s"

DeadLetter = Callable[[InRecord, str, Exception], OutRecord]
Now = Callable[[], datetime]


class Book:
    """`begin` before a call, `end` after it. `unwritten` is the ending that could not be written, if there is one."""

    def __init__(self, ledger: Ledger, queue: Queue, dead_letter: DeadLetter, metrics: Metrics, now: Now) -> None:
        self.unwritten: Ending | None = None
        self._ledger = ledger
        self._queue = queue
        self._dead_letter = dead_letter
        self._metrics = metrics
        self._now = now

    async def begin(self, attempt: Attempt) -> bool:
        """Writes down that a call is about to be made. False when that took so long that we must not make the call."""
        not_made = "not made: its beginning could not be written down"
        self.unwritten = Ending(settled(attempt, "refused", not_made, self._now()))
        await self._ledger.begin(attempt)
        self.unwritten = None
        if (self._now() - attempt.begun_at).total_seconds() > _STALE:
            await self.end(attempt, "refused", TOO_LATE)
            return False
        return True

    async def end(
        self,
        attempt: Attempt | None,
        result: Result,
        detail: str | None = None,
        batch: Sequence[Entry] = (),
        outcome: Outcome = Outcome.SENT,
        buried_for: Exception | None = None,
    ) -> None:
        """Writes down how a call ended, and the outcomes of the invitations that it decides."""
        now = self._now()
        ending = Ending(
            attempt and settled(attempt, result, detail, now),
            tuple(settlement(entry.invitation, outcome, now, reason=detail, attempt=attempt) for entry in batch),
            tuple(self._dead_letter(entry.record, outcome, buried_for) for entry in batch if buried_for),
        )
        if attempt:  # without a call, the same is decided again later
            self.unwritten = ending
        await self._ledger.settle(ending.attempt, ending.settlements, ending.dead_letters)
        if attempt:
            self.unwritten = None
            self._metrics.calls.labels(attempt.account, result).inc()
        for entry in batch:
            self._metrics.outcomes.labels(self._ledger.account, entry.survey, outcome).inc()
            self._queue.settled(entry)
