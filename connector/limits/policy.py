"""Computes when the next call may start, only from the earlier calls and the current time."""

import math
import re
from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` calls in any span of `seconds`.

    Raises:
        ValueError: `limit` is not a whole number of at least 1, or `seconds` is not above 0.
    """

    limit: int
    seconds: float

    def __post_init__(self) -> None:
        if not isinstance(self.limit, int) or self.limit < 1 or not 0 < self.seconds < math.inf:
            raise ValueError(
                f"a window has a limit of at least 1 and more than 0 seconds: {self.limit}/{self.seconds}s"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a text such as `20/5s`, `40/2m` or `100/1h`."""
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)\s*([smh])\s*", text)
        if not match:
            raise ValueError(f"a limit is calls per time, such as 20/5s: {text!r}")
        return cls(int(match[1]), float(match[2]) * _UNITS[match[3]])

    def __str__(self) -> str:
        return f"{self.limit}/{self.seconds:g}s"


def earliest(starts: Sequence[float], now: float, windows: Iterable[Window]) -> float:
    """The earliest time, `now` or later, at which one more call breaks no window.

    `starts` holds the times of the calls so far, ascending. The call that is `limit` calls back must be at least a
    whole window ago. Then no half-open span of that length, sliding or fixed at any phase, holds more than `limit`
    calls (pisano §6).
    """
    return max([now, *(_after(starts[-w.limit], w.seconds) for w in windows if len(starts) >= w.limit)])


def _after(start: float, seconds: float) -> float:
    """The first float at least `seconds` after `start`. A sum that was rounded down would still be in the window."""
    end = start + seconds
    return math.nextafter(end, math.inf) if math.fsum((start, seconds, -end)) > 0 else end


class CallLog:
    """The times of the calls that may still count in a window, ascending."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self.windows = tuple(windows)
        self._most = max(w.limit for w in windows)
        self._starts: list[float] = []

    def earliest(self, now: float) -> float:
        """See `earliest`."""
        return earliest(self._starts, now, self.windows)

    def add(self, start: float) -> None:
        """Records a call, and forgets calls that are too far back to matter to any window."""
        insort(self._starts, start)
        del self._starts[: -self._most]

    def move_last(self, to: float) -> None:
        """Moves the last call to the time `to`, if that is later."""
        if self._starts and to > self._starts[-1]:
            self._starts[-1] = to

    def used(self, window: Window, now: float) -> int:
        """The number of calls in the span of that length that ends now."""
        return len(self._starts) - bisect_right(self._starts, now - window.seconds)
