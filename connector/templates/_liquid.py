"""Our Liquid: python-liquid's syntax and tags, with our filters, conditions and output."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import StringIO
from typing import Any, TextIO, TypeVar

from liquid import BoundTemplate, Environment, RenderContext, StrictDefaultUndefined
from liquid.ast import ConditionalBlockNode, Node
from liquid.builtin.expressions import BooleanExpression, Nil
from liquid.builtin.expressions.arguments import KeywordArgument
from liquid.builtin.expressions.filtered import Filter
from liquid.builtin.expressions.loop import LoopExpression
from liquid.builtin.expressions.primitive import Blank, Empty, Literal, RangeLiteral
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.capture_tag import CaptureNode
from liquid.builtin.tags.case_tag import MultiExpressionBlockNode
from liquid.builtin.tags.cycle_tag import CycleNode, CycleTag
from liquid.builtin.tags.echo_tag import EchoTag
from liquid.builtin.tags.for_tag import BreakNode, BreakTag, ContinueNode, ContinueTag, ForNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.builtin.tags.tablerow_tag import TablerowNode
from liquid.builtin.tags.unless_tag import UnlessNode
from liquid.exceptions import FilterArgumentError
from liquid.expression import Expression
from liquid.output import LimitedStringIO
from liquid.stream import TokenStream
from liquid.token import Token
from liquid.undefined import UNDEFINED
from liquid.utils import ReadOnlyChainMap

from connector.templates import _dates, _formats, _lists, _numbers, _texts
from connector.templates._conditions import AnyOf, Decided
from connector.templates._values import WrongValueError, is_undefined, output

SomeNode = TypeVar("SomeNode", bound=Node)

STANDARD_FILTERS: dict[str, Callable[..., object]] = {**_texts.FILTERS, **_numbers.FILTERS, **_lists.FILTERS}
_OURS: dict[str, Callable[..., object]] = {**_dates.FILTERS, **_formats.FILTERS}
_FILTERS: dict[str, Callable[..., object]] = {**STANDARD_FILTERS, **_OURS}


class LiquidEnvironment(Environment):
    """Strict about names and filters, limited in size, and with the same result in every process (pisano §10)."""

    loop_iteration_limit = 1_000  # a template loops over the fields of one object, and an object has fewer
    output_stream_limit = 512 * 1024  # bytes: Salesforce's longest text field holds 131,072 characters of up to four
    local_namespace_limit = 1024 * 1024  # bytes of assigned variables: room for two such texts

    def __init__(self) -> None:
        super().__init__(undefined=StrictDefaultUndefined, strict_filters=True, autoescape=False)
        self.filters = {name: _checked(name, function) for name, function in _FILTERS.items()}
        for tag in ("include", "render", "increment", "decrement"):  # there are no other templates, and no state
            del self.tags[tag]
        for tag_class in (_Output, _Echo, _Cycle, _Break, _Continue):
            self.add_tag(tag_class)


class LiquidContext(RenderContext):
    """Names are what the scope holds: `now` and `today`, which python-liquid adds, differ at each replay."""

    def __init__(self, template: BoundTemplate, scope: Mapping[str, object]) -> None:
        super().__init__(template, globals=scope)
        self.scope = ReadOnlyChainMap(self.locals, self.globals)

    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> object:
        """As python-liquid's, but what stands under nil is nil, as in Ruby, and the message about a missing name holds
        no values.
        """
        root, *keys = path
        tried = [root]
        try:
            found: object = self.scope[root]  # type: ignore[index] # a computed root may be no text
            for key in keys:
                if found is None:
                    return None
                tried.append(key)
                found = self.get_item(found, key)
        except (KeyError, TypeError, IndexError):
            if default is not UNDEFINED:
                return default
            name = _name(tried, token.source if token else "")
            return self.env.undefined(name, hint=f"{name} is undefined", token=token)
        return found

    def get_buffer(self, buf: TextIO | None = None) -> StringIO:
        """As python-liquid's, but a line break of two characters stays one."""
        written = buf.size if isinstance(buf, LimitedStringIO) else 0
        return LimitedStringIO(LiquidEnvironment.output_stream_limit - written, newline="")


class _OutputNode(OutputNode):
    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        return buffer.write(_written(self.expression.evaluate(context)))


class _Output(Output):
    node_class = _OutputNode


class _Echo(EchoTag):
    node_class = _OutputNode  # type: ignore[assignment]


class _CycleNode(CycleNode):
    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        values = [value.evaluate(context) for value in self.args]
        group = ", ".join(map(str, self.args)) if self.group is None else _written(self.group.evaluate(context))
        return buffer.write(_written(values[context.cycle(group, len(values))]))


class _Cycle(CycleTag):
    node_class = _CycleNode


class _Break(BreakTag):
    def parse(self, stream: TokenStream) -> BreakNode:
        return _no_white_space(super().parse(stream))


class _Continue(ContinueTag):
    def parse(self, stream: TokenStream) -> ContinueNode:
        return _no_white_space(super().parse(stream))


def _no_white_space(node: SomeNode) -> SomeNode:
    """The node, which is no white space: so that beside it counts, as in Ruby."""
    node.blank = False
    return node


class _Loop(LoopExpression):
    """Takes a limit of 0 or less as no item, and a text as one item whatever the limit. python-liquid does neither."""

    def __init__(self, loop: LoopExpression) -> None:
        super().__init__(
            loop.token,
            loop.identifier,
            loop.iterable,
            limit=loop.limit,
            offset=loop.offset,
            reversed_=loop.reversed,
            cols=loop.cols,
        )

    def evaluate(self, context: RenderContext) -> tuple[Iterator[object], int]:
        value = self.iterable.evaluate(context)
        if isinstance(value, str):
            return iter([value] if value else []), len(value[:1])
        limit = 1 if self.limit is None else self._to_int(self.limit.evaluate(context), token=self.limit.token)
        return super().evaluate(context) if limit > 0 else (iter(()), 0)


def _name(path: Iterable[object], source: str) -> str:
    """A path for a message. A part that the template does not hold is a value, maybe a customer's, and is not shown."""
    return ".".join(part if isinstance(part, str) and part in source else "…" for part in path)


def _written(value: object) -> str:
    return str(value) if is_undefined(value) else output(value)  # str() of a missing name raises


def _checked(name: str, function: Callable[..., object]) -> Callable[..., object]:
    """The filter, with errors that name it. A missing name is only for `default`."""

    @functools.wraps(function)
    def checked(value: object, *arguments: object, **named: object) -> object:
        for given in (value, *arguments, *named.values()):
            if is_undefined(given) and name != "default":
                str(given)  # raises
        try:
            return function("" if type(value) in {Blank, Empty} else value, *arguments, **named)
        except WrongValueError as error:
            raise FilterArgumentError(f"{name}: {error}", token=None) from error

    return checked


def expressions_in(nodes: Iterable[Node], context: RenderContext) -> Iterator[Expression]:
    """Every expression of a template, without the expressions in it."""
    for node in nodes:
        yield from node.expressions()
        yield from expressions_in(node.children(context, include_partials=False), context)


def correct(nodes: Iterable[Node], context: RenderContext) -> None:
    """Puts our comparisons into a template's `if`, `unless` and `case`, and our limit into its loops. White space in a
    block counts as in Ruby: it is dropped if all blocks of its tag hold nothing else, and never in `capture`.
    """
    for node in nodes:
        if isinstance(node, (IfNode, UnlessNode, ForNode)):
            for block in node.children(context, include_partials=False):
                held = block.block if isinstance(block, ConditionalBlockNode) else block
                held.blank = node.blank
        if isinstance(node, (ForNode, TablerowNode)):
            node.expression = _Loop(node.expression)
        if isinstance(node, CaptureNode):
            node.block.blank = False
        if isinstance(node, MultiExpressionBlockNode):
            node.expression = AnyOf(node.expression.left, node.expression.expressions)  # type: ignore[assignment]
        for expression in node.expressions():
            if isinstance(expression, BooleanExpression):
                expression.expression = Decided(expression.expression)
        correct(node.children(context, include_partials=False), context)


def filter_mistake(used: Filter, filters: Mapping[str, Callable[..., object]]) -> str | None:
    """Why a filter cannot work as written (no such filter, or wrong arguments), or None."""
    if used.name not in filters:
        near = difflib.get_close_matches(used.name, filters, 1)
        return f"there is no filter {used.name}" + (f"; did you mean {near[0]}?" if near else "")
    named = {argument.name: argument.value for argument in used.args if isinstance(argument, KeywordArgument)}
    positional = [argument.value for argument in used.args if not isinstance(argument, KeywordArgument)]
    try:
        inspect.signature(filters[used.name]).bind(None, *positional, **named)
    except TypeError:
        return f"the filter {used.name} does not take these arguments"
    return _constant_mistake(filters[used.name], positional, named) if used.name in _OURS else None


def _constant_mistake(
    function: Callable[..., object], positional: Iterable[Expression], named: Mapping[str, Expression]
) -> str | None:
    """What one of our filters says to constant arguments, such as a time zone that does not exist. Each takes nil."""
    try:
        function(None, *map(_constant, positional), **{name: _constant(value) for name, value in named.items()})
    except FilterArgumentError as error:
        return str(error.message)
    except LookupError:
        return None
    return None


def _constant(expression: Expression) -> Any:
    if isinstance(expression, Nil):
        return None
    if not isinstance(expression, Literal):
        raise LookupError  # noqa: TRY004 - it is a name, to be looked up
    return expression.value


def filters_in(nodes: Iterable[Node], context: RenderContext) -> Iterator[Filter]:
    """Every use of a filter in a template."""
    for expression in expressions_in(nodes, context):
        yield from getattr(expression, "filters", None) or ()


def unbounded_ranges_in(nodes: Iterable[Node], context: RenderContext) -> Iterator[RangeLiteral]:
    """Every `(a..b)` outside `for` and `tablerow`. Only those keep the loop limit; a filter would fill the memory."""
    for expression in expressions_in(nodes, context):
        if not isinstance(expression, LoopExpression):
            yield from _ranges_of(expression)


def _ranges_of(expression: Expression) -> Iterator[RangeLiteral]:
    if isinstance(expression, RangeLiteral):
        yield expression
    for part in expression.children():
        yield from _ranges_of(part)
