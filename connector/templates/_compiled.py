"""What templates and conditions have in common: the variables that a text names, and the errors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

from liquid import BoundTemplate
from liquid.exceptions import LiquidError
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from connector.errors import Fatal, Rejected
from connector.masking import mask_value
from connector.templates._liquid import (
    LiquidContext,
    LiquidEnvironment,
    filter_mistake,
    filters_in,
    unbounded_ranges_in,
)
from connector.templates._values import Unread, kind

_MOST_VALUES = 3  # that an error shows

ENVIRONMENT = LiquidEnvironment()  # immutable after construction

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


def _shown(scope: Mapping[str, Any], path: VariablePath) -> str:
    value: Any = scope
    try:
        for part in path.parts:
            value = value[part] if part is not None else None
    except (LookupError, TypeError):
        return "missing"
    except Unread:
        return "not read"
    return f"{kind(value)} {mask_value(value)}" if isinstance(value, str) else kind(value)


class Compiled:
    """What templates and conditions have in common."""

    source: str
    place: str = ""  # where it stands in the configuration's file, such as "line 12, column 5", once that is known
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
            if reason := filter_mistake(used, ENVIRONMENT.filters):
                raise TemplateError(reason, *position(self.source, used.token.start_index))
        for literal in unbounded_ranges_in(self._compiled.nodes, self._context({})):
            place = position(self.source, literal.token.start_index)
            raise TemplateError(f"a range such as {literal} is for loops only", *place)
        analysis = self._compiled.analyze(include_partials=False)
        found = [(variable.span.index, variable.segments) for group in analysis.globals.values() for variable in group]
        self._paths = tuple(
            VariablePath(tuple(None if isinstance(s, list) else s for s in segments), *position(self.source, index))
            for index, segments in sorted(found, key=lambda item: item[0])
        )

    def _failed(self, noun: str, error: "RenderError", scope: Mapping[str, Any]) -> "RenderError":
        """The error with the template, its place, and the values that it names, masked."""
        at = f" ({self.place})" if self.place else ""
        values = [f"{'.'.join(map(str, path.parts))} is {_shown(scope, path)}" for path in self._paths[:_MOST_VALUES]]
        behind = f" ({'; '.join(dict.fromkeys(values))})" if values else ""
        return RenderError(f"the {noun} {self.source}{at} {error}{behind}")

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


def position(source: str, index: int) -> tuple[int, int]:
    """Line and column, from 1, of an index in `source`. A negative index means the end."""
    before = source if index < 0 else source[:index]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


@contextmanager
def syntax_errors(source: str) -> Iterator[None]:
    """Turns what python-liquid raises while it parses into TemplateError."""
    try:
        yield
    except TemplateError:
        raise
    except (LiquidError, ValueError, RecursionError) as error:
        said = str(error.message) if isinstance(error, LiquidError) else "it is not Liquid"
        index = error.token.start_index if isinstance(error, LiquidError) and error.token else -1
        reason = next((f"{words} ({said})" for sign, words in _PLAIN_WORDS if sign in said), said)
        raise TemplateError(reason, *position(source, index)) from error
