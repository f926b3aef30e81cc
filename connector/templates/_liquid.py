"""Our Liquid: the environment for templates, and the code that decides conditions.

We do not let python-liquid decide conditions. Its comparisons either hide mistakes (a missing name equals nil) or fail
on values that plainly mean "no" (for python-liquid, nil is not blank).
"""

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from liquid import Environment, RenderContext, StrictDefaultUndefined
from liquid.ast import Node
from liquid.builtin.expressions import logical
from liquid.builtin.expressions.arguments import KeywordArgument
from liquid.builtin.expressions.filtered import Filter
from liquid.builtin.expressions.loop import LoopExpression
from liquid.builtin.expressions.primitive import Blank, Empty, RangeLiteral
from liquid.exceptions import FilterArgumentError
from liquid.expression import Expression
from liquid.extra import JSON


class LiquidEnvironment(Environment):
    """Strict about names and filters, limited in size, and with the same result in every process (pisano §10)."""

    loop_iteration_limit = 1_000  # a template loops over the fields of one object, and an object has fewer
    output_stream_limit = 512 * 1024  # bytes: Salesforce's longest text field holds 131,072 characters of up to four
    local_namespace_limit = 1024 * 1024  # bytes of assigned variables: room for two such texts

    def __init__(self) -> None:
        super().__init__(undefined=StrictDefaultUndefined, strict_filters=True, autoescape=False)
        self.add_filter("json", JSON())
        self.add_filter("date", _date)
        for tag in ("include", "render", "increment", "decrement"):  # there are no other templates, and no state
            del self.tags[tag]


class LiquidContext(RenderContext):
    """Looks up paths. A filter cannot turn a mapping or list into text: it would write it as Python does."""

    def get(self, *args: Any, **kwargs: Any) -> object:
        value = super().get(*args, **kwargs)
        return value if is_undefined(value) else _without_text(value)


def _without_text(value: Any) -> Any:
    match value:
        case dict():
            return _Mapping({name: _without_text(inner) for name, inner in value.items()})
        case list():
            return _List(map(_without_text, value))
        case _:
            return value


class _Mapping(dict[str, Any]):
    def __str__(self) -> str:
        raise TypeError("a mapping has no text")


class _List(list[Any]):
    def __str__(self) -> str:
        raise TypeError("a list has no text")


def _date(value: object, pattern: str) -> str:
    """Writes an ISO 8601 text, a time, or epoch seconds (as UTC) in a strftime pattern. Nil and "" stay empty."""
    if value is None or value == "":
        return ""
    if value in ("now", "today"):
        raise FilterArgumentError("the time of rendering differs at each replay; use event.committed_at", token=None)
    try:
        if isinstance(value, str) and not value.isdigit():
            value = datetime.fromisoformat(value)
        if isinstance(value, (str, int, float)):
            value = datetime.fromtimestamp(float(value), UTC)
        return value.strftime(pattern)  # type: ignore[attr-defined,no-any-return]
    except (AttributeError, TypeError, ValueError, OverflowError, OSError) as error:
        raise FilterArgumentError("date takes an ISO 8601 text or epoch seconds, and a pattern", token=None) from error


def is_undefined(value: object) -> bool:
    """Whether a name was missing. python-liquid's own test reads `__class__`, which a strict undefined refuses."""
    return issubclass(type(value), StrictDefaultUndefined)


def filter_mistake(used: Filter, filters: Mapping[str, Callable[..., object]]) -> str | None:
    """Why a filter cannot work as written (no such filter, or wrong arguments), or None."""
    if used.name not in filters:
        near = difflib.get_close_matches(used.name, filters, 1)
        return f"there is no filter {used.name}" + (f"; did you mean {near[0]}?" if near else "")
    function = filters[used.name]
    named = {argument.name for argument in used.args if isinstance(argument, KeywordArgument)}
    given = ("environment",) * getattr(function, "with_environment", 0) + ("context",) * getattr(
        function, "with_context", 0
    )
    positional = [None] * (1 + len(used.args) - len(named))
    try:
        inspect.signature(function).bind(*positional, **dict.fromkeys((*named, *given)))
    except TypeError:
        return f"the filter {used.name} does not take these arguments"
    return None


def filters_in(nodes: Iterable[Node], context: RenderContext) -> Iterator[Filter]:
    """Every use of a filter in a template."""
    for node in nodes:
        for expression in node.expressions():
            yield from getattr(expression, "filters", None) or ()
        yield from filters_in(node.children(context, include_partials=False), context)


def unbounded_ranges_in(nodes: Iterable[Node], context: RenderContext) -> Iterator[RangeLiteral]:
    """Every `(a..b)` outside `for` and `tablerow`. Only those keep the loop limit; a filter would fill the memory."""
    for node in nodes:
        for expression in node.expressions():
            if not isinstance(expression, LoopExpression):
                yield from _ranges_of(expression)
        yield from unbounded_ranges_in(node.children(context, include_partials=False), context)


def _ranges_of(expression: Expression) -> Iterator[RangeLiteral]:
    if isinstance(expression, RangeLiteral):
        yield expression
    for part in expression.children():
        yield from _ranges_of(part)


class KindMismatch(Exception):
    """Values of different kinds were compared, such as a text with a number."""


def holds(expression: Expression, context: RenderContext) -> bool:
    """Decide a condition from left to right, evaluating no more than needed.

    Nil (and so a missing name) compares as false with everything except nil and blank.

    Raises:
        KindMismatch: Two values of different kinds are compared: the condition would never hold.
    """
    match expression:
        case logical.BooleanExpression():
            return holds(expression.expression, context)
        case logical.LogicalAndExpression():
            return holds(expression.left, context) and holds(expression.right, context)
        case logical.LogicalOrExpression():
            return holds(expression.left, context) or holds(expression.right, context)
    compare = _COMPARISONS.get(type(expression))
    if compare is None:
        value = _value(expression, context)
        return value is not None and value is not False
    left, right = expression.children()
    return compare(_value(left, context), _value(right, context))


def _value(expression: Expression, context: RenderContext) -> object:
    value = expression.evaluate(context)
    return None if is_undefined(value) else value


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float, Decimal)):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return f"a {type(value).__name__}"


def _require_same_kind(left: object, right: object) -> None:
    if _kind(left) != _kind(right):
        raise KindMismatch(f"it compares {_kind(left)} with {_kind(right)}")


def _equal(left: object, right: object) -> bool:
    for literal, other in ((left, right), (right, left)):
        if isinstance(literal, Blank):
            return other is None or literal == other
        if isinstance(literal, Empty):
            return literal == other
    if left is None or right is None:
        return left is right
    _require_same_kind(left, right)
    return left == right


def _less(left: object, right: object) -> bool:
    if left is None or right is None or isinstance(left, (Blank, Empty)) or isinstance(right, (Blank, Empty)):
        return False
    _require_same_kind(left, right)
    try:
        return bool(left < right)  # type: ignore[operator]
    except TypeError:
        raise KindMismatch(f"it uses < or > on {_kind(left)}") from None


def _less_or_equal(left: object, right: object) -> bool:
    return _less(left, right) or (left is not None and _equal(left, right))


def _contains(left: object, right: object) -> bool:
    if left is None or right is None:
        return False
    if isinstance(left, str):
        return str(right) in left
    if isinstance(left, Collection) and not isinstance(left, Mapping):
        return right in left
    raise KindMismatch(f"it asks whether {_kind(left)} contains something")


_COMPARISONS: dict[type[Expression], Callable[[object, object], bool]] = {
    logical.EqExpression: _equal,
    logical.NeExpression: lambda left, right: not _equal(left, right),
    logical.ContainsExpression: _contains,
    logical.LtExpression: _less,
    logical.LeExpression: _less_or_equal,
    logical.GtExpression: lambda left, right: _less(right, left),
    logical.GeExpression: lambda left, right: _less_or_equal(right, left),
}
