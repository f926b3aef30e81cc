"""The part of SOQL that lookups and clients need: SELECT fields or COUNT() FROM one object, and what may follow.

A field may belong to the record or to one that it points to (`Contact.Email`). Conditions take AND, OR, NOT, LIKE, IN
and some date literals; ORDER BY, LIMIT and OFFSET follow. The double does not support GROUP BY, other functions, or
queries inside a query: it answers MALFORMED_QUERY with a message that says so.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from connector.sandbox.doubles.salesforce import ids
from connector.sandbox.doubles.salesforce.schema import KINDS, Field, SObject
from connector.sandbox.doubles.salesforce.soql_text import Condition, Logic, parse
from connector.sandbox.doubles.salesforce.store import Store
from connector.sandbox.doubles.salesforce.values import Problem, composed

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_MOST_RELATIONSHIPS = 5  # in one path, from child to parent (the SOQL reference)
_BOOLEANS = {"true": True, "false": False}
_DAYS = {"today": (0, 1), "yesterday": (-1, 0), "tomorrow": (1, 2)}  # first day, and the day behind the last
_N_DAYS = re.compile(r"(last|next)_n_days:(\d+)", re.IGNORECASE)

Holds = Callable[[Store, Mapping[str, Any]], bool]


class Found(NamedTuple):
    """`counted` is the answer to COUNT(), which has no rows."""

    rows: list[dict[str, Any]]
    counted: int | None = None


def run(store: Store, text: str, version: str, *, deleted: bool = False) -> Found:
    """The rows of the query, in REST's form. `deleted`: with the records in the recycle bin.

    Raises:
        Problem: MALFORMED_QUERY, INVALID_TYPE, INVALID_FIELD or INVALID_QUERY_FILTER_OPERATOR.
    """
    query = parse(text)
    entity = store.named(query.object)
    if entity is None or entity.name.endswith("__e"):
        raise Problem("INVALID_TYPE", f"sObject type '{query.object}' is not supported.")
    fields = [each for name in query.fields for each in _expanded(entity, name)]
    seen = [name.lower() for name in fields]
    for name in fields:
        if seen.count(name.lower()) > 1:
            raise Problem("MALFORMED_QUERY", f"duplicate field selected: {name}")
    paths = [_path(store, entity, name) for name in fields]
    holds = _holds(store, entity, query.where)
    found = [record for record in store.records[entity.name].values() if deleted or not record["IsDeleted"]]
    found = [record for record in found if holds(store, record)]
    for name, descending, nulls_last in reversed(query.order):
        found = _ordered(store, found, _path(store, entity, name), descending, nulls_last)
    found = found[query.offset :][: query.limit]
    if query.counts:
        return Found([], len(found))
    return Found([_row(store, entity, paths, record, version) for record in found])


def _expanded(entity: SObject, name: str) -> list[str]:
    """The fields that FIELDS(…) stands for, or the field itself."""
    if not name.startswith("*"):
        return [name]
    custom = {each for each in entity.rest if each.endswith(("__c", "__s"))}
    return [each for each in entity.rest if name == "*all" or (each in custom) is (name == "*custom")]


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


def _holds(store: Store, entity: SObject, where: Condition | Logic | None) -> Holds:
    if where is None:
        return lambda _, __: True
    if isinstance(where, Condition):
        return _condition(_path(store, entity, where.field), where.operator, where.literals, store.clock())
    parts = [_holds(store, entity, part) for part in where.parts]
    if where.operator == "not":
        return lambda store, record: not parts[0](store, record)
    together = all if where.operator == "and" else any
    return lambda store, record: together(part(store, record) for part in parts)


def _condition(path: _Path, op: str, literals: list[str], now: float) -> Holds:
    if path.field.kind in {"long", "address", "location"}:
        raise Problem("INVALID_FIELD", f"field '{path.field.name}' can not be filtered in a query call")
    days = _days(path.field, literals[0], now)
    if days is not None and op in _OPERATORS:
        return _within(path, op, *days)
    wanted = [_literal(path.field, literal) for literal in literals]
    if op == "like":
        return _like(path, wanted[0])

    def holds(store: Store, record: Mapping[str, Any]) -> bool:
        value = path.read(store, record)
        value = value if KINDS[path.field.kind].rest in {"id", "reference"} else _plain(value)
        if op in {"in", "not in"}:
            return (value in wanted) is (op == "in")
        if op in {"=", "!=", "<>"}:
            return _OPERATORS[op](value, wanted[0])
        return value is not None and wanted[0] is not None and _OPERATORS[op](value, wanted[0])

    return holds


def _like(path: _Path, wanted: Any) -> Holds:
    if not isinstance(wanted, str) or KINDS[path.field.kind].rest in {"id", "reference", "date", "datetime"}:
        raise Problem("INVALID_QUERY_FILTER_OPERATOR", f"invalid operator on {KINDS[path.field.kind].rest} field")
    wildcards = {"%": ".*", "_": "."}
    pattern = re.compile("".join(wildcards.get(char) or re.escape(char) for char in wanted), re.DOTALL)
    return lambda store, record: pattern.fullmatch(_plain(path.read(store, record)) or "") is not None


def _days(target: Field, literal: str, now: float) -> tuple[date, date] | None:
    """The first day of a date literal and the day behind its last; None for another literal. Days are in UTC."""
    if target.kind not in {"date", "datetime"}:
        return None
    first, behind = _DAYS.get(literal.lower(), (0, 0))
    if found := _N_DAYS.fullmatch(literal):
        days = int(found[2])
        first, behind = (-days, 1) if found[1].lower() == "last" else (1, days + 1)
    today = datetime.fromtimestamp(now, UTC).date()
    return (today + timedelta(first), today + timedelta(behind)) if first != behind else None


def _within(path: _Path, op: str, first: date, behind: date) -> Holds:
    """A comparison with a span of days: after it, before it, in it."""

    def holds(store: Store, record: Mapping[str, Any]) -> bool:
        value = path.read(store, record)
        if value is None:
            return op in {"!=", "<>"}
        day = datetime.fromisoformat(value).date()
        inside = first <= day < behind
        return {"=": inside, "!=": not inside, "<>": not inside, "<": day < first, ">": day >= behind}.get(
            op, inside or (day < first if op == "<=" else day >= behind)
        )

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
        if target.kind in {"date", "datetime"} and token[:1].isalpha():
            known = "TODAY, YESTERDAY, TOMORROW, LAST_N_DAYS:n and NEXT_N_DAYS:n"
            raise Problem(
                "MALFORMED_QUERY", f"unexpected date literal '{token}' (the double supports {known})"
            ) from None
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
