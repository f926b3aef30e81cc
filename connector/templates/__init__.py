"""Templates and conditions: the Liquid in a configuration, compiled when the configuration is read.

A template renders to one scalar. Our code builds JSON from scalars; a template never does (pisano §10). A condition is
the text between `{% if` and `%}`. Both know which variables they name. So we find a misspelt name before a record
arrives, and read only the fields that are named.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any, Self

from liquid import BoundTemplate, RenderContext
from liquid.builtin.expressions import BooleanExpression, tokenize
from liquid.builtin.output import OutputNode
from liquid.exceptions import LiquidError
from liquid.expression import Expression
from liquid.stream import TokenStream
from liquid.token import TOKEN_AND, TOKEN_EXPRESSION, TOKEN_OR, Token

from connector.templates._compiled import (
    ENVIRONMENT,
    PROPERTIES,
    Compiled,
    RenderError,
    TemplateError,
    VariablePath,
    syntax_errors,
)
from connector.templates._conditions import holds, may_hold
from connector.templates._constant import Choose, verdict
from connector.templates._liquid import STANDARD_FILTERS, correct
from connector.templates._short import FAILURES, short_condition, short_output
from connector.templates._values import Unread, Values, WrongValueError, is_undefined, kind

__all__ = [
    "PROPERTIES",
    "STANDARD_FILTERS",
    "Compiled",
    "Condition",
    "RenderError",
    "Scalar",
    "Template",
    "TemplateError",
    "Unread",
    "Values",
    "VariablePath",
]

Scalar = str | int | float | bool | Decimal


class Template(Compiled):
    """A template for one scalar. A number, true or false is a constant, and so is a text without Liquid."""

    def __init__(self, source: Scalar) -> None:
        """Compile.

        Raises:
            TemplateError: Not Liquid, an unknown filter, or a constant expression that fails.
        """
        self.source = str(source)
        self._constant = None if isinstance(source, str) else source
        with syntax_errors(self.source):
            self._compiled = ENVIRONMENT.from_string(self.source)
            self._analyse()
            correct(self._compiled.nodes, self._context({}))
        self._short = short_output(self._compiled.nodes)
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
        try:
            return self._scalar(self._value(scope))
        except RenderError as error:
            raise self._failed("template", error, scope) from error

    def render_all(self, scope: Mapping[str, Any]) -> list[Scalar]:
        """As `render`, for a template that may give a list: its scalars without those that are empty."""
        try:
            value = self._value(scope)
            each = [self._scalar(item) for item in (value if isinstance(value, (list, tuple)) else [value])]
        except RenderError as error:
            raise self._failed("template", error, scope) from error
        return [item for item in each if item is not None]

    def _value(self, scope: Mapping[str, Any]) -> object:
        if self._constant is not None:
            return self._constant
        if self._short:
            with suppress(*FAILURES):
                return self._short(scope)
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
            raise RenderError(f"cannot be rendered: {error.message}") from error
        except WrongValueError as error:
            raise RenderError(f"cannot be rendered: a value is of the wrong kind: {error}") from error
        except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
            raise RenderError("cannot be rendered: a value is of the wrong kind") from error

    def _scalar(self, value: object) -> Scalar | None:
        if is_undefined(value):
            raise RenderError(f"cannot be rendered: {value.msg}")  # type: ignore[attr-defined]
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
        raise RenderError(f"gives {kind(value)}; a text or number is wanted")

    @classmethod
    def _validate(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, (str, int, float, bool)):
            raise ValueError("a template is a text, a number, true or false")  # noqa: TRY004 - for pydantic
        return cls(value)

    def __repr__(self) -> str:
        return f"Template({self.source if self._constant is not None else repr(self.source)})"


class Condition(Compiled):
    """A Liquid condition, such as `changed contains "Status" and record.Status == "Closed"`."""

    def __init__(self, source: str) -> None:
        """Compile.

        Raises:
            TemplateError: Not a Liquid condition.
        """
        self.source = source
        token = Token(TOKEN_EXPRESSION, source, 0, source)
        with syntax_errors(source):
            self._expression = BooleanExpression.parse(ENVIRONMENT, TokenStream(tokenize(source, token)))
            self._compiled = BoundTemplate(ENVIRONMENT, [OutputNode(token, self._expression)])
            self._analyse()
        self._short = short_condition(self._expression)

    def holds(self, scope: Mapping[str, Any]) -> bool:
        """Decide from left to right, reading no more of `scope` than needed. A missing name is nil.

        Raises:
            RenderError: The condition compares different kinds, such as a text with a number, so it would never hold;
                or a value is too large or nested too deep.
            Unread: `scope` raised it.
        """
        with suppress(*FAILURES):
            return bool(self._short(scope))
        return self._decided(scope, partial(holds, strict=True))

    def may_hold(self, scope: Mapping[str, Any]) -> bool:
        """False when the condition does not hold, whatever the values are for which `scope` raises Unread.

        Raises:
            RenderError: As `holds` does.
        """
        return self._decided(scope, may_hold)

    def _decided(self, scope: Mapping[str, Any], decide: Callable[[Expression, RenderContext], bool]) -> bool:
        try:
            return decide(self._expression, self._context(scope))
        except WrongValueError as error:
            failed = RenderError(f"cannot be decided: {error}")
        except LiquidError as error:
            failed = RenderError(f"cannot be decided: {error.message}")
        except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError):
            failed = RenderError("cannot be decided: a value is of the wrong kind")
        raise self._failed("condition", failed, scope)

    def verdict(self, choose: Choose = lambda _, values: values) -> bool | None:
        """True if the condition always holds, False if it never does, None if it depends or we cannot tell.

        `choose` gets the name of a variable and the values that would be tried for it, and returns those to try.
        """
        return verdict(self._expression.expression, self.holds, choose)

    def comparisons(self) -> "list[Condition]":
        """The parts between `and` and `or`, from left to right, for a person who asks why the condition holds."""
        tokens = tokenize(self.source, Token(TOKEN_EXPRESSION, self.source, 0, self.source))
        words = [token for token in tokens if token.kind in {TOKEN_AND, TOKEN_OR}]
        starts = [0, *(word.start_index + len(word.value) for word in words)]
        ends = [*(word.start_index for word in words), len(self.source)]
        return [Condition(self.source[start:end].strip()) for start, end in zip(starts, ends, strict=True)]

    @classmethod
    def _validate(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError('a condition is a text such as record.Status == "Closed"')  # noqa: TRY004 - for pydantic
        return cls(value)
