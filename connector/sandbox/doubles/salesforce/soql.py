"""The part of SOQL that lookups need: SELECT fields FROM one object WHERE … AND … ORDER BY … LIMIT.

A field may belong to the record or to one that it points to (`Contact.Email`). The double does not support OR, NOT,
LIKE, functions or subqueries: it answers MALFORMED_QUERY with a message that says so.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from connector.sandbox.doubles.salesforce import ids
from connector.sandbox.doubles.salesforce.schema import KINDS, Field, SObject
from connector.sandbox.doubles.salesforce.store import Store
from connector.sandbox.doubles.salesforce.values import Problem, composed

_TOKEN = re.compile(r"\s*('(?:\\.|[^'\\])*'|!=|<=|>=|[=<>(),]|[\w.:+-]+|\S)")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_MOST_RELATIONSHIPS = 5  # in one path, from child to parent (the SOQL reference)
_BOOLEANS = {"true": True, "false": False}


@dataclass
class Query:
    object: str = ""
    fields: list[str] = field(default_factory=list)
    conditions: list[tuple[str, str, list[str]]] = field(default_factory=list)  # field, operator or "in", literals
    order: list[tuple[str, bool, bool]] = field(default_factory=list)  # field, descending, nulls last
    limit: int | None = None


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    def parse(self) -> Query:
        query = Query()
        self._expect("select")
        query.fields = self._list()
        self._expect("from")
        query.object = self._name()
        if self._skip("where"):
            query.conditions.append(self._condition())
            while self._skip("and"):
                query.conditions.append(self._condition())
        if self._skip("order"):
            self._expect("by")
            query.order.append(self._ordering())
            while self._skip(","):
                query.order.append(self._ordering())
        if self._skip("limit"):
            query.limit = self._number()
        if self._at < len(self._tokens):
            raise self._unexpected()
        return query

    def _condition(self) -> tuple[str, str, list[str]]:
        name = self._name()
        if self._skip("in"):
            self._expect("(")
            literals = self._list(self._next)
            self._expect(")")
            return name, "in", literals
        if self._peek() not in _OPERATORS:
            raise self._unexpected()
        return name, self._next(), [self._next()]

    def _ordering(self) -> tuple[str, bool, bool]:
        name = self._name()
        descending = self._skip("desc")
        if not descending:
            self._skip("asc")
        nulls_last = False
        if self._skip("nulls"):
            nulls_last = self._skip("last")
            if not nulls_last:
                self._expect("first")
        return name, descending, nulls_last

    def _list(self, item: Callable[[], str] | None = None) -> list[str]:
        item = item or self._name
        items = [item()]
        while self._skip(","):
            items.append(item())
        return items

    def _name(self) -> str:
        if not re.fullmatch(r"[A-Za-z][\w.]*", self._peek()):
            raise self._unexpected()
        return self._next()

    def _number(self) -> int:
        if not self._peek().isdecimal():
            raise self._unexpected()
        return int(self._next())

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            raise self._unexpected()
        self._at += 1
        return token

    def _skip(self, word: str) -> bool:
        found = self._peek().lower() == word
        self._at += found
        return found

    def _expect(self, word: str) -> None:
        if not self._skip(word):
            raise self._unexpected()

    def _unexpected(self) -> Problem:
        token = self._peek() or "<EOF>"
        return Problem("MALFORMED_QUERY", f"unexpected token: '{token}' (the double supports only a part of SOQL)")


def rows(store: Store, text: str, version: str, *, deleted: bool = False) -> list[dict[str, Any]]:
    """The rows of the query, in REST's form. `deleted`: with the records in the recycle bin.

    Raises:
        Problem: MALFORMED_QUERY, INVALID_TYPE, INVALID_FIELD or INVALID_QUERY_FILTER_OPERATOR.
    """
    query = _Parser(text).parse()
    if query.object not in store.objects:
        raise Problem("INVALID_TYPE", f"sObject type '{query.object}' is not supported.")
    entity = store.objects[query.object]
    seen = [name.lower() for name in query.fields]
    for name in query.fields:
        if seen.count(name.lower()) > 1:
            raise Problem("MALFORMED_QUERY", f"duplicate field selected: {name}")
    paths = [_path(store, entity, name) for name in query.fields]
    conditions = [_condition(_path(store, entity, name), op, literals) for name, op, literals in query.conditions]
    found = [record for record in store.records[entity.name].values() if deleted or not record["IsDeleted"]]
    found = [record for record in found if all(holds(store, record) for holds in conditions)]
    for name, descending, nulls_last in reversed(query.order):
        found = _ordered(store, found, _path(store, entity, name), descending, nulls_last)
    return [_row(store, entity, paths, record, version) for record in found[: query.limit]]


def _ordered(
    store: Store, found: list[dict[str, Any]], path: "_Path", descending: bool, nulls_last: bool
) -> list[dict[str, Any]]:
    nulls = [record for record in found if path.read(store, record) is None]
    rest = [record for record in found if path.read(store, record) is not None]
    rest.sort(key=lambda record: _plain(path.read(store, record)), reverse=descending)
    return rest + nulls if nulls_last else nulls + rest


@dataclass(frozen=True)
class _Path:
    """A field of the record, or of the record at the end of the references in `via`."""

    entity: SObject
    field: Field
    via: tuple[Field, ...] = ()

    def way(self, store: Store, record: Mapping[str, Any]) -> list[tuple[str, SObject, Mapping[str, Any] | None]]:
        """Each record behind the first: the relationship's name, its object, and the record, None if there is none."""
        way: list[tuple[str, SObject, Mapping[str, Any] | None]] = []
        here: Mapping[str, Any] | None = record
        for reference in self.via:
            target = store.objects[reference.argument]
            here = here and store.records[target.name].get(here.get(reference.name) or "")
            way.append((reference.relationship or "", target, here))
        return way

    def read(self, store: Store, record: Mapping[str, Any]) -> Any:
        way = self.way(store, record)
        related = way[-1][2] if way else record
        return None if related is None else composed(related, self.field)


def _path(store: Store, entity: SObject, name: str) -> _Path:
    first, dot, rest = name.partition(".")
    if first.lower() == entity.name.lower() and dot:
        return _path(store, entity, rest)
    if dot:
        via = next((f for f in entity.rest.values() if (f.relationship or "").lower() == first.lower()), None)
        if via is None:
            raise Problem("INVALID_FIELD", f"Didn't understand relationship '{first}' in field path.")
        target = _path(store, store.objects[via.argument], rest)
        if len(target.via) == _MOST_RELATIONSHIPS:
            raise Problem("INVALID_FIELD", f"field path '{name}' has more than {_MOST_RELATIONSHIPS} relationships")
        return _Path(target.entity, target.field, (via, *target.via))
    found = entity.lower.get(name.lower())
    if found is None:
        raise Problem("INVALID_FIELD", f"No such column '{name}' on entity '{entity.name}'.")
    return _Path(entity, found)


def _condition(path: _Path, op: str, literals: list[str]) -> Callable[[Store, Mapping[str, Any]], bool]:
    if path.field.kind in {"long", "address", "location"}:
        raise Problem("INVALID_FIELD", f"field '{path.field.name}' can not be filtered in a query call")
    wanted = [_literal(path.field, literal) for literal in literals]

    def holds(store: Store, record: Mapping[str, Any]) -> bool:
        value = path.read(store, record)
        value = value if KINDS[path.field.kind].rest in {"id", "reference"} else _plain(value)
        if op == "in":
            return value in wanted
        if op in {"=", "!="}:
            return _OPERATORS[op](value, wanted[0])
        return value is not None and wanted[0] is not None and _OPERATORS[op](value, wanted[0])

    return holds


def _literal(target: Field, token: str) -> Any:
    rest, quoted = KINDS[target.kind].rest, token.startswith("'")
    text = KINDS[target.kind].avro == "string" or target.kind in {"person", "switchable"}
    if token.lower() == "null":
        return None
    if quoted is not text or (token.lower() in _BOOLEANS) is not (rest == "boolean"):
        raise _mistyped(target)
    if rest == "boolean":
        return _BOOLEANS[token.lower()]
    return _quoted(rest, token) if quoted else _bare(target, token)


def _quoted(rest: str, token: str) -> str:
    value = re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), token[1:-1])
    if rest not in {"id", "reference"}:
        return value.lower()
    full = ids.normal(value)
    if full is None:
        raise Problem("INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {value}")
    return full


def _bare(target: Field, token: str) -> float | str:
    try:
        if target.kind == "date":
            return date.fromisoformat(token).isoformat()
        if target.kind == "datetime":
            return datetime.fromisoformat(token).timestamp()
        return float(token)
    except ValueError:
        raise _mistyped(target) from None


def _mistyped(target: Field) -> Problem:
    rest = KINDS[target.kind].rest
    quotes = "should be" if KINDS[target.kind].avro == "string" else "should not be"
    return Problem(
        "INVALID_FIELD",
        f"value of filter criterion for field '{target.name}' must be of type {rest} and {quotes} enclosed in quotes",
    )


def _plain(value: Any) -> Any:
    """The value for comparisons: text in lower case, date-times as seconds."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\S+\+0000", value):
        return datetime.fromisoformat(value).timestamp()
    return value.lower()


def _row(store: Store, entity: SObject, paths: list[_Path], record: Mapping[str, Any], version: str) -> dict[str, Any]:
    row: dict[str, Any] = {"attributes": attributes(entity.name, record["Id"], version)}
    for path in paths:
        into = row
        for name, target, related in path.way(store, record):
            if related is None:
                into[name] = None
                break
            into = into.setdefault(name, {"attributes": attributes(target.name, related["Id"], version)})
        else:
            into[path.field.name] = path.read(store, record)
    return row


def attributes(name: str, record_id: str, version: str) -> dict[str, str]:
    return {"type": name, "url": f"/services/data/v{version}/sobjects/{name}/{record_id}"}
