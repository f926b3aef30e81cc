"""Reads records from Salesforce for many invitations at once: one SOQL call for up to 200 values of a source."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from connector.errors import ConnectorError, Fatal, Rejected
from connector.masking import mask_value
from connector.retry import PATIENCE, Lasts, patiently
from connector.salesforce import Failing, record_ids
from connector.salesforce.soql import Source, Value

_FOR_MORE = 0.01  # seconds that a call under load waits for more reads, as each call takes 1 ms of CPU time
_BRIEFLY = 1.0  # seconds, for two or three tries, where a longer patience has ended already
_OTHERS = 2  # records kept to compare with one that fails, which may be among them
_MOST_AT_FAULT = 5  # records of one call: to find one takes up to a minute, in which all other reads wait
_MOST = 200  # values per call; more would exceed the URI's 16 kB (salesforce §D3)

Row = Mapping[str, Any]
_Line = tuple[Source, frozenset[str] | None]  # a source, and a set of fields that is read alone
Find = Callable[[Source, Iterable[str], list[Value]], Awaitable[list[dict[str, Any]]]]


@dataclass(eq=False)
class _Request:
    value: Value
    fields: frozenset[str]
    context: Context = field(default_factory=copy_context)
    row: asyncio.Future[Row | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Lookup:
    """`read` returns one record's fields. Reads of a source wait for its call under way, then share the next call.
    After a call that reads shared, reads that wait by then wait 10 ms more, and others join them.

    A set of fields that could not be read shares no call until it can be read again, as it would fail other reads.
    A record that Salesforce fails to read again and again, while it reads others, fails only its own readers.
    `find(source, fields, values)` returns the rows that exist, each with its `Id` and its `source.by`.
    """

    def __init__(self, find: Find, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._find = find
        self._sleep = sleep
        self._waiting: dict[_Line, list[_Request]] = {}  # the stage limits them by its records in flight
        self._readers: dict[_Line, asyncio.Task[None]] = {}  # one for each line that a `read` waits in
        self._at_fault: set[_Line] = set()
        self._readable: dict[Source, list[Value]] = {}  # two records of it that could be read last

    async def read(self, source: Source, value: Value, fields: Iterable[str]) -> Row | None:
        """The record's `fields`, or None when Salesforce has no such record that we may see.

        Raises:
            Rejected: `value` is meant to be a record id, and is none. In a SOQL text it would make the call fail for
                all readers. Or Salesforce fails to read this record, with code `UNKNOWN_EXCEPTION`.
            Lasts: Salesforce cannot be read for longer than we wait.
            Fatal: These fields cannot be read, or Salesforce spells one of them differently.
        """
        if source.by == "Id" and not record_ids.is_id(value):
            raise Rejected(
                f"{value!r} is not a Salesforce record id, so no {source.object} can be read", code="malformed_id"
            )
        request = _Request(value, frozenset(fields))
        own = (source, request.fields)
        line: _Line = own if own in self._at_fault else (source, None)
        self._waiting.setdefault(line, []).append(request)
        if line not in self._readers:
            self._readers[line] = asyncio.create_task(self._read_waiting(line))
        return await request.row

    async def _read_waiting(self, line: _Line) -> None:
        waiting, requests = self._waiting[line], list[_Request]()
        while waiting:
            await self._sleep(_FOR_MORE if len(requests) > 1 else 0)  # other reads that begin now share the call
            requests, waiting[:_MOST] = waiting[:_MOST], []
            reading = self._read_together(line[0], requests)
            await asyncio.create_task(reading, context=requests[0].context)  # else in that of this line's first read
        del self._readers[line]

    async def _read_together(self, source: Source, requests: list[_Request]) -> None:
        if error := await self._read(source, requests, PATIENCE):
            await self._read_apart(source, requests, error)

    async def _read(self, source: Source, requests: list[_Request], patience: float) -> Lasts | None:
        """Gives each reader its row or its error. If a record may be at fault, it only returns the error."""
        fields = frozenset({"Id", source.by}).union(*(request.fields for request in requests))
        values = sorted({request.value for request in requests}, key=repr)
        try:
            rows = await self._rows(source, sorted(fields), values, patience)
            _require(fields, rows, source.object)
        except Rejected as error:
            await self._read_by_halves(source, requests, error)
        except Exception as error:  # noqa: BLE001 - each reader raises it in its own task
            if isinstance(error, Lasts) and isinstance(error.__cause__, Failing):
                return error
            await self._read_by_fields(source, requests, error)
        else:
            found = _Found(rows, source.by)
            known = [*(row[source.by] for row in rows[:_OTHERS]), *self._readable.get(source, ())]
            self._readable[source] = [*dict.fromkeys(known)][:_OTHERS]
            for request in requests:
                self._at_fault.discard((source, request.fields))
                if not request.row.done():
                    request.row.set_result(found.row(request.value))
        return None

    async def _read_apart(self, source: Source, requests: list[_Request], error: Lasts) -> None:
        """Looks for records with which Salesforce fails: they fail while another one can be read. If none can be, it is
        an outage, and so are more than a few records that fail.
        """
        parts, at_fault = [(requests, error)], 0
        while parts and at_fault < _MOST_AT_FAULT:
            part, error = parts.pop()
            values = sorted({request.value for request in part}, key=repr)
            if len(values) == 1:
                if not await self._reads_another(source, part):
                    _fail(part, error)
                elif again := await self._read(source, part, _BRIEFLY):  # the outage may just have ended
                    _fail(part, _unreadable(source, values[0], again))
                    at_fault += 1
                continue
            first = {*values[: len(values) // 2]}
            halves = [[each for each in part if (each.value in first) is is_first] for is_first in (True, False)]
            failed = [(half, found) for half in halves if (found := await self._read(source, half, _BRIEFLY))]
            if len(failed) == len(halves) and not await self._reads_another(source, part):
                _fail(part, error)
            else:
                parts += failed
        for part, error in parts:
            _fail(part, error)

    async def _reads_another(self, source: Source, requests: list[_Request]) -> bool:
        """Whether the same fields can be read of a record that could be read before."""
        fields = frozenset({"Id", source.by}).union(*(request.fields for request in requests))
        values = {request.value for request in requests}
        other = next((each for each in self._readable.get(source, ()) if each not in values), None)
        if other is None:
            return False
        try:
            await self._rows(source, sorted(fields), [other], _BRIEFLY)
        except ConnectorError:
            return False
        return True

    async def _rows(
        self, source: Source, fields: list[str], values: list[Value], patience: float
    ) -> list[dict[str, Any]]:
        """Waits out an outage once for all readers. Raises Lasts when the outage lasts too long."""
        rows: list[dict[str, Any]] = []

        async def find() -> None:
            rows[:] = await self._find(source, fields, values)

        await patiently(find, patience)
        return rows

    async def _read_by_fields(self, source: Source, requests: list[_Request], error: Exception) -> None:
        """Reads each set of fields alone after a Fatal: one survey's field may be at fault, and the others may work."""
        groups: dict[frozenset[str], list[_Request]] = {}
        for request in requests:
            groups.setdefault(request.fields, []).append(request)
        if len(groups) == 1 or not isinstance(error, Fatal) or error.whole:
            if isinstance(error, Fatal) and not error.whole:
                self._at_fault.add((source, requests[0].fields))
            _fail(requests, error)
            return
        for group in groups.values():
            await self._read_together(source, group)

    async def _read_by_halves(self, source: Source, requests: list[_Request], error: Rejected) -> None:
        """Reads each half alone after a refusal: one false id, though it looks right, must not fail the others."""
        if len({request.value for request in requests}) == 1:
            _fail(requests, error)
            return
        middle = len(requests) // 2
        for half in (requests[:middle], requests[middle:]):
            await self._read_together(source, half)


class _Found:
    """Rows by the value of their field `by`. The first row of a value counts.

    Salesforce compares texts without regard to capitals, and takes ids in both forms.
    """

    def __init__(self, rows: Iterable[Row], by: str) -> None:
        self._rows: dict[Any, Row] = {}
        for row in rows:
            self._rows.setdefault(_folded(row[by]), row)

    def row(self, value: Value) -> Row | None:
        """The row for this value, or None."""
        row = self._rows.get(_folded(value))
        return row or (self._rows.get(_folded(record_ids.full(str(value)))) if record_ids.is_id(value) else None)


def _folded(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _require(fields: Iterable[str], rows: Iterable[Row], object_name: str) -> None:
    """Raises Fatal if a row lacks a field that we asked for: Salesforce spells the field's name differently."""
    for row in rows:
        if missing := [field for field in fields if not _has(row, field)]:
            raise Fatal(
                f"{object_name}: Salesforce does not write {', '.join(sorted(missing))} like this but answered "
                f"{', '.join(sorted(row))}; check capitals and small letters"
            )


def _has(row: Row | None, path: str) -> bool:
    """Whether the row has the field at the end of the path, or a record on the way is missing."""
    for name in path.split("."):
        if row is None:
            return True
        if name not in row:
            return False
        row = row[name]
    return True


def _unreadable(source: Source, value: Value, error: Exception) -> Rejected:
    which = value if source.by == "Id" else mask_value(value)
    return Rejected(
        f"Salesforce fails to read the {source.object} whose {source.by} is {which}, while it reads others: {error}",
        code="UNKNOWN_EXCEPTION",
    )


def _fail(requests: Iterable[_Request], error: Exception) -> None:
    for request in requests:
        if not request.row.done():
            request.row.set_exception(error)
