"""JSON that keeps every digit: `dumps` writes a number as `loads` read it.

A float holds about 17 digits, so 9.50, 1e400 and an account number of 24 digits would change on their way.
"""

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import orjson
from pydantic import BaseModel

DEEPEST = 200  # levels of lists and objects. orjson writes 254, and our records put a few around a value.
_LARGEST = 4300  # places before or after the point: what Python reads as an int, and no more than a page of zeros
_PLAIN = 40  # places after the point that are written out; beyond that 1E-41 is shorter
# orjson keeps ints of up to 18 digits, and not every decimal.
_MAY_CHANGE = re.compile(rb"[0-9](?:[.eE]|[0-9]{18})")
_NESTED = (dict, list, tuple)
_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)  # a time or an id in a text is no number


def loads(text: bytes, *, deepest: int = DEEPEST, repeated: Callable[[str], object] | None = None) -> Any:
    """Reads JSON in UTF-8. An int stays an int. A decimal that a float would write differently becomes a Decimal.

    `repeated` is called with each key that an object holds more than once. The last value of the key counts.

    Raises:
        ValueError: Not JSON, nested deeper than `deepest` levels, or a number of more than 4,300 places. The message
            holds no values.
    """
    may_change = _MAY_CHANGE.search(text) and _MAY_CHANGE.search(_without_texts(text))
    value = _slowly(text, repeated) if may_change else orjson.loads(text)
    if _may_be_deeper(text, deepest):
        _require_shallow(value, deepest)
    if repeated is not None and not may_change and _may_repeat(text, value):
        _slowly(text, repeated)
    return value


def dumps(value: Any) -> bytes:
    """Writes JSON in UTF-8, without spaces. Times become ISO 8601, bytes become base64 for URLs as with
    pydantic, and what JSON has no number for becomes null. A model becomes an object.

    Raises:
        ValueError: A value that JSON cannot hold, or a value nested deeper than `DEEPEST` levels.
    """
    try:
        text = _dumps(value)
    except TypeError:  # perhaps an int of more than 64 bits, for which orjson does not ask `_exact`
        _require_shallow(value, DEEPEST)
        try:
            text = _dumps(_with_long_ints(value))
        except TypeError as error:
            raise ValueError(f"this cannot be written as JSON: {error}") from error
    if _may_be_deeper(text, DEEPEST):
        _require_shallow(value, DEEPEST)
    return text


def digits(number: Decimal) -> str:
    """A finite Decimal with the digits that it was read with, such as 9.50 or 1E+400."""
    exponent = number.as_tuple().exponent
    return f"{number:f}" if isinstance(exponent, int) and -_PLAIN <= exponent <= 0 else str(number)


def _without_texts(text: bytes) -> bytes:
    return _TEXT.sub(b"", text) if b"\\" in text else b"".join(text.split(b'"')[::2])


def _may_repeat(text: bytes, value: Any) -> bool:
    """Whether a key may be in the text twice: then it has more quotation marks than the texts in the value need."""
    return b"\\" in text or text.count(b'"') != 2 * _texts_in(value)


def _texts_in(value: Any) -> int:
    """How many texts there are in a value from JSON, with its keys."""
    if isinstance(value, str):
        return 1
    if isinstance(value, dict):
        return len(value) + sum(map(_texts_in, value.values()))
    return sum(map(_texts_in, value)) if isinstance(value, list) else 0


def _slowly(text: bytes, repeated: Callable[[str], object] | None) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if repeated is not None and len(values) < len(pairs):
            for name, count in Counter(name for name, _ in pairs).items():
                if count > 1:
                    repeated(name)
        return values

    try:
        value = json.loads(
            text.decode(),
            parse_int=_int,
            parse_float=_decimal,
            parse_constant=_constant,
            object_pairs_hook=None if repeated is None else unique,
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if rb"\ud" in text.lower():  # json takes half a surrogate pair, which no UTF-8 can hold
        json.dumps(value, ensure_ascii=False, default=str).encode()
    return value


def _int(literal: str) -> int:
    if len(literal) > _LARGEST:
        raise ValueError(f"a number has more than {_LARGEST} places")
    return int(literal)


def _decimal(literal: str) -> float | Decimal:
    number = float(literal)
    if repr(number) == literal or orjson.dumps(number) == literal.encode():  # 1e+300 and 1e300
        return number
    try:
        exact = Decimal(literal)
    except InvalidOperation:
        exact = None
    # Written out, a larger one would fill the memory.
    if exact is None or abs(exact.adjusted()) > _LARGEST:
        raise ValueError(f"a number has more than {_LARGEST} places")
    return exact


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, default=_exact, option=orjson.OPT_UTC_Z)


def _exact(value: object) -> orjson.Fragment | str | dict[str, Any] | None:
    match value:
        case Decimal():
            return orjson.Fragment(digits(value)) if value.is_finite() else None
        case bytes():
            return base64.urlsafe_b64encode(value).decode()
        case BaseModel():
            return vars(value)
        case _:
            raise TypeError(f"a {type(value).__name__}")


def _with_long_ints(value: Any) -> Any:
    match value:
        case dict():
            return {name: _with_long_ints(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_with_long_ints(inner) for inner in value]
        case int() if value.bit_length() > 63:
            return orjson.Fragment(str(value))
        case _:
            return value


def _may_be_deeper(text: bytes, deepest: int) -> bool:
    return text.count(b"[") + text.count(b"{") > deepest


def _require_shallow(value: Any, deepest: int) -> None:
    """Looks at one level after the other, because a call for each level would itself be too deep for Python."""
    level = [value] if isinstance(value, _NESTED) else []
    for _ in range(deepest):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, _NESTED)]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {deepest} levels")


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value
