"""Liquid as Pisano's administrators write it: lenient and without escaping, like Ruby's Liquid (pisano §4)."""

from collections.abc import Mapping
from typing import Any

from liquid import Environment
from liquid.exceptions import LiquidError


class _Liquid(Environment):
    """Has limits, so that no template runs for ever."""

    loop_iteration_limit = 10_000
    output_stream_limit = 1_000_000  # bytes


_LIQUID = _Liquid()


def check(template: str) -> str:
    """Returns the template.

    Raises:
        ValueError: It is not a Liquid template.
    """
    try:
        _LIQUID.from_string(template)
    except LiquidError as error:
        raise ValueError(f"not a Liquid template: {_short(error)}") from None
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
