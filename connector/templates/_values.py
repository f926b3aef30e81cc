"""How values become texts, numbers and lists, and how they compare: as in Ruby's Liquid 5.4 (docs/liquid.md)."""

import math
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, localcontext
from functools import lru_cache
from typing import Any

from liquid import StrictDefaultUndefined
from liquid.builtin.expressions.primitive import Blank, Empty

Number = int | float | Decimal

SPACE = "\t\n\v\f\r "  # what Ruby takes for space; Python takes more, such as the non-breaking space
_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]+")
_INTEGER = re.compile(rf"[{SPACE}]*([+-]?[0-9]+(?:_[0-9]+)*)")
_BARE_EXPONENT = re.compile(r"^(-?[0-9])e")  # Ruby writes 1.0e-07, and Python 1e-07
_MOST_PLACES = 10_000  # of exact decimals: the JSON that we read has at most 4,300 on either side of the point
_PLAIN_PLACES = 40  # of a decimal that is written out; beyond, 1E-41 is shorter
_EXACT_WHOLE = 2**53  # from here on a float no longer holds every whole number
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (type(None), "nil"),
    (bool, "true or false"),
    ((int, float, Decimal), "a number"),
    (str, "a text"),
    (Mapping, "a mapping"),
    ((list, tuple), "a list"),
    (date, "a time"),
)


class Unread(Exception):
    """A scope's mapping raises this for a field that is not known yet. `render` and `holds` let it through."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class Values(Mapping[str, Any]):
    """Values that are known. Raises Unread for any other field, because it may have a value that was not read."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, field: str) -> Any:
        try:
            return self._values[field]
        except KeyError:
            raise Unread(field) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class WrongValueError(ValueError):
    """A value that cannot be used in this way. The message holds no values."""


def is_undefined(value: object) -> bool:
    """Whether a name was missing. python-liquid's own test reads `__class__`, which a strict undefined refuses."""
    return issubclass(type(value), StrictDefaultUndefined)


def truthy(value: object) -> bool:
    """Only nil, false and a missing name are not; 0 and "" are."""
    return value is not None and value is not False and not is_undefined(value)


def kind(value: object) -> str:
    """What a message calls a value."""
    return _kind_of(type(value))  # type: ignore[arg-type]


@lru_cache(maxsize=256)  # there are far fewer types of values
def _kind_of(type_: Hashable) -> str:
    return next((name for types, name in _KINDS if isinstance(type_, type) and issubclass(type_, types)), "a value")


def text(value: object) -> str:
    """A value as text. Nil is empty. A Decimal keeps its zeros, as in 9.50.

    Raises:
        WrongValueError: A list or mapping, or a whole float whose last digits are lost.
    """
    match value:
        case None | Blank() | Empty():
            written = ""
        case bool():
            written = str(value).lower()
        case str() | int():
            written = str(value)
        case Decimal() if value.is_finite():
            written = f"{value:f}" if abs(value.adjusted()) < _PLAIN_PLACES else str(value)
        case float():
            written = _float_text(value)
        case date():
            written = value.isoformat()
        case _:
            raise WrongValueError(f"{kind(value)} has no text")
    return written


def _float_text(value: float) -> str:
    if not math.isfinite(value) or (value.is_integer() and abs(value) >= _EXACT_WHOLE):
        raise WrongValueError("a number has lost digits, because it came as a double")
    return _BARE_EXPONENT.sub(r"\1.0e", str(value))


def output(value: object) -> str:
    """A value as a template writes it: a list as the texts of its items, without anything between them."""
    return "".join(map(text, flat(value))) if isinstance(value, (list, tuple)) else text(value)


def number(value: object) -> int | Decimal:
    """A value as an exact number. A text counts as far as it is a number: "3,5" is 3, and "soon" is 0. So are nil,
    true and false.

    Raises:
        WrongValueError: A list or mapping, or a number that is not finite.
    """
    match value:
        case None | bool():
            return 0
        case int():
            return value
        case Decimal() if value.is_finite():
            return value
        case float() if math.isfinite(value):
            return Decimal(repr(value))
        case str():
            if _DECIMAL.fullmatch(value.strip(SPACE + "\0")):
                return Decimal(value.strip(SPACE + "\0"))
            found = _INTEGER.match(value)
            return int(found[1]) if found else 0
        case _:
            raise WrongValueError(f"{kind(value)} is not a number here")


def integer(value: object) -> int:
    """A whole number, such as a count of characters.

    Raises:
        WrongValueError: Anything else; 5.0 and "" are none.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return int(text(value).strip(SPACE), 0)
    except ValueError:
        raise WrongValueError("a whole number is wanted") from None


def fits(value: int | Decimal) -> bool:
    """Whether a float holds exactly this number."""
    try:
        return Decimal(repr(float(value))) == value
    except (OverflowError, InvalidOperation):
        return False


def plain(value: int | Decimal) -> Number:
    """The same number, as a float if that holds it and as a Decimal if not. An int stays an int."""
    return float(value) if isinstance(value, Decimal) and fits(value) else value


def calculate(operation: Callable[..., int | Decimal], *operands: object) -> Number:
    """The result of an operation on exact numbers.

    It is a float, as in Ruby, unless an operand has more digits than a float holds: then the result keeps its digits.

    Raises:
        WrongValueError: An operand is not a number, or the result is too large or a division by 0.
    """
    numbers = [number(operand) for operand in operands]
    exact = Context(prec=_MOST_PLACES, rounding=ROUND_HALF_UP, traps=[DivisionByZero, InvalidOperation])
    try:
        with localcontext(exact) as context:
            value = operation(*numbers)
    except ZeroDivisionError:
        raise WrongValueError("it cannot divide by 0") from None
    except InvalidOperation:
        raise WrongValueError("the result has too many digits") from None
    if isinstance(value, int):
        return value
    if context.flags[Inexact] or all(map(fits, numbers)):
        if not math.isfinite(float(value)):
            raise WrongValueError("the result is too large")
        return float(value)
    return plain(value)


def quotient(left: int | Decimal, right: int | Decimal) -> int | Decimal:
    """Rounded down for two whole numbers."""
    if not right:
        raise ZeroDivisionError
    if isinstance(left, int) and isinstance(right, int):
        return left // right
    return Decimal(left) / Decimal(right)


def remainder(left: int | Decimal, right: int | Decimal) -> int | Decimal:
    """Has the sign of `right`."""
    if not right:
        raise ZeroDivisionError
    if isinstance(left, int) and isinstance(right, int):
        return left % right
    rest = Decimal(left) % Decimal(right)
    if not rest:
        return abs(rest)
    return rest if (rest < 0) == (right < 0) else rest + right


def items(value: object) -> list[Any]:
    """The items that a list filter works on. Lists in lists are flattened; nil has no items; anything else is one."""
    if value is None:
        return []
    return list(flat(value)) if isinstance(value, (list, tuple)) else [value]


def flat(value: Any) -> Iterator[Any]:
    """The items of a list and of the lists in it."""
    for item in value:
        if isinstance(item, (list, tuple)):
            yield from flat(item)
        else:
            yield item


def same(left: Any, right: Any) -> bool:
    """Ruby's ==. 1 is 1.0, and no text is a number."""
    if kind(left) != kind(right):
        return False
    match left:
        case int() | float() | Decimal() if not isinstance(left, bool):
            return number(left) == number(right)
        case list() | tuple():
            return len(left) == len(right) and all(map(same, left, right))
        case Mapping():
            return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
        case _:
            return bool(left == right)


def identity(value: object) -> object:
    """Equal for values that Ruby's `uniq` takes for one: 1 and 1.0 are two values."""
    match value:
        case list() | tuple():
            return ("list", *map(identity, value))
        case Mapping():
            return ("mapping", frozenset((key, identity(inner)) for key, inner in value.items()))
        case float() | Decimal():
            return ("decimal", number(value))
        case _:
            return (type(value), value)


def order(left: Any, right: Any) -> int | None:
    """-1, 0 or 1 as `left` comes before, with or after `right`. None if they have no order."""
    kinds = {kind(left), kind(right)}
    if kinds == {"a number"}:
        left, right = number(left), number(right)
    elif kinds not in ({"a text"}, {"a time"}):
        return 0 if same(left, right) else None
    return int(left > right) - int(left < right)


def property_of(item: Any, name: object) -> Any:
    """A property of an item of a list. A text has as properties its parts: "abc" has "b".

    Raises:
        WrongValueError: The item has no properties.
    """
    match item, name:
        case Mapping(), _:
            try:
                return item[name]
            except (KeyError, TypeError):
                return None
        case str(), str():
            return name if name in item else None
        case _:
            raise WrongValueError(f"{kind(item)} has no property")
