"""Reads plain data that may be malformed."""

from typing import Any


def map_in(value: object, name: str | None = None) -> dict[str, Any]:
    """`value`, or its entry `name`, if that is a mapping; otherwise an empty mapping."""
    if name is not None:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def list_in(value: object) -> list[Any]:
    """`value` if it is a list; otherwise an empty list."""
    return value if isinstance(value, list) else []
