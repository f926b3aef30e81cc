"""Reads records from Salesforce for many invitations at once: one SOQL call for up to 200 records of an object."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from connector.errors import Fatal, Rejected
from connector.retry import patiently

_MOST = 200  # records per call; more would exceed the URI's 16 kB (salesforce §D3)

Row = Mapping[str, Any]
_Line = tuple[str, frozenset[str] | None]  # an object, and a set of fields that is read alone
Select = Callable[[str, Iterable[str], list[str]], Awaitable[list[dict[str, Any]]]]


@dataclass(eq=False)
class _Request:
    record_id: str
    fields: frozenset[str]
    row: asyncio.Future[Row | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Lookup:
    """`read` returns one record's fields. Reads of an object wait for its call under way, then share the next call.

    A set of fields that could not be read shares no call until it can be read again, as it would fail other reads.
    `select(object, fields, ids)` returns the rows that exist, each with its `Id`.
    """

    def __init__(self, select: Select) -> None:
        self._select = select
        self._waiting: dict[_Line, list[_Request]] = {}  # the stage limits them by its records in flight
        self._readers: dict[_Line, asyncio.Task[None]] = {}  # one for each line that a `read` waits in
        self._at_fault: set[_Line] = set()

    async def read(self, object_name: str, record_id: str, fields: Iterable[str]) -> Row | None:
        """The record's `fields`, or None when Salesforce has no such record that we may see.

        Raises:
            Rejected: `record_id` is not a record id. In a SOQL text it would make the call fail for all readers.
            Lasts: Salesforce cannot be read for longer than we wait.
            Fatal: These fields cannot be read, or Salesforce spells one of them differently.
        """
        if not (record_id.isascii() and record_id.isalnum() and len(record_id) in {15, 18}):
            raise Rejected(
                f"{record_id!r} is not a Salesforce record id, so no {object_name} can be read", code="malformed_id"
            )
        request = _Request(record_id, frozenset(fields))
        own = (object_name, request.fields)
        line: _Line = own if own in self._at_fault else (object_name, None)
        self._waiting.setdefault(line, []).append(request)
        if line not in self._readers:
            self._readers[line] = asyncio.create_task(self._read_waiting(line))
        return await request.row

    async def _read_waiting(self, line: _Line) -> None:
        waiting = self._waiting[line]
        while waiting:
            await asyncio.sleep(0)  # other reads that begin now share the call
            requests, waiting[:_MOST] = waiting[:_MOST], []
            await self._read_together(line[0], requests)
        del self._readers[line]

    async def _read_together(self, object_name: str, requests: list[_Request]) -> None:
        fields = frozenset({"Id"}).union(*(request.fields for request in requests))
        ids = sorted({request.record_id for request in requests})
        try:
            rows = await self._rows(object_name, sorted(fields), ids)
            _require(fields, rows, object_name)
            by_id = {row["Id"][:15]: row for row in rows}  # ids of 15 and 18 characters name the same record
        except Rejected as error:
            await self._read_by_halves(object_name, requests, error)
        except Exception as error:  # noqa: BLE001 - each reader raises it in its own task
            await self._read_by_fields(object_name, requests, error)
        else:
            for request in requests:
                self._at_fault.discard((object_name, request.fields))
                if not request.row.done():
                    request.row.set_result(by_id.get(request.record_id[:15]))

    async def _rows(self, object_name: str, fields: list[str], ids: list[str]) -> list[dict[str, Any]]:
        """Waits out an outage once for all readers. Raises Lasts when the outage lasts too long."""
        rows: list[dict[str, Any]] = []

        async def select() -> None:
            rows[:] = await self._select(object_name, fields, ids)

        await patiently(select)
        return rows

    async def _read_by_fields(self, object_name: str, requests: list[_Request], error: Exception) -> None:
        """Reads each set of fields alone after a Fatal: one survey's field may be at fault, and the others may work."""
        groups: dict[frozenset[str], list[_Request]] = {}
        for request in requests:
            groups.setdefault(request.fields, []).append(request)
        if len(groups) == 1 or not isinstance(error, Fatal) or error.whole:
            if isinstance(error, Fatal) and not error.whole:
                self._at_fault.add((object_name, requests[0].fields))
            _fail(requests, error)
            return
        for group in groups.values():
            await self._read_together(object_name, group)

    async def _read_by_halves(self, object_name: str, requests: list[_Request], error: Rejected) -> None:
        """Reads each half alone after a refusal: one false id, though it looks right, must not fail the others."""
        if len({request.record_id for request in requests}) == 1:
            _fail(requests, error)
            return
        middle = len(requests) // 2
        for half in (requests[:middle], requests[middle:]):
            await self._read_together(object_name, half)


def _require(fields: Iterable[str], rows: Iterable[Row], object_name: str) -> None:
    """Raises Fatal if a row lacks a field that we asked for: Salesforce spells the field's name differently."""
    for row in rows:
        if missing := [field for field in fields if field not in row]:
            raise Fatal(
                f"{object_name}: Salesforce does not write {', '.join(sorted(missing))} like this but answered "
                f"{', '.join(sorted(row))}; check capitals and small letters"
            )


def _fail(requests: Iterable[_Request], error: Exception) -> None:
    for request in requests:
        if not request.row.done():
            request.row.set_exception(error)
