"""The filters for numbers. They are exact on decimals and round half away from zero, as Ruby's Liquid does."""

import operator
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal

from connector.templates._values import (
    Number,
    calculate,
    items,
    number,
    plain,
    property_of,
    quotient,
    remainder,
)


def _abs(value: object) -> Number:
    return calculate(abs, value)


def _plus(value: object, other: object) -> Number:
    return calculate(operator.add, value, other)


def _minus(value: object, other: object) -> Number:
    return calculate(operator.sub, value, other)


def _times(value: object, other: object) -> Number:
    return calculate(operator.mul, value, other)


def _divided_by(value: object, other: object) -> Number:
    return calculate(quotient, value, other)


def _modulo(value: object, other: object) -> Number:
    return calculate(remainder, value, other)


def _at_least(value: object, least: object) -> Number:
    return plain(max(number(value), number(least)))


def _at_most(value: object, most: object) -> Number:
    return plain(min(number(value), number(most)))


def _whole(value: object, rounding: str) -> int:
    exact = number(value)
    return exact if isinstance(exact, int) else int(exact.to_integral_value(rounding))


def _ceil(value: object) -> int:
    return _whole(value, ROUND_CEILING)


def _floor(value: object) -> int:
    return _whole(value, ROUND_FLOOR)


def _round(value: object, places: object = 0) -> Number:
    """Rounds to that many places after the point; before the point if `places` is negative."""
    digits = int(number(places))
    if digits == 0:
        return _whole(value, ROUND_HALF_UP)
    if digits > 0 and isinstance(number(value), int):
        return number(value)
    unit = Decimal(1).scaleb(-digits)
    rounded = calculate(lambda exact: (exact / unit).to_integral_value() * unit, value)
    return rounded if digits > 0 else int(rounded)


def _sum(value: object, name: object = None) -> Number:
    parts = [0, *(item if name is None else property_of(item, name) for item in items(value))]
    return calculate(lambda *numbers: sum(numbers), *parts)


FILTERS: dict[str, Callable[..., object]] = {
    "abs": _abs,
    "at_least": _at_least,
    "at_most": _at_most,
    "ceil": _ceil,
    "divided_by": _divided_by,
    "floor": _floor,
    "minus": _minus,
    "modulo": _modulo,
    "plus": _plus,
    "round": _round,
    "sum": _sum,
    "times": _times,
}
