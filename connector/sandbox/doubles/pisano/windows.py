"""The stacked limits, counted in both ways that a server may use (pisano §6)."""

from bisect import bisect_right
from collections.abc import Sequence


class Windows:
    """Counts every call in each window twice: fixed (aligned to the epoch) and sliding (half open).

    Refused calls count too (pisano §6 and §10). A window is (calls, seconds).
    """

    def __init__(self, windows: Sequence[tuple[int, float]]) -> None:
        self._windows = tuple(windows)
        self._longest = max((seconds for _, seconds in windows), default=0.0)
        self._times: list[float] = []

    def count(self, now: float) -> tuple[str, ...]:
        """Count a call that arrives now, in seconds; name each window that it breaks, like `20/5s sliding`."""
        # A fixed window reaches back no further than a sliding one of the same length.
        del self._times[: bisect_right(self._times, now - self._longest)]
        self._times.append(now)
        broken = []
        for calls, seconds in self._windows:
            start = now // seconds * seconds
            fixed = sum(1 for at in self._times if at >= start)
            sliding = len(self._times) - bisect_right(self._times, now - seconds)
            counts = {"fixed": fixed, "sliding": sliding}
            broken += [f"{calls}/{seconds:g}s {name}" for name, count in counts.items() if count > calls]
        return tuple(broken)

    def retry_after(self, exceeded: str, now: float) -> int:
        """Whole seconds to the end of that window if it is fixed. Rack::Attack says this even when it is too soon."""
        seconds = float(exceeded.partition("/")[2].partition("s")[0])
        return int(seconds - now % seconds) + 1

    def clear(self) -> None:
        self._times.clear()
