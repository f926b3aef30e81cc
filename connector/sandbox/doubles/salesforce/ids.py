"""Salesforce record ids: 15 case-sensitive characters, and 3 more for readers that ignore case."""

import re

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECKSUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def checksum(id15: str) -> str:
    """One character for every five: its bits say which of the five are upper case, the first in the lowest bit."""
    chunks = (id15[start : start + 5] for start in (0, 5, 10))
    return "".join(_CHECKSUM[sum(1 << bit for bit, char in enumerate(chunk) if "A" <= char <= "Z")] for chunk in chunks)


def make(prefix: str, number: int) -> str:
    """The 18-character id of the record `number` of an object with this key prefix."""
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    id15 = f"{prefix}5g{digits.rjust(10, '0')}"
    return id15 + checksum(id15)


def normal(text: object) -> str | None:
    """The 18-character form of an id of 15 or 18 characters; None if `text` is not an id."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9A-Za-z]{15}(?:[A-Z0-5]{3})?", text):
        return None
    full = text[:15] + checksum(text[:15])
    return full if text in {full, text[:15]} else None
