"""What follows from the answer to a call: for its records, and for the next calls of its target.

The writer finds by trying what is at fault. If a call fails while a smaller one passes, its size or one of its records
is at fault. If a record fails again and again while Salesforce answers, that record is at fault. A missing field fails
every record that has it. Everything else is an outage, and holds only the object that it affects.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from connector.errors import Fatal, Rejected, Retryable
from connector.retry import Lasts
from connector.salesforce import _calls
from connector.salesforce._entry import Entry
from connector.salesforce._pauses import FAILURES, pause
from connector.salesforce._refusals import BatchTooLarge, Failing
from connector.salesforce._slots import Slots
from connector.salesforce._waiting import Waiting
from connector.salesforce.rest import Result

log = structlog.get_logger(__name__)

_GROWS_AFTER = 20  # full calls that must pass before we double a call's size again: limits change with the org's load


@dataclass
class Answers:
    """Takes the answers to one target's calls. `size` is how many records a call may hold, `most` the setting.

    A call that failed holds a place in `slots`, except while it pauses.
    """

    rest: _calls.Collections
    waiting: Waiting
    slots: Slots
    most: int
    sleep: Callable[[float], Awaitable[None]]
    patience: float
    clock: Callable[[], float]

    def __post_init__(self) -> None:
        self.size = self.most
        self.failures = 0
        self._full_calls = 0
        self._failing_since: float | None = None

    async def ask(self, batch: Sequence[Entry]) -> None:
        """Makes one call, and others if it fails. Records that this does not settle are due again."""
        if not batch:
            return
        try:
            results = await _calls.write(self.rest, batch)
        except Exception as error:  # noqa: BLE001 - what is no answer of Salesforce is raised to the callers
            await self.failed(batch, error)
        else:
            self.answered(batch, results)

    def answered(self, batch: Sequence[Entry], results: Sequence[Result]) -> None:
        """Takes each record's result."""
        self._passed(batch)
        together = len(batch) > 1
        if together and any(isinstance(result.error, BatchTooLarge) for result in results):
            self._shrink(batch)
        fatal_last = sorted(zip(batch, results, strict=True), key=lambda pair: isinstance(pair[1].error, Fatal))
        for entry, result in fatal_last:  # what was written is settled before a Fatal one settles all that are alike
            if isinstance(result.error, Fatal):
                self._settle_alike(batch, entry, result.error)
            elif not (together and isinstance(result.error, BatchTooLarge)):
                entry.settle(result)

    async def failed(self, batch: Sequence[Entry], error: Exception) -> None:
        """Handles a call without results for its records."""
        match error:
            case Failing():
                await self._failing(batch, error)
            case Retryable():
                await self.wait_out(batch, error)
            case Rejected():
                await self._refused(batch, error)
            case _:
                await self.not_taken(batch, error)

    async def wait_out(self, batch: Sequence[Entry], error: Retryable) -> None:
        """Pauses in an outage. When it lasts, all writes of the target end with it."""
        now = self.clock()
        self._failing_since = now if self._failing_since is None else self._failing_since
        self.failures += 1
        if now - self._failing_since + (error.retry_after or 0.0) > self.patience:
            self.failures, self._failing_since = 0, None
            self.hold(batch, error)
        else:
            await self._pause(error)

    def hold(self, batch: Sequence[Entry], error: Retryable) -> None:
        """Ends all writes of the target, so that none overtakes another of its record."""
        for entry in self.waiting.with_idle(batch):
            entry.settle(Lasts(error))

    async def not_taken(self, batch: Sequence[Entry], error: Exception) -> None:
        """Handles a call that we may not make: tries each set of fields alone, as one of them may be at fault."""
        groups: dict[frozenset[str], list[Entry]] = {}
        for entry in batch:
            groups.setdefault(frozenset(entry.write.fields), []).append(entry)
        if isinstance(error, Fatal) and not error.whole and len(groups) > 1:
            for group in groups.values():
                await self.ask(open_of(group))
        else:
            self._settle_alike(batch, batch[0], error)
            for entry in batch:
                entry.settle(error)

    def _passed(self, batch: Sequence[Entry]) -> None:
        self.failures, self._failing_since = 0, None
        if len(batch) >= self.size:
            self._full_calls += 1
        if self._full_calls >= _GROWS_AFTER and self.size < self.most:
            self.size, self._full_calls = min(self.most, self.size * 2), 0

    def _shrink(self, batch: Sequence[Entry]) -> None:
        self.size, self._full_calls = max(1, len(batch) // 2), 0
        log.warning(
            "salesforce_takes_fewer_records",
            object=batch[0].write.object,
            records=len(batch),
            tries_now_with=self.size,
            reason="these records together broke a governor limit of one transaction",
        )

    async def _refused(self, batch: Sequence[Entry], error: Rejected) -> None:
        """Handles a call that Salesforce refused as a whole: one bad record must not fail the others."""
        if len(batch) == 1:
            batch[0].settle(Result(False, error=error))
        elif isinstance(error, BatchTooLarge):
            self._shrink(batch)
        else:
            await self._in_halves(batch)

    async def _in_halves(self, batch: Sequence[Entry]) -> None:
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            await self.ask(open_of(half))

    async def _failing(self, batch: Sequence[Entry], error: Failing) -> None:
        """Handles a 5xx of the org itself: an outage, or one record is at fault (a trigger fails for it)."""
        self.failures += 1
        if self.failures < FAILURES:
            await self._pause(error)
        elif len(batch) > 1:
            self.failures = FAILURES - 1  # each half is tried once
            await self._in_halves(batch)
        elif await _calls.answers(self.rest):
            self.failures = 0
            code = "UNKNOWN_EXCEPTION"
            batch[0].settle(Result(False, error=Rejected(f"{error}, {FAILURES} times, while others pass", code=code)))
        else:
            await self.wait_out(batch, error)

    async def _pause(self, error: Retryable) -> None:
        self.slots.give()
        await self.sleep(pause(Result(False, error=error), self.failures))
        await self.slots.wait()

    def _settle_alike(self, batch: Sequence[Entry], failed: Entry, error: Exception) -> None:
        """Settles all waiting writes with the same fields, so that none overtakes an older one of its record."""
        for entry in self.waiting.with_idle(batch, failed.write):
            entry.settle(error)


def open_of(batch: Sequence[Entry]) -> list[Entry]:
    """Those without a result."""
    return [entry for entry in batch if not entry.result.done()]
