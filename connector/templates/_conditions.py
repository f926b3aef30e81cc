"""Decides conditions: those of a configuration, and those in `if`, `unless` and `case` of a template.

python-liquid's own comparisons differ from Ruby's, take nil for not blank, and hide mistakes in a configuration.
"""

import operator
from collections.abc import Callable, Mapping

from liquid import RenderContext
from liquid.builtin.expressions import logical
from liquid.builtin.expressions.primitive import Blank, Empty
from liquid.expression import Expression

from connector.templates._values import Unread, WrongValueError, is_undefined, kind, order, same, text, truthy

_NO_VALUES = {Blank, Empty}  # compared by type, because `isinstance` takes longer than all else here: they are ABCs
_ORDERED = ({"a number"}, {"a text"}, {"a time"})


class Decided(Expression):
    """A condition in a template. As in Ruby, values of different kinds are not equal."""

    def __init__(self, expression: Expression) -> None:
        super().__init__(expression.token)
        self.expression = expression

    def evaluate(self, context: RenderContext) -> object:
        return holds(self.expression, context, strict=False)

    def children(self) -> list[Expression]:
        return [self.expression]


class AnyOf(Expression):
    """The values of one `when`, compared with the value of its `case`."""

    def __init__(self, left: Expression, choices: list[Expression]) -> None:
        super().__init__(left.token)
        self.left, self.choices = left, choices

    def evaluate(self, context: RenderContext) -> list[bool]:
        value = _value(self.left, context)
        return [_equal(value, _value(choice, context)) for choice in self.choices]

    def children(self) -> list[Expression]:
        return self.choices


def holds(expression: Expression, context: RenderContext, *, strict: bool) -> bool:
    """Decide a condition from left to right, evaluating no more than needed.

    Nil (and so a missing name) compares as false with everything except nil and blank.

    Raises:
        WrongValueError: A text is ordered with a number. If `strict`, any two values of different kinds are compared:
            the condition would never hold.
    """
    compare = COMPARISONS.get(type(expression))
    if compare is not None:
        left, right = [_value(side, context) for side in expression.children()]
        if strict:
            require_comparable(type(expression), left, right)
        return compare(left, right)
    match expression:
        case logical.BooleanExpression():
            return holds(expression.expression, context, strict=strict)
        case logical.LogicalAndExpression():
            return holds(expression.left, context, strict=strict) and holds(expression.right, context, strict=strict)
        case logical.LogicalOrExpression():
            return holds(expression.left, context, strict=strict) or holds(expression.right, context, strict=strict)
    return truthy(_value(expression, context))


def may_hold(expression: Expression, context: RenderContext) -> bool:
    """Decide a condition of which some values are unknown: False when it does not hold whatever they are.

    Raises:
        WrongValueError: As `holds` does.
    """
    match expression:
        case logical.BooleanExpression():
            return may_hold(expression.expression, context)
        case logical.LogicalAndExpression():
            return may_hold(expression.left, context) and may_hold(expression.right, context)
        case logical.LogicalOrExpression():
            return may_hold(expression.left, context) or may_hold(expression.right, context)
    try:
        return holds(expression, context, strict=True)
    except Unread:
        return True


def _value(expression: Expression, context: RenderContext) -> object:
    value = expression.evaluate(context)
    return None if is_undefined(value) else value


def require_comparable(comparison: type[Expression], left: object, right: object) -> None:
    """Raises WrongValueError when values are of different kinds, so that the comparison would never hold."""
    if left is None or right is None or not _NO_VALUES.isdisjoint((type(left), type(right))):
        return
    if comparison is logical.ContainsExpression:
        if not isinstance(left, (str, list, tuple)):
            raise WrongValueError(f"it asks whether {kind(left)} contains something")
    elif kind(left) != kind(right):
        raise WrongValueError(f"it compares {kind(left)} with {kind(right)}")
    elif comparison not in {logical.EqExpression, logical.NeExpression} and {kind(left)} not in _ORDERED:
        raise WrongValueError(f"it uses < or > on {kind(left)}")


def _equal(left: object, right: object) -> bool:
    for literal, other in ((left, right), (right, left)):
        if type(literal) is Blank:
            return other is None or literal == other
        if type(literal) is Empty:
            return literal == other
    return same(left, right)


def _by_order(fulfils: Callable[[int, int], bool]) -> Callable[[object, object], bool]:
    def compare(left: object, right: object) -> bool:
        kinds = {kind(left), kind(right)}
        if kinds == {"a text", "a number"}:
            raise WrongValueError("it orders a text and a number")
        found = order(left, right) if kinds in _ORDERED else None
        return found is not None and fulfils(found, 0)

    return compare


def _contains(left: object, right: object) -> bool:
    if not truthy(left) or not truthy(right):
        return False
    match left:
        case str():
            return text(right) in left
        case list() | tuple():
            return any(same(item, right) for item in left)
        case Mapping():
            return isinstance(right, str) and right in left
        case _:
            return False


COMPARISONS: dict[type[Expression], Callable[[object, object], bool]] = {
    logical.EqExpression: _equal,
    logical.NeExpression: lambda left, right: not _equal(left, right),
    logical.ContainsExpression: _contains,
    logical.LtExpression: _by_order(operator.lt),
    logical.LeExpression: _by_order(operator.le),
    logical.GtExpression: _by_order(operator.gt),
    logical.GeExpression: _by_order(operator.ge),
}
