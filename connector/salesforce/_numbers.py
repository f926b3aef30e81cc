"""Numbers as Salesforce sends them, each as a decimal whatever the field's scale is (salesforce §B1), and as texts."""

from decimal import Decimal
from typing import Any

from connector.records import Scalar
from connector.values.exact import digits

_EXACT = 2**53  # a double below holds every whole number; of a larger one the last digits are lost


def whole(value: Any) -> Any:
    """5 for 5.0, in REST and in events alike. Any other value stays as it is."""
    match value:
        case float() if value.is_integer() and abs(value) < _EXACT:
            return int(value)
        case Decimal() if value.is_finite() and value == value.to_integral_value():
            return int(value)
        case _:
            return value


def text_of(value: Scalar) -> str:
    """A value as a text field or a key holds it: 5 for 5.0, true for True, and every digit of a long number.

    Raises:
        ValueError: A whole number of more than 4,300 digits.
    """
    match value:
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return f"{Decimal(repr(value)):.0f}"
        case float():
            return digits(Decimal(repr(value)))
        case Decimal():
            return digits(value)
        case _:
            return str(value)
