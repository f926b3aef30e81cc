"""Finds out whether a condition holds always or never, by trying values for the names in it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import combinations, pairwise, product
from typing import Any

from liquid.builtin.expressions import logical
from liquid.builtin.expressions.path import Path
from liquid.builtin.expressions.primitive import Literal
from liquid.expression import Expression

from connector.templates._compiled import PROPERTIES, RenderError

Name = tuple[str, ...]
Choose = Callable[[str, Sequence[object]], Sequence[object]]

_MOST_TRIES = 5_000  # some 50 ms; a condition that can hold and can fail has shown that long before
_MOST_CONTAINED = 5  # literals that a value may contain, in every combination
_WITHOUT_LITERALS = (None, "", "x", 1, True, False, (), ("x",))
_JOINS = (logical.BooleanExpression, logical.LogicalAndExpression, logical.LogicalOrExpression)
_ORDERS = (logical.LtExpression, logical.LeExpression, logical.GtExpression, logical.GeExpression)


@dataclass
class _Uses:
    """What a condition does with one name: the literals that it compares it with, and in which ways."""

    literals: list[object] = field(default_factory=list)
    ways: set[type[Expression]] = field(default_factory=set)

    @property
    def can_be_tried(self) -> bool:
        contains = logical.ContainsExpression in self.ways
        return not contains or (self.ways.isdisjoint(_ORDERS) and len(self.literals) <= _MOST_CONTAINED)


def verdict(expression: Expression, holds: Callable[[Mapping[str, Any]], bool], choose: Choose) -> bool | None:
    """True if a condition always holds, False if it never does, None if it depends or we cannot tell.

    `choose` gets a name and the values that would be tried for it, and returns those to try. A value for
    which the condition cannot be decided, such as a text for a number, does not count.
    """
    uses: dict[Name, _Uses] = {}
    if not _gather(expression, uses) or _overlap(uses) or not all(each.can_be_tried for each in uses.values()):
        return None
    tried = [choose(".".join(name), _values(each)) for name, each in uses.items()]
    if math.prod(map(len, tried)) > _MOST_TRIES:
        return None
    found: set[bool] = set()
    for values in product(*tried):
        with suppress(RenderError):
            found.add(holds(_scope(zip(uses, values, strict=True))))
        if len(found) > 1:
            return None
    return True in found


def _gather(node: Expression, found: dict[Name, _Uses]) -> bool:
    """Collects the names and what is done with them. False for what we cannot tell about."""
    sides = node.children()
    paths = [side for side in (node, *sides) if isinstance(side, Path)]
    if len(paths) > 1 and not isinstance(node, _JOINS):
        return False  # two values that both can be anything
    for path in paths:
        if not all(isinstance(part, str) and part not in PROPERTIES for part in path.path):
            return False
        uses = found.setdefault(tuple(map(str, path.path)), _Uses())
        uses.ways.add(type(node))
        uses.literals += [side.value for side in sides if isinstance(side, Literal) and not isinstance(node, _JOINS)]
    return all(_gather(side, found) for side in sides if not isinstance(side, Path))


def _overlap(names: Iterable[Name]) -> bool:
    return any(longer[: len(name)] == name for longer in names for name in names if name != longer)


def _values(uses: _Uses) -> list[object]:
    """Values that are equal to the literals, lie before, between or after them, or contain some of them."""
    literals = uses.literals
    texts = sorted({value for value in literals if isinstance(value, str)})
    numbers = sorted({value for value in literals if isinstance(value, int | float) and not isinstance(value, bool)})
    if not literals:
        return [*_WITHOUT_LITERALS]
    found: list[object] = [None]
    if logical.ContainsExpression in uses.ways:
        found += [some for count in range(len(literals) + 1) for some in combinations(literals, count)]
        found += ["\x01".join(some) for count in range(2, len(texts) + 1) for some in combinations(texts, count)]
    if len(texts) + len(numbers) < len(literals):
        found += [True, False]
    if texts:
        found += ["", "\x01", *texts, *(text + "\x01" for text in texts)]
    found += [number + step for number in numbers for step in (-1, 0, 1)]
    found += [(one + other) / 2 for one, other in pairwise(numbers)]
    return found


def _scope(values: Iterable[tuple[Name, object]]) -> dict[str, Any]:
    scope: dict[str, Any] = {}
    for (*way, last), value in values:
        into = scope
        for name in way:
            into = into.setdefault(name, {})
        into[last] = value
    return scope
