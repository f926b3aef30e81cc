"""Writes SOQL that reads records by the value of a field: short enough for a URI, safe with any values.

Contract: salesforce §D3.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import quote

from connector.errors import Rejected

_MOST_IDS = 200  # as many as one lookup asks for; one page of results holds ten times as many
_LONGEST_QUERY = 12_000  # bytes once URL-encoded; URI and headers together may have 16,384, and a token can be long
_ID = 18 + len(quote("'',", safe=""))  # bytes of a record id in a query; fields that leave no room for it are too many
_ORDER = re.compile(r"([\w.]+)(?: (asc|desc))?(?: nulls (first|last))?", re.IGNORECASE)
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*")
_ESCAPES = str.maketrans(
    {"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
)


Value = str | int | float | bool | Decimal


@dataclass(frozen=True)
class Source:
    """The records of an object by the value of their field `by`. If several share the value, the first is meant.

    `where` has fields and the values that they must have. `order_by` is as in SOQL: `CreatedDate desc`.
    """

    object: str
    by: str = "Id"
    where: tuple[tuple[str, Value], ...] = ()
    order_by: str = ""


def literal(value: Value) -> str:
    """A value as a SOQL literal; a text with its quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value.translate(_ESCAPES)}'" if isinstance(value, str) else str(value)


def name(text: str) -> str:
    """The name of an object or field, unchanged.

    Raises:
        ValueError: `text` is not such a name, and must not get into a query or an address.
    """
    if not _FIELD.fullmatch(text):
        raise ValueError(f"not the name of a Salesforce object or field: {text!r}")
    return text


def order(text: str) -> str:
    """The text of an ORDER BY with one field, unchanged.

    Raises:
        ValueError: `text` is not such an order, and must not get into a query.
    """
    match = _ORDER.fullmatch(text)
    if not match or not _FIELD.fullmatch(match[1]):
        raise ValueError(f"not an order like CreatedDate desc: {text!r}")
    return text


def select(
    source: Source, fields: Iterable[str], values: Iterable[Value], *, limit: int | None = None
) -> Iterator[str]:
    """The queries that read `fields`, Id and `source.by` of the records whose field `source.by` has one of the values.

    `limit` is the most rows that a query may give.

    Raises:
        ValueError: A name is not valid, or the fields alone are too long for a query.
        Rejected: A value is too long for a query. The message does not hold it.
    """
    columns = ",".join(dict.fromkeys(["Id", name(source.by), *map(name, fields)]))
    start = f"SELECT {columns} FROM {name(source.object)} WHERE {source.by} IN ("  # noqa: S608 - checked and escaped
    end = ")" + "".join(f" AND {name(field)} = {literal(value)}" for field, value in source.where)
    end += f" ORDER BY {order(source.order_by)}" if source.order_by else ""
    end += f" LIMIT {limit}" if limit else ""
    yield from _chunks(start, [literal(value) for value in dict.fromkeys(values)], end)


def _chunks(start: str, literals: Sequence[str], end: str) -> Iterator[str]:
    chunk: list[str] = []
    length = free = _LONGEST_QUERY - len(quote(start + end, safe=""))
    sizes = [len(quote(value + ",", safe="")) for value in literals]
    if free < _ID:
        raise ValueError(f"too many fields for one query: {start[:80]}…")
    if (longest := max(sizes, default=0)) > free:
        raise Rejected(
            f"a value is too long to look up: it has {longest:,} bytes once URL-encoded, and the query has room for"
            f" {free:,}: {start[:80]}…",
            code="value_too_long",
        )
    for value, size in zip(literals, sizes, strict=True):
        if chunk and (size > length or len(chunk) == _MOST_IDS):
            yield f"{start}{','.join(chunk)}{end}"
            chunk, length = [], free
        chunk.append(value)
        length -= size
    if chunk:
        yield f"{start}{','.join(chunk)}{end}"
