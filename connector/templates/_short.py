"""The short way to the value of a name, of a name with filters, and of a condition, which most templates are.

It reads mappings and calls functions. python-liquid makes a context of a dozen objects first.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from liquid.ast import Node
from liquid.builtin.expressions import logical
from liquid.builtin.expressions.arguments import KeywordArgument
from liquid.builtin.expressions.filtered import Filter, FilteredExpression
from liquid.builtin.expressions.path import Path
from liquid.builtin.expressions.primitive import Blank, Empty, Literal, Nil
from liquid.builtin.output import OutputNode
from liquid.exceptions import LiquidError
from liquid.expression import Expression

from connector.templates._compiled import ENVIRONMENT, PROPERTIES
from connector.templates._conditions import COMPARISONS, require_comparable
from connector.templates._values import Values, truthy

Scope = Mapping[str, Any]


class LongWay(Exception):
    """python-liquid must find the value, or say why there is none."""


# After one of these the long way says what is wrong.
FAILURES = (LongWay, LiquidError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)


def short_output(nodes: Sequence[Node]) -> Callable[[Scope], object] | None:
    """Gives the value of a template that is one expression. None for any other template."""
    match nodes:
        case [OutputNode(expression=expression)]:
            return _value_of(expression)
    return None


def short_condition(expression: Expression) -> Callable[[Scope], object]:
    """Decides a condition strictly, as `holds` does."""
    match expression:
        case logical.BooleanExpression():
            return short_condition(expression.expression)
        case logical.LogicalAndExpression():
            left, right = map(short_condition, (expression.left, expression.right))
            return lambda scope: left(scope) and right(scope)
        case logical.LogicalOrExpression():
            left, right = map(short_condition, (expression.left, expression.right))
            return lambda scope: left(scope) or right(scope)
    comparison = type(expression)
    if comparison not in COMPARISONS:
        value = _value_of(expression)
        return lambda scope: truthy(value(scope))
    compare = COMPARISONS[comparison]
    one, other = map(_value_of, expression.children())

    def decide(scope: Scope) -> bool:
        values = one(scope), other(scope)
        require_comparable(comparison, *values)
        return compare(*values)

    return decide


def _value_of(expression: Expression) -> Callable[[Scope], object]:
    match expression:
        case Path(path=keys) if all(isinstance(key, str) and key not in PROPERTIES for key in keys):
            return partial(_follow, tuple(map(str, keys)))
        case FilteredExpression(left=left, filters=filters):
            value = _value_of(left)
            for used in filters or ():
                value = _filtered(value, used)
            return value
        case Literal(value=constant):
            return lambda _: constant
        case Nil():
            return lambda _: None
        case Blank() | Empty():
            return lambda _: expression
    return _by_the_long_way


def _filtered(value: Callable[[Scope], object], used: Filter) -> Callable[[Scope], object]:
    named, others = {}, []
    for argument in used.args:
        if not isinstance(argument.value, Literal):
            return _by_the_long_way
        if isinstance(argument, KeywordArgument):
            named[argument.name] = argument.value.value
        else:
            others.append(argument.value.value)
    function = ENVIRONMENT.filters[used.name]
    return lambda scope: function(value(scope), *others, **named)


def _follow(keys: Sequence[str], scope: Scope) -> object:
    found: Any = scope
    for key in keys:
        if found is not scope and not isinstance(found, (dict, Values)):
            raise LongWay
        found = found[key]
    return found


def _by_the_long_way(_: Scope) -> object:
    raise LongWay
