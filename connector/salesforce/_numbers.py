"""Numbers as Salesforce sends them: each as a decimal, whatever the field's scale is (salesforce §B1)."""

from decimal import Decimal
from typing import Any

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
