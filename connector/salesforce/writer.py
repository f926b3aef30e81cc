"""Writes many records through the collections: up to 200 a call, in order per record, repeating only what failed."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from connector.errors import Retryable
from connector.records import Scalar
from connector.retry import until_it_works
from connector.salesforce.rest import Result

_FIRST_PAUSE = 0.2  # seconds; a locked row is free again as soon as somebody's save has ended
_LONGEST_PAUSE = 30.0  # seconds; past it a person looks

Sleep = Callable[[float], Awaitable[None]]


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
        """What writes share that must keep their order."""
        return self.object, self.key


class Collections(Protocol):
    """The calls that the writer makes; `RestClient` has them."""

    async def upsert(self, object_name: str, external_field: str, records: Sequence[dict[str, object]]) -> list[Result]:
        """Per-record results in order."""

    async def update(self, object_name: str, records: Sequence[dict[str, object]]) -> list[Result]:
        """Per-record results in order."""


@dataclass(eq=False)
class _Entry:
    write: RecordWrite
    not_before: float = 0.0
    tries: int = 0
    result: asyncio.Future[Result] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class CollectionWriter:
    """`write` returns a record's result. Callers bound how many writes wait by how many they have under way."""

    def __init__(
        self,
        rest: Collections,
        *,
        batch: int = 200,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._rest = rest
        self._batch = batch
        self._clock = clock
        self._sleep = sleep
        self._waiting: list[_Entry] = []
        self._runner: asyncio.Task[None] | None = None

    async def write(self, write: RecordWrite) -> Result:
        """The result once it is final: a success or a rejection. What may work later is repeated until it does.

        Raises:
            Fatal: Salesforce takes nothing from us until a person changes something.
        """
        entry = _Entry(write)
        self._waiting.append(entry)
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        try:
            return await asyncio.shield(entry.result)
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            raise

    async def _run(self) -> None:
        while self._waiting:
            batch = self._due()
            if not batch:
                await self._sleep(max(0.0, min(e.not_before for e in self._waiting) - self._clock()))
                continue
            try:
                await self._send(batch)
            except Exception as error:  # noqa: BLE001 - each waiting caller raises it in its own task
                for entry in batch:
                    self._settle(entry, error)

    def _due(self) -> list[_Entry]:
        """The oldest writes that may go now, of one target, and of each record only its oldest."""
        batch: list[_Entry] = []
        records: set[tuple[str, str]] = set()
        for entry in self._waiting:
            if len(batch) == self._batch:
                break
            first_of_its_record = entry.write.record not in records
            records.add(entry.write.record)
            due = entry.not_before <= self._clock()
            if first_of_its_record and due and (not batch or entry.write.target == batch[0].write.target):
                batch.append(entry)
        return batch

    async def _send(self, batch: Sequence[_Entry]) -> None:
        operation, object_name, key_field = batch[0].write.target
        records: list[dict[str, object]] = [{**e.write.fields, key_field: e.write.key} for e in batch]
        async for attempt in until_it_works():
            with attempt:
                if operation == "upsert":
                    results = await self._rest.upsert(object_name, key_field, records)
                else:
                    results = await self._rest.update(object_name, records)
        for entry, result in zip(batch, results, strict=True):
            if isinstance(result.error, Retryable):
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**entry.tries)
                entry.tries += 1
                entry.not_before = self._clock() + pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
            else:
                self._settle(entry, result)

    def _settle(self, entry: _Entry, result: Result | Exception) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
        if not entry.result.done():
            if isinstance(result, Exception):
                entry.result.set_exception(result)
            else:
                entry.result.set_result(result)
