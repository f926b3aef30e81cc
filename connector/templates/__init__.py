"""Templates and conditions: the Liquid in a configuration, compiled when the configuration is read.

A template renders to one scalar. Our code builds JSON from scalars; a template never does (pisano §10). A condition is
the text between `{% if` and `%}`. Both know which variables they name. So we find a misspelt name before a record
arrives, and read only the fields that are named.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple, Self

from liquid import BoundTemplate
from liquid.builtin.expressions import BooleanExpression, tokenize
from liquid.builtin.output import OutputNode
from liquid.exceptions import LiquidError
from liquid.stream import TokenStream
from liquid.token import TOKEN_EXPRESSION, Token
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from connector.errors import Fatal, Rejected
from connector.templates._conditions import holds
from connector.templates._liquid import (
    LiquidContext,
    LiquidEnvironment,
    correct,
    filter_mistake,
    filters_in,
    unbounded_ranges_in,
)
from connector.templates._paths import LongWay, follow, keys_of
from connector.templates._values import WrongValueError, is_undefined, kind

Scalar = str | int | float | bool | Decimal

_ENVIRONMENT = LiquidEnvironment()  # immutable after construction

PROPERTIES = frozenset({"size", "first", "last"})  # what Liquid itself offers on texts and lists

_PLAIN_WORDS = (  # what python-liquid says, and a plainer text
    ("unexpected tag", "this tag is not known here"),
    ("found '='", "equality is written =="),
    ("disallowed parentheses", "Liquid has no parentheses; `and` and `or` are read from right to left"),
    ("disallowed not", "Liquid has no `not`; use != or == false"),
    ("expected '}}'", "the {{ is not closed by }}"),
    ("expected '%}'", "the {% is not closed by %}"),
    ("expected tag", "a block is not closed"),
    ("found end of expression", "something is missing at the end"),
)


class TemplateError(Fatal, ValueError):
    """A template or condition that is not Liquid. `line` and `column` count from 1 within its text."""

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(reason)
        self.line, self.column = line, column


class RenderError(Rejected):
    """This record cannot be rendered: a name is missing or a value has the wrong kind. The message holds no values."""


class Unread(Exception):
    """A scope's mapping raises this for a field that is not known yet. `render` and `holds` let it through."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class VariablePath(NamedTuple):
    """A variable in a text, such as ("record", "ContactId"), and its place (from 1). A computed part is None."""

    parts: tuple[str | int | None, ...]
    line: int
    column: int

    @property
    def field(self) -> str:
        """What follows the first name, without what Liquid has for every value: `A.Name` of `c.A.Name.size`."""
        parts = list(self.parts[1:])
        while len(parts) > 1 and (not isinstance(parts[-1], str) or parts[-1] in PROPERTIES):
            del parts[-1]
        return ".".join(map(str, parts))

    def __str__(self) -> str:
        return ".".join("…" if part is None else str(part) for part in self.parts)


class _Liquid:
    """What templates and conditions have in common."""

    source: str
    _compiled: BoundTemplate
    _paths: tuple[VariablePath, ...]

    def paths(self) -> list[VariablePath]:
        """Every variable in the text, in order. A variable that occurs twice is listed twice."""
        return list(self._paths)

    def fields(self, root: str) -> frozenset[str]:
        """The fields that follow `root`: for `{{ record.A }} {{ record.B.C }}` and the root "record", A and B.C."""
        return frozenset(path.field for path in self._paths if len(path.parts) > 1 and path.parts[0] == root)

    def _analyse(self) -> None:
        for used in filters_in(self._compiled.nodes, self._context({})):
            if reason := filter_mistake(used, _ENVIRONMENT.filters):
                raise TemplateError(reason, *_position(self.source, used.token.start_index))
        for literal in unbounded_ranges_in(self._compiled.nodes, self._context({})):
            place = _position(self.source, literal.token.start_index)
            raise TemplateError(f"a range such as {literal} is for loops only", *place)
        analysis = self._compiled.analyze(include_partials=False)
        found = [(variable.span.index, variable.segments) for group in analysis.globals.values() for variable in group]
        self._paths = tuple(
            VariablePath(tuple(None if isinstance(s, list) else s for s in segments), *_position(self.source, index))
            for index, segments in sorted(found, key=lambda item: item[0])
        )

    def _context(self, scope: Mapping[str, Any]) -> LiquidContext:
        return LiquidContext(self._compiled, scope)

    def __str__(self) -> str:
        return self.source

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.source!r})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and repr(other) == repr(self)

    def __hash__(self) -> int:
        return hash(repr(self))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def _validate(cls, value: object) -> Self:
        raise NotImplementedError


class Template(_Liquid):
    """A template for one scalar. A number, true or false is a constant, and so is a text without Liquid."""

    def __init__(self, source: Scalar) -> None:
        """Compile.

        Raises:
            TemplateError: Not Liquid, an unknown filter, or a constant expression that fails.
        """
        self.source = str(source)
        self._constant = None if isinstance(source, str) else source
        with _syntax_errors(self.source):
            self._compiled = _ENVIRONMENT.from_string(self.source)
            self._analyse()
            correct(self._compiled.nodes, self._context({}))
        self._keys = keys_of(self._compiled.nodes)
        if not self._paths:
            try:
                self.render({})
            except RenderError as error:
                raise TemplateError(str(error), 1, 1) from error

    def render(self, scope: Mapping[str, Any]) -> Scalar | None:
        """One scalar. `{{ one.output }}` alone keeps its type, anything else is text; a blank text is None.
        A number is a Decimal exactly when a float would write it differently, such as 9.50.

        Raises:
            RenderError: A name is not in `scope`, a filter refuses a value, or the result is not a scalar.
            Unread: `scope` raised it.
        """
        return self._scalar(self._value(scope))

    def render_all(self, scope: Mapping[str, Any]) -> list[Scalar]:
        """As `render`, for a template that may give a list: its scalars without those that are empty."""
        value = self._value(scope)
        each = [self._scalar(item) for item in (value if isinstance(value, (list, tuple)) else [value])]
        return [item for item in each if item is not None]

    def _value(self, scope: Mapping[str, Any]) -> object:
        if self._constant is not None:
            return self._constant
        if self._keys:
            with suppress(LongWay):
                return follow(scope, self._keys)
        context = self._context(scope)
        try:
            match self._compiled.nodes:
                case [OutputNode(expression=expression)]:
                    return expression.evaluate(context)
                case _:
                    buffer = context.get_buffer()
                    self._compiled.render_with_context(context, buffer)
                    return buffer.getvalue()
        except LiquidError as error:
            raise RenderError(f"the template {self.source} cannot be rendered: {error.message}") from error
        except WrongValueError as error:
            raise RenderError(
                f"the template {self.source} cannot be rendered: a value is of the wrong kind: {error}"
            ) from error
        except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
            raise RenderError(f"the template {self.source} cannot be rendered: a value is of the wrong kind") from error

    def _scalar(self, value: object) -> Scalar | None:
        if is_undefined(value):
            raise RenderError(f"the template {self.source} cannot be rendered: {value.msg}")  # type: ignore[attr-defined]
        match value:
            case str():
                return str(value) if value.strip() else None
            case date():
                return value.isoformat()
            case Decimal() if value.is_finite():
                return float(value) if str(value) == repr(float(value)) else value
            case None | bool() | int():
                return value
            case float() if math.isfinite(value):
                return value
        raise RenderError(f"the template {self.source} gives {kind(value)}; a text or number is wanted")

    @classmethod
    def _validate(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, (str, int, float, bool)):
            raise ValueError("a template is a text, a number, true or false")  # noqa: TRY004 - for pydantic
        return cls(value)

    def __repr__(self) -> str:
        return f"Template({self.source if self._constant is not None else repr(self.source)})"


class Condition(_Liquid):
    """A Liquid condition, such as `changed contains "Status" and record.Status == "Closed"`."""

    def __init__(self, source: str) -> None:
        """Compile.

        Raises:
            TemplateError: Not a Liquid condition.
        """
        self.source = source
        token = Token(TOKEN_EXPRESSION, source, 0, source)
        with _syntax_errors(source):
            self._expression = BooleanExpression.parse(_ENVIRONMENT, TokenStream(tokenize(source, token)))
            self._compiled = BoundTemplate(_ENVIRONMENT, [OutputNode(token, self._expression)])
            self._analyse()

    def holds(self, scope: Mapping[str, Any]) -> bool:
        """Decide from left to right, reading no more of `scope` than needed. A missing name is nil.

        Raises:
            RenderError: The condition compares different kinds, such as a text with a number, so it would never hold;
                or a value is too large or nested too deep.
            Unread: `scope` raised it.
        """
        try:
            return holds(self._expression, self._context(scope), strict=True)
        except WrongValueError as error:
            raise RenderError(f"the condition {self.source} cannot be decided: {error}") from error
        except LiquidError as error:
            raise RenderError(f"the condition {self.source} cannot be decided: {error.message}") from error
        except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
            raise RenderError(f"the condition {self.source} cannot be decided: a value is of the wrong kind") from error

    @classmethod
    def _validate(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError('a condition is a text such as record.Status == "Closed"')  # noqa: TRY004 - for pydantic
        return cls(value)


def _position(source: str, index: int) -> tuple[int, int]:
    """Line and column, from 1, of an index in `source`. A negative index means the end."""
    before = source if index < 0 else source[:index]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


@contextmanager
def _syntax_errors(source: str) -> Iterator[None]:
    """Turns what python-liquid raises while it parses into TemplateError."""
    try:
        yield
    except TemplateError:
        raise
    except (LiquidError, ValueError, RecursionError) as error:
        said = str(error.message) if isinstance(error, LiquidError) else "it is not Liquid"
        index = error.token.start_index if isinstance(error, LiquidError) and error.token else -1
        reason = next((f"{words} ({said})" for sign, words in _PLAIN_WORDS if sign in said), said)
        raise TemplateError(reason, *_position(source, index)) from error
