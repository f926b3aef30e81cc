"""A survey's lookups: reads the records that a changed record leads to, and remembers some for a while."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from connector.config import Lookup, Survey
from connector.errors import Rejected
from connector.salesforce.soql import Source
from connector.surveys.lookup import Row
from connector.surveys.reader import Reader
from connector.surveys.scopes import nested
from connector.templates import Condition, Scalar, Template, Values

_MOST_KEPT = 10_000  # records that a survey remembers: some 10 MB


class Lookups:
    """Await `read` for the lookups that a template needs; it puts their fields into the scope.

    `clock` is in seconds.
    """

    def __init__(self, survey: Survey, reader: Reader, clock: Callable[[], float] = time.monotonic) -> None:
        self._lookups = survey.lookup
        self._reader = reader
        self._clock = clock
        self._kept: dict[tuple[str, Scalar], tuple[float, Row | None]] = {}

    def behind(self, liquid: Template | Condition | None) -> frozenset[str]:
        """The lookups that a template's value depends on, also through the keys of other lookups."""
        named = _roots(liquid) if liquid else set()
        for name, lookup in reversed(self._lookups.items()):  # a key may use only the lookups above it
            if name in named:
                named |= _roots(lookup.key)
        return frozenset(named & self._lookups.keys())

    async def read(self, scope: dict[str, Any], gone: dict[str, str], names: Collection[str]) -> None:
        """Reads the lookups of these names. `gone` gets the reason for each whose record is missing.

        What is in the scope already is not read again.

        Raises:
            Rejected: A lookup's key cannot be rendered, or its Id is none.
            Fatal, Lasts: From reading Salesforce.
        """
        named = ((name, lookup) for name, lookup in self._lookups.items() if name in names)
        wanted = {name: lookup for name, lookup in named if isinstance(scope[name], Values)}
        while wanted:  # those that need none of the others are read at once
            now = {name: lookup for name, lookup in wanted.items() if not _roots(lookup.key) & wanted.keys()}
            reads = [self._row(name, lookup, scope, gone) for name, lookup in now.items()]
            rows = [await reads[0]] if len(reads) == 1 else await asyncio.gather(*reads)  # one needs no task of its own
            for (name, lookup), row in zip(now.items(), rows, strict=True):
                scope[name] = nested(lookup.fields, row)
                del wanted[name]

    async def _row(self, name: str, lookup: Lookup, scope: Mapping[str, Any], gone: dict[str, str]) -> Row | None:
        key = stripped(lookup.key.render(scope))
        if key is None:
            return None
        until, row = self._kept.get((name, key), (0.0, None))
        if self._clock() < until:
            return row
        try:
            row = await self._find(lookup, key)
        except Rejected as error:
            if error.code not in {"record_gone", "no_record"}:
                raise
            gone[name] = str(error)
            return None
        if lookup.cache:
            self._keep((name, key), self._clock() + lookup.cache, row)
        return row

    async def _find(self, lookup: Lookup, key: Scalar) -> Row | None:
        fields = frozenset(lookup.fields)
        if lookup.key_field == "Id":
            return await self._reader.read_kept(lookup.object, str(key), fields)
        source = Source(lookup.object, lookup.key_field, tuple(lookup.where.items()), lookup.order_by)
        return await self._reader.find(source, key, fields)

    def _keep(self, place: tuple[str, Scalar], until: float, row: Row | None) -> None:
        self._kept.pop(place, None)
        self._kept[place] = until, row
        while len(self._kept) > _MOST_KEPT:
            del self._kept[next(iter(self._kept))]


def stripped(value: Scalar | None) -> Scalar | None:
    """A template of several lines writes line breaks around its value."""
    return value.strip() if isinstance(value, str) else value


def _roots(liquid: Template | Condition) -> set[str]:
    return {str(path.parts[0]) for path in liquid.paths()}
