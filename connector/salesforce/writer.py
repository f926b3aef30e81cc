"""Writes many records through the collections: up to 200 per call, in order per record, repeating only what failed.

The writer finds by trying what is at fault. If a call fails while a smaller one passes, its size or one of its records
is at fault. If a record fails again and again while Salesforce answers, that record is at fault. A missing field fails
every record that has it. Everything else is an outage, and holds only the object that it affects.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog

from connector.errors import Fatal, Rejected, Retryable
from connector.retry import PATIENCE, Lasts
from connector.salesforce import _calls
from connector.salesforce._pauses import FAILURES, may_pass, patiently, pause
from connector.salesforce._refusals import BatchTooLarge, Failing, FieldsRefused
from connector.salesforce._waiting import Entry, Waiting, Written
from connector.salesforce.object_fields import ObjectFields
from connector.salesforce.record_write import RecordWrite, Target
from connector.salesforce.rest import Result

log = structlog.get_logger(__name__)

# The record, or one that a reference points to, is deleted, merged into another one, or not there.
_POINTS_NOWHERE = {"ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "MALFORMED_ID"}
_GROWS_AFTER = 20  # full calls that must pass before we double a call's size again: limits change with the org's load

Sleep = Callable[[float], Awaitable[None]]
Sure = Callable[[], Awaitable[None]]


async def at_once() -> None:
    """Returns at once, for a writer that is the only one."""


@dataclass(eq=False)
class _Target:
    """What we know about one object's calls. `size` is how many records one call may hold."""

    size: int
    runner: asyncio.Task[None] | None = None
    full_calls: int = 0
    failures: int = 0
    failing_since: float | None = None


class CollectionWriter:
    """`write` returns a record's result. Callers limit how many writes wait, by how many they start at once.

    `sure` returns when a call may be made; a write whose caller was cancelled by then is left out. `patience` is how
    many seconds the writer waits out an outage; `clock` is in seconds.
    """

    def __init__(
        self,
        rest: _calls.Collections,
        *,
        batch: int = 200,
        sure: Sure = at_once,
        sleep: Sleep = asyncio.sleep,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rest = rest
        self._batch = batch
        self._sure = sure
        self._sleep = sleep
        self._patience = patience
        self._clock = clock
        self._fields = ObjectFields(rest.describe, clock)
        self._waiting = Waiting()
        self._targets: dict[Target, _Target] = {}

    async def write(self, write: RecordWrite) -> Written:
        """Returns the final result: a success or a rejection. Repeats a write that may work later, until it does.

        A value that its field does not take is cut or left out, as its `Choice` says, and the rest is written.

        Raises:
            Fatal: Salesforce does not take these fields of this object until a person changes something.
            Lasts: Salesforce has taken no write of this object for longer than `patience`.
        """
        entry = Entry(write)
        self._waiting.append(entry)
        try:
            tries = 0
            while True:
                self._wake(write.target)
                result = await entry.result
                if not await self._may_go_on(entry, result):
                    if not may_pass(write.operation, result, tries):
                        break
                    await self._sleep(pause(result, tries))
                    tries += 1
                entry.result = asyncio.get_running_loop().create_future()
        finally:
            self._waiting.remove(entry)
            for waiting in {other.write.target for other in self._waiting}:
                self._wake(waiting)  # they may have waited behind this write
        return entry.written(result)

    async def _may_go_on(self, entry: Entry, result: Result) -> bool:
        """Whether the write may pass at once: with the fields as they are described now, without some values, or to the
        record that its record was merged into."""
        error, name = result.error, entry.write.target
        if isinstance(error, FieldsRefused) and (self._fields.doubt(name.object, entry.known) or entry.without(error)):
            return True
        if not isinstance(error, Rejected) or error.code not in _POINTS_NOWHERE:
            return False
        try:
            survivor = await patiently(
                partial(_calls.survivor, self._rest, entry.write), self._patience, self._sleep, self._clock
            )
        except Retryable as outage:
            self._hold(name, outage)
            raise Lasts(outage) from outage
        if survivor is None:
            return not isinstance(error, FieldsRefused) and entry.without_references(error.code)
        entry.write = replace(entry.write, key=survivor)
        return True

    def _wake(self, name: Target) -> None:
        target = self._targets.setdefault(name, _Target(self._batch))
        if target.runner is None or target.runner.done():
            target.runner = asyncio.create_task(self._run(name, target))

    async def _run(self, name: Target, target: _Target) -> None:
        while batch := self._waiting.due(name, target.size):
            try:
                fields = await self._fields.of(name.object)
            except Retryable as error:
                await self._wait_out(batch, target, error)
            except Exception as error:  # noqa: BLE001 - each waiting caller raises it in its own task
                await self._not_taken(batch, target, error)
            else:
                await self._sure()
                batch = self._waiting.due(name, target.size)  # another worker may have some of them by now
                for entry in batch:
                    entry.fit(fields)
                if any(entry.fitted.misfits for entry in batch) and self._fields.doubt(name.object, fields):
                    continue  # somebody may have changed the field since we asked
                for entry in batch:
                    entry.settle_if_nothing_goes()
                await self._try(_open(batch), target)

    async def _try(self, batch: Sequence[Entry], target: _Target) -> None:
        """Makes one call. Records that it does not settle are due again."""
        if not batch:
            return
        try:
            results = await _calls.write(self._rest, batch)
        except Failing as error:
            await self._failed(batch, target, error)
        except Retryable as error:
            await self._wait_out(batch, target, error)
        except Rejected as error:
            await self._refused(batch, target, error)
        except Exception as error:  # noqa: BLE001 - each waiting caller raises it in its own task
            await self._not_taken(batch, target, error)
        else:
            self._passed(batch, target)
            self._take(batch, results, target)

    def _take(self, batch: Sequence[Entry], results: Sequence[Result], target: _Target) -> None:
        together = len(batch) > 1
        if together and any(isinstance(result.error, BatchTooLarge) for result in results):
            self._shrink(batch, target)
        fatal_last = sorted(zip(batch, results, strict=True), key=lambda pair: isinstance(pair[1].error, Fatal))
        for entry, result in fatal_last:  # what was written is settled before a Fatal one settles all that are alike
            if isinstance(result.error, Fatal):
                self._settle_alike(entry, result.error)
            elif not (together and isinstance(result.error, BatchTooLarge)):
                entry.settle(result)

    def _passed(self, batch: Sequence[Entry], target: _Target) -> None:
        target.failures, target.failing_since = 0, None
        if len(batch) >= target.size:
            target.full_calls += 1
        if target.full_calls >= _GROWS_AFTER and target.size < self._batch:
            target.size, target.full_calls = min(self._batch, target.size * 2), 0

    def _shrink(self, batch: Sequence[Entry], target: _Target) -> None:
        target.size, target.full_calls = max(1, len(batch) // 2), 0
        log.warning(
            "salesforce_takes_fewer_records",
            object=batch[0].write.object,
            records=len(batch),
            tries_now_with=target.size,
            reason="these records together broke a governor limit of one transaction",
        )

    async def _refused(self, batch: Sequence[Entry], target: _Target, error: Rejected) -> None:
        """Handles a call that Salesforce refused as a whole: one bad record must not fail the others."""
        if len(batch) == 1:
            batch[0].settle(Result(False, error=error))
        elif isinstance(error, BatchTooLarge):
            self._shrink(batch, target)
        else:
            await self._in_halves(batch, target)

    async def _in_halves(self, batch: Sequence[Entry], target: _Target) -> None:
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            await self._try(_open(half), target)

    async def _failed(self, batch: Sequence[Entry], target: _Target, error: Failing) -> None:
        """Handles a 5xx of the org itself: an outage, or one record is at fault (a trigger fails for it)."""
        target.failures += 1
        if target.failures < FAILURES:
            await self._sleep(pause(Result(False, error=error), target.failures))
        elif len(batch) > 1:
            target.failures = FAILURES - 1  # each half is tried once
            await self._in_halves(batch, target)
        elif await _calls.answers(self._rest):
            target.failures = 0
            code = "UNKNOWN_EXCEPTION"
            batch[0].settle(Result(False, error=Rejected(f"{error}, {FAILURES} times, while others pass", code=code)))
        else:
            await self._wait_out(batch, target, error)

    async def _wait_out(self, batch: Sequence[Entry], target: _Target, error: Retryable) -> None:
        now = self._clock()
        target.failing_since = now if target.failing_since is None else target.failing_since
        target.failures += 1
        if now - target.failing_since + (error.retry_after or 0.0) > self._patience:
            target.failures, target.failing_since = 0, None
            self._hold(batch[0].write.target, error)
        else:
            await self._sleep(pause(Result(False, error=error), target.failures))

    def _hold(self, name: Target, error: Retryable) -> None:
        for entry in self._waiting.of(name):  # all, so that none overtakes another of its record
            entry.settle(Lasts(error))

    async def _not_taken(self, batch: Sequence[Entry], target: _Target, error: Exception) -> None:
        """Handles a call that we may not make: tries each set of fields alone, as one of them may be at fault."""
        groups: dict[frozenset[str], list[Entry]] = {}
        for entry in batch:
            groups.setdefault(frozenset(entry.write.fields), []).append(entry)
        if isinstance(error, Fatal) and not error.whole and len(groups) > 1:
            for group in groups.values():
                await self._try(_open(group), target)
        else:
            self._settle_alike(batch[0], error)
            for entry in batch:
                entry.settle(error)

    def _settle_alike(self, failed: Entry, error: Exception) -> None:
        """Settles all waiting writes with the same fields, so that none overtakes an older one of its record."""
        for entry in self._waiting.like(failed.write):
            entry.settle(error)


def _open(batch: Sequence[Entry]) -> list[Entry]:
    """Those without a result."""
    return [entry for entry in batch if not entry.result.done()]
