"""Writes many records through the collections: up to 200 a call, in order per record, repeating only what failed."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, Protocol

from connector.errors import Fatal, Rejected, Retryable
from connector.records import Scalar
from connector.retry import until_it_works
from connector.salesforce.rest import Result

_FIRST_PAUSE = 0.2  # seconds; a locked row is free again as soon as somebody's save has ended
_LONGEST_PAUSE = 30.0  # seconds; past it a person looks
_DOUBLINGS = 8  # of the first pause; more lead beyond the longest

Sleep = Callable[[float], Awaitable[None]]
Sure = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class RecordWrite:
    """One record to upsert by an external id field, or to update by Id (`key_field` is then Id)."""

    operation: Literal["upsert", "update"]
    object: str
    key_field: str
    key: str
    fields: dict[str, Scalar | None] = field(repr=False)

    @property
    def target(self) -> tuple[str, str, str]:
        """What writes must share to travel in one call."""
        return self.operation, self.object, self.key_field

    @property
    def record(self) -> tuple[str, str]:
        """What writes share that must keep their order, and must not travel in one call.

        An Id has 15 or 18 characters, and an external id is the same in capitals unless the field was made otherwise.
        """
        return self.object, self.key[:15] if self.key_field == "Id" else self.key.casefold()


class Collections(Protocol):
    """The calls that the writer makes; `RestClient` has them."""

    async def upsert(self, object_name: str, external_field: str, records: Sequence[dict[str, object]]) -> list[Result]:
        """Per-record results in order."""

    async def update(self, object_name: str, records: Sequence[dict[str, object]]) -> list[Result]:
        """Per-record results in order."""


@dataclass(eq=False)
class _Entry:
    write: RecordWrite
    result: asyncio.Future[Result] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


async def at_once() -> None:
    """For a writer that nobody else writes beside."""


class CollectionWriter:
    """`write` returns a record's result. Callers bound how many writes wait by how many they have under way.

    `sure` returns when a call may be made; a write whose caller was cancelled until then is left out.
    """

    def __init__(
        self, rest: Collections, *, batch: int = 200, sure: Sure = at_once, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._rest = rest
        self._batch = batch
        self._sure = sure
        self._sleep = sleep
        self._waiting: list[_Entry] = []  # in the order of `write`; one that pauses keeps its place
        self._runner: asyncio.Task[None] | None = None

    async def write(self, write: RecordWrite) -> Result:
        """The result once it is final: a success or a rejection. What may work later is repeated until it does.

        Raises:
            Fatal: Salesforce takes nothing from us until a person changes something.
        """
        entry = _Entry(write)
        self._waiting.append(entry)
        try:
            for tries in count():
                self._wake()
                result = await entry.result
                if not _may_pass(write, result, tries):
                    break
                await self._sleep(_pause(result, tries))
                entry.result = asyncio.get_running_loop().create_future()
        finally:
            self._waiting.remove(entry)
            self._wake()  # for what stood behind it
        return result

    def _wake(self) -> None:
        if self._waiting and (self._runner is None or self._runner.done()):
            self._runner = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while batch := self._due():
            await self._send(batch)

    def _due(self) -> list[_Entry]:
        """The oldest writes that may go now, of one target, and of each record only its oldest."""
        batch: list[_Entry] = []
        records: set[tuple[str, str]] = set()
        for entry in self._waiting:
            if len(batch) == self._batch:
                break
            first_of_its_record = entry.write.record not in records
            records.add(entry.write.record)
            due = not entry.result.done()
            if first_of_its_record and due and (not batch or entry.write.target == batch[0].write.target):
                batch.append(entry)
        return batch

    async def _send(self, batch: Sequence[_Entry]) -> None:
        try:
            async for attempt in until_it_works():
                with attempt:
                    await self._sure()
                    batch = [entry for entry in batch if not entry.result.done()]  # the others may be another worker's
                    results = await self._call(batch)
        except Exception as error:  # noqa: BLE001 - each waiting caller raises it in its own task
            await self._send_by_halves(batch, error)
            return
        for entry, result in zip(batch, results, strict=True):
            _settle(entry, result)

    async def _send_by_halves(self, batch: Sequence[_Entry], error: Exception) -> None:
        """After a call that was refused as a whole: one bad record must not sink the others."""
        if len(batch) == 1 or isinstance(error, Fatal):
            for entry in batch:
                _settle(entry, Result(False, error=error) if isinstance(error, Rejected) else error)
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            await self._send(half)

    async def _call(self, batch: Sequence[_Entry]) -> list[Result]:
        if not batch:
            return []
        operation, object_name, key_field = batch[0].write.target
        records: list[dict[str, object]] = [{**e.write.fields, key_field: e.write.key} for e in batch]
        if operation == "upsert":
            return await self._rest.upsert(object_name, key_field, records)
        return await self._rest.update(object_name, records)


def _may_pass(write: RecordWrite, result: Result, tries: int) -> bool:
    """Whether the next try may end otherwise. Two upserts that both create are a race, which is over by then (§D4)."""
    raced = isinstance(result.error, Rejected) and result.error.code == "DUPLICATE_VALUE"
    return isinstance(result.error, Retryable) or (raced and write.operation == "upsert" and tries == 0)


def _pause(result: Result, tries: int) -> float:
    if isinstance(result.error, Retryable) and result.error.retry_after is not None:
        return result.error.retry_after
    pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(tries, _DOUBLINGS))
    return pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def _settle(entry: _Entry, result: Result | Exception) -> None:
    if entry.result.done():
        return
    if isinstance(result, Exception):
        entry.result.set_exception(result)
    else:
        entry.result.set_result(result)
