"""Our own filters: between what Salesforce stores and what a customer reads or types."""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from babel import Locale, UnknownLocaleError
from babel.numbers import format_currency, format_decimal, format_percent, get_currency_precision, is_currency

from connector.templates._values import Number, WrongValueError, flat, kind, number, plain, text
from connector.values.exact import digits

_MINUS = {0x2212: "-"}  # the sign for minus
_SEPARATOR = ";"  # between the values of a multi-select picklist, in REST and in change events
_UNIT = r"%|[^\W\d_]{2,3}|[^\w\s]"  # `_is_unit` decides which of these may stand beside a number
_FORMATS = {
    sign: re.compile(
        rf"(?P<sign>[+-])?(?:(?P<before>{_UNIT})\s*)?(?P<inner_sign>[+-])?"
        rf"(?P<whole>[0-9]{{1,3}}(?P<group>[{other}'\u2019\u00a0\u202f])[0-9]{{3}}(?:(?P=group)[0-9]{{3}})*|[0-9]+)"
        rf"(?:{re.escape(sign)}(?P<part>[0-9]+))?(?:\s*(?P<after>{_UNIT}))?"
    )
    for sign, other in ((",", "."), (".", ","))
}


def _number(value: object, sign: object) -> Number | None:
    """Reads a number with that decimal sign, such as "1.234,5", "%12" or "9,90 TL". A number stays as it is.

    A plain space separates no groups of digits: "555 123" may be a telephone number.
    """
    if sign not in _FORMATS:
        raise WrongValueError('the decimal sign is "," or "."')
    if value is None:
        return None
    if not isinstance(value, str):
        return plain(number(_real(value)))
    if not value.strip():
        return None
    found = _FORMATS[sign].fullmatch(value.translate(_MINUS).strip())
    if found is None or not _is_one_number(found):
        raise WrongValueError(f'the text is not a number with the decimal sign "{sign}"')
    whole = re.sub(r"[^0-9]", "", found["whole"])
    read = Decimal(f"{whole}.{found['part']}") if found["part"] else int(whole)
    return plain(-read if "-" in {found["sign"], found["inner_sign"]} else read)


def _is_one_number(found: re.Match[str]) -> bool:
    """Whether the number has at most one sign and one unit, and the unit is one."""
    units = [unit for unit in (found["before"], found["after"]) if unit]
    return not (found["sign"] and found["inner_sign"]) and len(units) <= 1 and all(map(_is_unit, units))


def _is_unit(written: str) -> bool:
    return written in {"%", "TL", "tl"} or unicodedata.category(written[0]) == "Sc" or is_currency(written)


def _decimal(value: object, language: object) -> str | None:
    """Writes a number as people in that language read it: 1234.5 is 1.234,5 for "tr"."""
    locale = _locale(language)
    return None if value is None else format_decimal(_exact(value), locale=locale, decimal_quantization=False)


def _percent(value: object, language: object) -> str | None:
    """Writes Salesforce's percent, which is 12.5 for 12.5 %, as people in that language read it."""
    locale = _locale(language)
    if value is None:
        return None
    return format_percent(_exact(value).scaleb(-2), locale=locale, decimal_quantization=False)


def _currency(value: object, code: object, language: object) -> str | None:
    """Writes an amount of money, with as many places as the currency has. Half a cent is rounded up."""
    locale = _locale(language)
    if not is_currency(text(code)):
        raise WrongValueError("there is no such currency; a code is like TRY")
    if value is None:
        return None
    unit = Decimal(1).scaleb(-get_currency_precision(text(code)))
    amount = _exact(value).quantize(unit, rounding=ROUND_HALF_UP)
    return format_currency(amount, text(code), locale=locale)


def _choices(value: object) -> list[str]:
    """The list of the values in a multi-select picklist: "A;B" is A and B."""
    return [] if value is None else [choice for choice in text(value).split(_SEPARATOR) if choice]


def _multiselect(value: object) -> str | None:
    """A list as the value of a multi-select picklist, each choice once. An empty list is nil."""
    found = value if isinstance(value, (list, tuple)) else _choices(value)
    choices = dict.fromkeys(choice for choice in (text(item).strip() for item in flat(found)) if choice)
    if any(_SEPARATOR in choice for choice in choices):
        raise WrongValueError("a choice holds a semicolon, which separates the choices")
    return _SEPARATOR.join(choices) or None


def _locale(language: object) -> Locale:
    try:
        return Locale.parse(text(language), sep="-" if "-" in text(language) else "_")
    except (UnknownLocaleError, ValueError):
        raise WrongValueError("there is no such language; a name is like tr or de-AT") from None


def _exact(value: object) -> Decimal:
    return Decimal(number(_real(value)))


def _real(value: object) -> object:
    """Refuses what Liquid would count as 0."""
    if isinstance(value, bool) or (isinstance(value, str) and not re.fullmatch(r"-?\d+(\.\d+)?", value, re.ASCII)):
        raise WrongValueError(f"{kind(value)} is not a number here")
    return value


def _json(value: object) -> str:
    """JSON in ASCII, with every digit of its numbers."""
    match value:
        case Mapping():
            inside = ", ".join(f"{json.dumps(str(name))}: {_json(inner)}" for name, inner in value.items())
            return f"{{{inside}}}"
        case list() | tuple():
            return f"[{', '.join(map(_json, value))}]"
        case float() | Decimal() if not math.isfinite(value):
            return "null"
        case Decimal():
            return digits(value)
        case date():
            return json.dumps(value.isoformat())
    if not isinstance(value, str | int | float | None):
        raise WrongValueError(f"{kind(value)} has no JSON")
    return json.dumps(value)


FILTERS: dict[str, Callable[..., object]] = {
    "choices": _choices,
    "currency": _currency,
    "decimal": _decimal,
    "json": _json,
    "multiselect": _multiselect,
    "number": _number,
    "percent": _percent,
}
