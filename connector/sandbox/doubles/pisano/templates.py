"""Liquid as Pisano's administrators write it: lenient and without escaping, like Ruby's Liquid (pisano §4)."""

from collections.abc import Callable, Mapping
from typing import Any

from liquid import Environment, Undefined
from liquid.exceptions import LiquidError

from connector.templates import STANDARD_FILTERS

# Of python-liquid or of later versions: Ruby's Liquid 5.4 does not have them (pisano §4 about `json`).
_NO_FILTERS = ("escapejs", "find", "find_index", "has", "reject", "safe", "squish", "sum")


class _Liquid(Environment):
    """Has the filters and tags of Ruby's Liquid 5.4, and limits, so that no template runs for ever."""

    loop_iteration_limit = 10_000
    output_stream_limit = 1_000_000  # bytes

    def __init__(self) -> None:
        super().__init__()
        for name in _NO_FILTERS:
            del self.filters[name]
        self.filters["h"] = self.filters["escape"]
        # python-liquid's own round 2.5 to 2, and write None for nothing in a list
        self.filters |= {name: _lenient(each) for name, each in STANDARD_FILTERS.items() if name in self.filters}
        del self.tags["doc"]


def _lenient(function: Callable[..., object]) -> Callable[..., object]:
    """The filter, which takes a missing name for nil."""

    def lenient(*values: object, **named: object) -> object:
        return function(*(None if isinstance(value, Undefined) else value for value in values), **named)

    return lenient


_LIQUID = _Liquid()


def check(template: str) -> str:
    """Returns the template.

    Raises:
        ValueError: It is not a Liquid template.
    """
    try:
        used = _LIQUID.from_string(template).filter_names()
    except LiquidError as error:
        raise ValueError(f"not a Liquid template: {_short(error)}") from None
    if unknown := sorted({*used} - _LIQUID.filters.keys()):
        raise ValueError(f"not a Liquid template: there is no filter {', '.join(unknown)}")
    return template


def render(template: str, variables: Mapping[str, Any]) -> str:
    """
    Raises:
        ValueError: The template fails on these variables.
    """
    try:
        return _LIQUID.from_string(template).render(**variables)
    except LiquidError as error:
        raise ValueError(_short(error)) from None


def _short(error: LiquidError) -> str:
    """The message without the lines that draw the position."""
    return str(error).partition("\n")[0]
