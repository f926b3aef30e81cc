"""Writes many records through the collections: up to 200 per call, in order per record, repeating only what failed.

The writer finds by trying what is at fault. If a call fails while a smaller one passes, its size or one of its records
is at fault. If a record fails again and again while Salesforce answers, that record is at fault. A missing field fails
every record that has it. Everything else is an outage, and holds only the object that it affects.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

import structlog

from connector.errors import ConnectorError, Fatal, Rejected, Retryable
from connector.retry import PATIENCE, Lasts
from connector.salesforce._pauses import FAILURES, may_pass, pause
from connector.salesforce.errors import BatchTooLarge, Failing
from connector.salesforce.record_write import RecordWrite
from connector.salesforce.rest import Result

log = structlog.get_logger(__name__)

_GROWS_AFTER = 20  # full calls that must pass before we double a call's size again: limits change with the org's load

Sleep = Callable[[float], Awaitable[None]]
Sure = Callable[[], Awaitable[None]]


class Collections(Protocol):
    """The calls that the writer makes; `RestClient` has them."""

    async def upsert(self, object_name: str, external_field: str, records: Sequence[dict[str, object]]) -> list[Result]:
        """Per-record results in order."""

    async def update(self, object_name: str, records: Sequence[dict[str, object]]) -> list[Result]:
        """Per-record results in order."""

    async def limits(self) -> object:
        """The org's allowances. If they come, the org answers."""


@dataclass(eq=False)
class _Entry:
    write: RecordWrite
    result: asyncio.Future[Result] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


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
        rest: Collections,
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
        self._waiting: list[_Entry] = []  # in the order of `write`; a write that pauses keeps its place
        self._targets: dict[tuple[str, str, str], _Target] = {}

    async def write(self, write: RecordWrite) -> Result:
        """Returns the final result: a success or a rejection. Repeats a write that may work later, until it does.

        Raises:
            Fatal: Salesforce does not take these fields of this object until a person changes something.
            Lasts: Salesforce has taken no write of this object for longer than `patience`.
        """
        entry = _Entry(write)
        self._waiting.append(entry)
        try:
            for tries in count():
                self._wake(write.target)
                result = await entry.result
                if not may_pass(write.operation, result, tries):
                    break
                await self._sleep(pause(result, tries))
                entry.result = asyncio.get_running_loop().create_future()
        finally:
            self._waiting.remove(entry)
            for waiting in {other.write.target for other in self._waiting}:
                self._wake(waiting)  # they may have waited behind this write
        return result

    def _wake(self, name: tuple[str, str, str]) -> None:
        target = self._targets.setdefault(name, _Target(self._batch))
        if target.runner is None or target.runner.done():
            target.runner = asyncio.create_task(self._run(name, target))

    async def _run(self, name: tuple[str, str, str], target: _Target) -> None:
        while self._due(name, target.size):
            await self._sure()
            await self._try(self._due(name, target.size), target)  # another worker may have some of them by now

    def _due(self, name: tuple[str, str, str], most: int) -> list[_Entry]:
        """The oldest writes of a target that may go now. Of each record, only the oldest write."""
        batch: list[_Entry] = []
        records: set[tuple[str, str]] = set()
        for entry in self._waiting:
            if len(batch) == most:
                break
            first_of_its_record = entry.write.record not in records
            records.add(entry.write.record)
            if first_of_its_record and not entry.result.done() and entry.write.target == name:
                batch.append(entry)
        return batch

    async def _try(self, batch: Sequence[_Entry], target: _Target) -> None:
        """Makes one call. Records that it does not settle are due again."""
        if not batch:
            return
        try:
            results = await self._call(batch)
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

    def _take(self, batch: Sequence[_Entry], results: Sequence[Result], target: _Target) -> None:
        too_many = [isinstance(result.error, BatchTooLarge) and len(batch) > 1 for result in results]
        if any(too_many):
            self._shrink(batch, target)
        for entry, result, again in zip(batch, results, too_many, strict=True):
            if isinstance(result.error, Fatal):
                self._settle_alike(entry, result.error)
            elif not again:
                _settle(entry, result)

    def _passed(self, batch: Sequence[_Entry], target: _Target) -> None:
        target.failures, target.failing_since = 0, None
        if len(batch) >= target.size:
            target.full_calls += 1
        if target.full_calls >= _GROWS_AFTER and target.size < self._batch:
            target.size, target.full_calls = min(self._batch, target.size * 2), 0

    def _shrink(self, batch: Sequence[_Entry], target: _Target) -> None:
        target.size, target.full_calls = max(1, len(batch) // 2), 0
        log.warning(
            "salesforce_takes_fewer_records",
            object=batch[0].write.object,
            records=len(batch),
            tries_now_with=target.size,
            reason="these records together broke a governor limit of one transaction",
        )

    async def _refused(self, batch: Sequence[_Entry], target: _Target, error: Rejected) -> None:
        """Handles a call that Salesforce refused as a whole: one bad record must not fail the others."""
        if len(batch) == 1:
            _settle(batch[0], Result(False, error=error))
        elif isinstance(error, BatchTooLarge):
            self._shrink(batch, target)
        else:
            await self._in_halves(batch, target)

    async def _in_halves(self, batch: Sequence[_Entry], target: _Target) -> None:
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            await self._try([entry for entry in half if not entry.result.done()], target)

    async def _failed(self, batch: Sequence[_Entry], target: _Target, error: Failing) -> None:
        """Handles a 5xx of the org itself: an outage, or one record is at fault (a trigger fails for it)."""
        target.failures += 1
        if target.failures < FAILURES:
            await self._sleep(pause(Result(False, error=error), target.failures))
        elif len(batch) > 1:
            target.failures = FAILURES - 1  # each half is tried once
            await self._in_halves(batch, target)
        elif await self._answers():
            target.failures = 0
            code = "UNKNOWN_EXCEPTION"
            _settle(batch[0], Result(False, error=Rejected(f"{error}, {FAILURES} times, while others pass", code=code)))
        else:
            await self._wait_out(batch, target, error)

    async def _answers(self) -> bool:
        """Whether the org answers another call. If it does, there is no outage."""
        try:
            await self._rest.limits()
        except ConnectorError:
            return False
        return True

    async def _wait_out(self, batch: Sequence[_Entry], target: _Target, error: Retryable) -> None:
        now = self._clock()
        target.failing_since = now if target.failing_since is None else target.failing_since
        target.failures += 1
        if now - target.failing_since + (error.retry_after or 0.0) > self._patience:
            target.failures, target.failing_since = 0, None
            for entry in self._of(batch[0].write.target):  # all, so that no write overtakes another of its record
                _settle(entry, Lasts(error))
        else:
            await self._sleep(pause(Result(False, error=error), target.failures))

    async def _not_taken(self, batch: Sequence[_Entry], target: _Target, error: Exception) -> None:
        """Handles a call that we may not make: tries each set of fields alone, as one of them may be at fault."""
        groups: dict[frozenset[str], list[_Entry]] = {}
        for entry in batch:
            groups.setdefault(frozenset(entry.write.fields), []).append(entry)
        if isinstance(error, Fatal) and not error.whole and len(groups) > 1:
            for group in groups.values():
                await self._try([entry for entry in group if not entry.result.done()], target)
        else:
            self._settle_alike(batch[0], error)
            for entry in batch:
                _settle(entry, error)

    def _settle_alike(self, failed: _Entry, error: Exception) -> None:
        """Settles all waiting writes with the same fields, so that none overtakes an older one of its record."""
        for entry in self._of(failed.write.target):
            if entry.write.fields.keys() == failed.write.fields.keys():
                _settle(entry, error)

    def _of(self, name: tuple[str, str, str]) -> list[_Entry]:
        return [entry for entry in self._waiting if entry.write.target == name]

    async def _call(self, batch: Sequence[_Entry]) -> list[Result]:
        operation, object_name, key_field = batch[0].write.target
        records: list[dict[str, object]] = [{**e.write.fields, key_field: e.write.key} for e in batch]
        if operation == "upsert":
            return await self._rest.upsert(object_name, key_field, records)
        return await self._rest.update(object_name, records)


def _settle(entry: _Entry, result: Result | Exception) -> None:
    if entry.result.done():
        return
    if isinstance(result, Exception):
        entry.result.set_exception(result)
    else:
        entry.result.set_result(result)
