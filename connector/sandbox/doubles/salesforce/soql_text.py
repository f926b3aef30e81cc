"""The text of a query as a tree. The double knows the part of SOQL that the docstring of `soql` names."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from connector.sandbox.doubles.salesforce.values import Problem

_TOKEN = re.compile(r"\s*('(?:\\.|[^'\\])*'|!=|<>|<=|>=|[=<>(),]|[\w.:+-]+|\S)")
_COMPARISONS = {"=", "!=", "<>", "<", "<=", ">", ">=", "like"}
_GROUPS = {"all", "standard", "custom"}
_MOST_SKIPPED = 2000  # rows of OFFSET (the SOQL reference)
_MOST_WITH_FIELDS = 200  # rows of a query with FIELDS(ALL) or FIELDS(CUSTOM) (the SOQL reference)


class Condition(NamedTuple):
    """`operator` is a comparison, "in" or "not in"; `literals` are as written."""

    field: str
    operator: str
    literals: list[str]


class Logic(NamedTuple):
    """`operator` is "and", "or", or "not" with one part."""

    operator: str
    parts: "list[Condition | Logic]"


class Ordering(NamedTuple):
    field: str
    descending: bool
    nulls_last: bool


@dataclass
class Query:
    """`fields` has `FIELDS(…)` as "*all", "*standard" or "*custom"; it is empty for COUNT()."""

    object: str = ""
    fields: list[str] = field(default_factory=list)
    counts: bool = False
    where: Condition | Logic | None = None
    order: list[Ordering] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0


def parse(text: str) -> Query:
    """Raises Problem: MALFORMED_QUERY."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    def parse(self) -> Query:
        query = Query()
        self._expect("select")
        query.counts = self._skip("count")
        if query.counts:
            self._expect("(")
            self._expect(")")
        else:
            query.fields = self._list(self._selected)
        self._expect("from")
        query.object = self._name()
        if self._skip("where"):
            query.where = self._logic()
        if self._skip("order"):
            self._expect("by")
            query.order.append(self._ordering())
            while self._skip(","):
                query.order.append(self._ordering())
        if self._skip("limit"):
            query.limit = self._number()
        if self._skip("offset"):
            query.offset = self._number()
            if query.offset > _MOST_SKIPPED:
                raise Problem("NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {_MOST_SKIPPED}")
        if self._at < len(self._tokens):
            raise self._unexpected()
        if {"*all", "*custom"} & {*query.fields} and not (query.limit or _MOST_WITH_FIELDS + 1) <= _MOST_WITH_FIELDS:
            message = f"The SOQL FIELDS function must have a LIMIT of at most {_MOST_WITH_FIELDS}"
            raise Problem("MALFORMED_QUERY", message)
        return query

    def _selected(self) -> str:
        if self._peek().lower() != "fields":
            return self._name()
        self._next()
        self._expect("(")
        group = self._next().lower()
        self._expect(")")
        if group not in _GROUPS:
            raise Problem("MALFORMED_QUERY", f"FIELDS takes ALL, STANDARD or CUSTOM, not {group}")
        return f"*{group}"

    def _logic(self) -> Condition | Logic:
        """Parts joined by one operator: SOQL mixes AND and OR only with parentheses."""
        parts = [self._part()]
        word = self._peek().lower()
        if word not in {"and", "or"}:
            return parts[0]
        while self._skip(word):
            parts.append(self._part())
        return Logic(word, parts)

    def _part(self) -> Condition | Logic:
        if self._skip("not"):
            return Logic("not", [self._part()])
        if self._skip("("):
            inner = self._logic()
            self._expect(")")
            return inner
        return self._condition()

    def _condition(self) -> Condition:
        name = self._name()
        negated = self._skip("not")
        if negated or self._peek().lower() == "in":
            self._expect("in")
            self._expect("(")
            literals = self._list(self._next)
            self._expect(")")
            return Condition(name, "not in" if negated else "in", literals)
        if self._peek().lower() not in _COMPARISONS:
            raise self._unexpected()
        return Condition(name, self._next().lower(), [self._next()])

    def _ordering(self) -> Ordering:
        name = self._name()
        descending = self._skip("desc")
        if not descending:
            self._skip("asc")
        nulls_last = False
        if self._skip("nulls"):
            nulls_last = self._skip("last")
            if not nulls_last:
                self._expect("first")
        return Ordering(name, descending, nulls_last)

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
