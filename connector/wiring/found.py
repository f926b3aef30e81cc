"""One line of `connector check --live`."""

from dataclasses import dataclass
from typing import Literal

_MARKS = {"ok": "✓", "error": "✗", "warning": "!", "note": "·"}


@dataclass(frozen=True)
class Found:
    """What was found. An `error` keeps the connector from its work, a `warning` makes a part of the file useless, and a
    `note` says what could not be compared."""

    level: Literal["ok", "error", "warning", "note"]
    what: str

    def __str__(self) -> str:
        return f"{_MARKS[self.level]} {self.what}"
