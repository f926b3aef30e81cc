"""Writes SOQL that reads records by id: short enough for a URI, safe with any ids (contract: salesforce §D3)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

MERGEABLE = frozenset({"account", "case", "contact", "lead"})  # only these have MasterRecordId (the object reference)
_MOST_IDS = 200  # as many as one lookup asks for; one page of results holds ten times as many
_LONGEST_QUERY = 12_000  # bytes once URL-encoded; URI and headers together may have 16,384, and a token can be long
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*")
_ESCAPES = str.maketrans(
    {"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
)


def literal(text: str) -> str:
    """A text as a SOQL literal, quotes included."""
    return f"'{text.translate(_ESCAPES)}'"


def name(text: str) -> str:
    """The name of an object or field, unchanged.

    Raises:
        ValueError: `text` is not such a name, and must not get into a query or an address.
    """
    if not _FIELD.fullmatch(text):
        raise ValueError(f"not the name of a Salesforce object or field: {text!r}")
    return text


def select_by_ids(object_name: str, fields: Iterable[str], ids: Iterable[str]) -> Iterator[str]:
    """The queries that read `fields`, and Id, of the records with these ids.

    Raises:
        ValueError: A name is not valid, or the fields alone are too long for a query.
    """
    columns = ",".join(dict.fromkeys(["Id", *map(name, fields)]))
    start = f"SELECT {columns} FROM {name(object_name)} WHERE Id IN ("  # noqa: S608 - names are checked, ids are escaped
    yield from _chunks(start, [literal(record_id) for record_id in dict.fromkeys(ids)])


def _chunks(start: str, literals: Sequence[str]) -> Iterator[str]:
    chunk: list[str] = []
    length = free = _LONGEST_QUERY - len(quote(start + ")", safe=""))
    for value in literals:
        size = len(quote(value + ",", safe=""))
        if size > free:
            raise ValueError(f"too many fields for one query: {start[:80]}…")
        if chunk and (size > length or len(chunk) == _MOST_IDS):
            yield f"{start}{','.join(chunk)})"
            chunk, length = [], free
        chunk.append(value)
        length -= size
    if chunk:
        yield f"{start}{','.join(chunk)})"
