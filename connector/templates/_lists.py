"""The filters for lists, as in Ruby's Liquid 5.4; `find`, `find_index`, `has` and `reject` as in later versions."""

import string
from collections.abc import Callable, Iterable, Mapping
from functools import cmp_to_key
from typing import Any

from connector.templates._values import (
    WrongValueError,
    identity,
    is_undefined,
    items,
    kind,
    order,
    property_of,
    same,
    text,
    truthy,
)

_FOLDED = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def _size(value: object) -> int:
    return len(value) if isinstance(value, (str, list, tuple, Mapping)) else 0


def _default(value: object, other: object = "", *, allow_false: object = False) -> object:
    """`other` for nil, false, what is empty, and a name that is missing."""
    if is_undefined(value) or value is None or (value is False and not allow_false):
        return other
    return other if isinstance(value, (str, list, tuple, Mapping)) and not value else value


def _first(value: object) -> object:
    if isinstance(value, Mapping):
        return next(iter(value.items()), None)
    return value[0] if isinstance(value, (list, tuple)) and value else None


def _last(value: object) -> object:
    return value[-1] if isinstance(value, (list, tuple)) and value else None


def _join(value: object, glue: object = " ") -> str:
    return text(glue).join(map(text, items(value)))


def _concat(value: object, others: object) -> list[object]:
    if not isinstance(others, (list, tuple)):
        raise WrongValueError(f"the argument is {kind(others)}; a list is wanted")
    return items(value) + list(others)


def _reverse(value: object) -> list[object]:
    return items(value)[::-1]


def _map(value: object, name: object) -> list[object]:
    return [
        None if item is None or isinstance(item, (bool, float)) else property_of(item, name) for item in items(value)
    ]


def _compact(value: object, name: object = None) -> list[object]:
    return [item for item in items(value) if (item if name is None else property_of(item, name)) is not None]


def _uniq(value: object, name: object = None) -> list[object]:
    kept: dict[object, object] = {}
    for item in items(value):
        kept.setdefault(identity(item if name is None else property_of(item, name)), item)
    return list(kept.values())


def _chooses(name: object, wanted: object) -> Callable[[object], bool]:
    """Whether an item's property is `wanted`, or is neither nil nor false if nothing is wanted."""
    if wanted is None:
        return lambda item: truthy(property_of(item, name))
    return lambda item: same(property_of(item, name), wanted)


def _where(value: object, name: object, wanted: object = None) -> list[object]:
    return list(filter(_chooses(name, wanted), items(value)))


def _reject(value: object, name: object, wanted: object = None) -> list[object]:
    chosen = _chooses(name, wanted)
    return [item for item in items(value) if not chosen(item)]


def _find(value: object, name: object, wanted: object = None) -> object:
    return next(iter(_where(value, name, wanted)), None)


def _find_index(value: object, name: object, wanted: object = None) -> int | None:
    chosen = _chooses(name, wanted)
    return next((index for index, item in enumerate(items(value)) if chosen(item)), None)


def _has(value: object, name: object, wanted: object = None) -> bool:
    return bool(_where(value, name, wanted))


def _sort(value: object, name: object = None) -> list[object]:
    return _sorted(items(value), name, order)


def _sort_natural(value: object, name: object = None) -> list[object]:
    """Without regard to capitals, for the letters from A to Z only, as in Ruby."""
    return _sorted(items(value), name, lambda left, right: order(_folded(left), _folded(right)))


def _folded(value: object) -> str:
    return text(value).translate(_FOLDED)


def _sorted(found: Iterable[Any], name: object, compare: Callable[[Any, Any], int | None]) -> list[object]:
    """Nil comes last."""

    def by(left: tuple[object, object], right: tuple[object, object]) -> int:
        if left[0] is None or right[0] is None:
            return int(left[0] is None) - int(right[0] is None)
        found = compare(left[0], right[0])
        if found is None:
            raise WrongValueError("values of different kinds cannot be sorted")
        return found

    keyed = [(item if name is None else property_of(item, name), item) for item in found]
    return [item for _, item in sorted(keyed, key=cmp_to_key(by))]


FILTERS: dict[str, Callable[..., object]] = {
    "compact": _compact,
    "concat": _concat,
    "default": _default,
    "find": _find,
    "find_index": _find_index,
    "first": _first,
    "has": _has,
    "join": _join,
    "last": _last,
    "map": _map,
    "reject": _reject,
    "reverse": _reverse,
    "size": _size,
    "sort": _sort,
    "sort_natural": _sort_natural,
    "uniq": _uniq,
    "where": _where,
}
