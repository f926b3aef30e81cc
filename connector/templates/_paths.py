"""The short way to the value of `{{ one.name }}`, which most templates are."""

from collections.abc import Mapping, Sequence
from typing import Any

from liquid.ast import Node
from liquid.builtin.expressions.filtered import FilteredExpression
from liquid.builtin.expressions.path import Path
from liquid.builtin.output import OutputNode

from connector.templates._compiled import PROPERTIES


class LongWay(Exception):
    """python-liquid must find the value, or say why there is none."""


def keys_of(nodes: Sequence[Node]) -> tuple[str, ...]:
    """The keys of a template that is one name and nothing else; empty for any other template."""
    match nodes:
        case [OutputNode(expression=FilteredExpression(left=Path(path=keys), filters=None | []))]:
            plain = all(isinstance(key, str) and key not in PROPERTIES for key in keys)
            return tuple(map(str, keys)) if plain else ()
    return ()


def follow(scope: Mapping[str, Any], keys: Sequence[str]) -> object:
    """The value that the keys lead to, one inside the other.

    Raises:
        LongWay: They do not lead through mappings alone.
    """
    found: Any = scope
    for key in keys:
        if found is not scope and not isinstance(found, dict):
            raise LongWay
        try:
            found = found[key]
        except KeyError:
            raise LongWay from None
    return found
