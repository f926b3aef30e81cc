"""Makes a write fit the fields of its object: what is sent, what is cut, what is left out, and why.

A value is converted when that loses nothing, such as the text `9` for a number. Then the choice of its field decides.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from connector.masking import mask_value
from connector.records import Scalar
from connector.salesforce._moments import EXAMPLES, moment
from connector.salesforce._numbers import text_of
from connector.salesforce.object_fields import Field, Fields, field_of
from connector.salesforce.record_write import RecordWrite

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_NUMBERS = {"double", "currency", "percent", "int", "long"}
_CAN_BE_CUT = {"string", "textarea"}  # half an address, an Id or a picklist value is worse than none
_TEXTS = {*_CAN_BE_CUT, "picklist", "multipicklist", "email", "phone", "url", "combobox", "encryptedstring"}
_INT = 2**31  # Salesforce's int has 32 bits
_MOST_VALUES = 20  # of a picklist in a message


@dataclass
class Fitted:
    """`cut`, `left_out` and `kept` (fields that are not emptied) say why, by field. `refused` says why nothing may be
    written; None if something may.

    `misfits`: a value does not fit its field's description.
    """

    fields: dict[str, Scalar | None] = field(default_factory=dict, repr=False)
    cut: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    refused: str | None = None
    misfits: bool = False


class _Unfit(Exception):
    """The message says what would fit."""


def fit(write: RecordWrite, known: Fields, refused: Mapping[str, str]) -> Fitted:
    """The part of a write that its object takes. A field that is not in `known` takes everything.

    `refused` says, by field, why Salesforce has refused a value before: those are left out.
    """
    fitted = Fitted(left_out={**write.left_out})
    for name, value in write.fields.items():
        described, choice = known.get(name.lower()), write.choice(name)
        if value is None:
            cannot_be_empty = described is not None and not described.can_be_empty
            if choice.when_empty == "clear" and (name in refused or cannot_be_empty):
                fitted.kept[name] = refused.get(name, "the field cannot be empty")
            elif choice.when_empty == "clear":
                fitted.fields[name] = None
        elif name in refused:
            fitted.left_out[name] = refused[name]
        elif described is None:
            fitted.fields[name] = value
        else:
            _fit_one(fitted, name, value, described, choice.does_not_fit)
    return fitted


def misfit(described: Mapping[str, Any], value: Scalar) -> str | None:
    """What a field takes instead of this value, in words; None if it takes it. `described` is its part of describe."""
    try:
        _taken(field_of(described), value)
    except _Unfit as error:
        return str(error)
    return None


def _fit_one(fitted: Fitted, name: str, value: Scalar, described: Field, choice: str) -> None:
    try:
        fitted.fields[name] = _taken(described, value)
    except _Unfit as error:
        fitted.misfits = True
        _choose(fitted, name, value, described, choice, f"{mask_value(value)} does not fit: {error}")


def _choose(fitted: Fitted, name: str, value: Scalar, described: Field, choice: str, why: str) -> None:
    beginning = _cut(value, described.length) if isinstance(value, str) and described.type in _CAN_BE_CUT else ""
    if choice == "cut" and beginning.strip():
        fitted.fields[name] = beginning
        fitted.cut[name] = why
    elif choice == "refuse":
        fitted.refused = f"{name}: {why}"
    else:
        fitted.left_out[name] = why


def _taken(described: Field, value: Scalar) -> Scalar:
    """The value in the field's type. White space around it counts only in a free text."""
    kind = described.type
    if isinstance(value, str) and kind not in _CAN_BE_CUT:
        value = value.strip()
    if kind == "boolean":
        return _boolean(value)
    if kind in _NUMBERS:
        return _number(described, value)
    if kind in EXAMPLES:
        return _moment(kind, value)
    if kind in _TEXTS:
        value = _text(value)
        _check_picklist(described, value)
    if isinstance(value, str) and 0 < described.length < len(value):
        raise _Unfit(f"at most {described.length} characters")
    return value


def _boolean(value: Scalar) -> bool:
    found = {"true": True, "1": True, "false": False, "0": False}.get(_text(value).lower())
    if found is None:
        raise _Unfit("true or false")
    return found


def _number(described: Field, value: Scalar) -> Scalar:
    number = Decimal(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
    if isinstance(number, (str, bool)):
        raise _Unfit("a number")
    if abs(number) >= 10**described.digits:
        raise _Unfit(f"a number with at most {described.digits} digits before the point")
    if described.type == "int":
        if number != int(number) or not -_INT <= number < _INT:
            raise _Unfit("a whole number of 32 bits")
        return int(number)
    return int(number) if isinstance(value, str) and "." not in value else number


def _moment(kind: str, value: Scalar) -> str:
    try:
        return moment(kind, value)
    except ValueError:
        raise _Unfit(EXAMPLES[kind]) from None


def _check_picklist(described: Field, value: str) -> None:
    if described.values is None:
        return
    chosen = value.split(";") if described.type == "multipicklist" else [value]
    if not {*chosen} <= {*described.values}:
        more = "" if len(described.values) <= _MOST_VALUES else f" and {len(described.values) - _MOST_VALUES} more"
        raise _Unfit(f"one of {', '.join(described.values[:_MOST_VALUES])}{more}")


def _text(value: Scalar) -> str:
    try:
        return text_of(value)
    except ValueError:
        raise _Unfit("a number of at most 4,300 digits") from None


def _cut(whole: str, length: int) -> str:
    """The beginning of a text. An emoji may count as one character or as two, so it counts as two here."""
    return whole.encode("utf-16-le", "surrogatepass")[: 2 * length].decode("utf-16-le", "ignore")
