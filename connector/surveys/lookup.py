"""Reads records from Salesforce for many invitations at once: one SOQL call for up to 200 records of an object."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from connector.errors import Rejected

_LINGER = 0.02  # seconds that the first reader waits for company; a SOQL call takes about ten times as long
_MOST = 200  # records a call; more would outgrow the URI's 16 kB (salesforce §D3)

Row = Mapping[str, Any]
Select = Callable[[str, Iterable[str], list[str]], Awaitable[list[dict[str, Any]]]]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(eq=False)
class _Request:
    record_id: str
    fields: frozenset[str]
    row: asyncio.Future[Row | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Lookup:
    """`read` gives one record's fields; concurrent reads of an object share a call.

    `select(object, fields, ids)` gives the rows that exist, each with its `Id`.
    """

    def __init__(self, select: Select, *, sleep: Sleep = asyncio.sleep) -> None:
        self._select = select
        self._sleep = sleep
        self._waiting: dict[str, list[_Request]] = {}  # by object; bounded by what the stage keeps in flight
        self._readers: set[asyncio.Task[None]] = set()

    async def read(self, object_name: str, record_id: str, fields: Iterable[str]) -> Row | None:
        """The record's `fields`, or None when Salesforce has no such record that we may see.

        Raises:
            Rejected: `record_id` is no record id; it must not reach a SOQL text, where it would fail for everyone.
            Retryable, Fatal: as the call raised it, to every reader that shared it.
        """
        if not (record_id.isascii() and record_id.isalnum() and len(record_id) in {15, 18}):
            raise Rejected(
                f"{record_id!r} is not a Salesforce record id, so no {object_name} can be read", code="malformed_id"
            )
        request = _Request(record_id, frozenset(fields))
        waiting = self._waiting.setdefault(object_name, [])
        waiting.append(request)
        if len(waiting) == 1:
            reader = asyncio.create_task(self._read_waiting(object_name))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
        return await request.row

    async def _read_waiting(self, object_name: str) -> None:
        await self._sleep(_LINGER)
        requests = self._waiting.pop(object_name)
        for start in range(0, len(requests), _MOST):
            await self._read_together(object_name, requests[start : start + _MOST])

    async def _read_together(self, object_name: str, requests: list[_Request]) -> None:
        fields = frozenset({"Id"}).union(*(request.fields for request in requests))
        ids = sorted({request.record_id for request in requests})
        try:
            rows = await self._select(object_name, sorted(fields), ids)
        except Exception as error:  # noqa: BLE001 - each reader raises it in its own task
            for request in requests:
                if not request.row.done():
                    request.row.set_exception(error)
            return
        by_id = {row["Id"][:15]: row for row in rows}  # ids of 15 and of 18 characters name the same record
        for request in requests:
            if not request.row.done():
                request.row.set_result(by_id.get(request.record_id[:15]))
