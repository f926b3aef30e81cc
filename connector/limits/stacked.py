"""A limiter for calls that must keep several limits at once."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

from connector.limits.policy import CallLog, Window

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Usage:
    """Each window as configured, with the calls in it now, and for how many more seconds a 429 has closed the gate."""

    windows: Sequence[tuple[Window, int]]
    closed_for: float

    def __iter__(self) -> Iterator[tuple[Window, int]]:
        return iter(self.windows)


class StackedLimiter:
    """Lets calls through, first come first served, without breaking any window. Use it like `aiolimiter.AsyncLimiter`.

    `clock` returns seconds that never go back. `padding` (seconds) lengthens every window to allow for network jitter.
    `reserved` (0 to below 1) is the share of each limit that is left to others; at least one call remains for us.
    A caller that is cancelled while it waits uses no permit. Use a limiter in one event loop only.

    Raises:
        ValueError: No window, a `reserved` share outside 0 to below 1, or a negative `padding`.
    """

    def __init__(
        self,
        windows: Iterable[Window],
        *,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        padding: float = 0.0,
        reserved: float = 0.0,
    ) -> None:
        self._ladder = sorted(windows, key=lambda window: window.seconds)
        if not self._ladder or not 0 <= reserved < 1 or padding < 0:
            raise ValueError("a limiter needs a window, a reserved share from 0 to below 1, and no negative padding")
        self._log = CallLog([Window(_left(w.limit, reserved), w.seconds + padding) for w in self._ladder])
        self._clock = clock
        self._sleep = sleep
        self._closed_until = float("-inf")
        self._refused = 0  # 429s in a row
        self._turn = asyncio.Lock()  # asyncio's lock wakes its waiters in the order in which they came
        self._line = 0  # callers that wait, including one whose turn has come but which has not run yet

    async def acquire(self, amount: float = 1) -> float:
        """Waits until one call may start, and returns the seconds that it waited.

        Raises:
            ValueError: `amount` is not 1; a permit is for one call.
        """
        _require_one(amount)
        came = self._clock()
        self._line += 1
        try:
            async with self._turn:
                while (permitted := self._permitted(now := self._clock())) > now:
                    await self._sleep(permitted - now)
                self._log.add(now)
        finally:
            self._line -= 1
        return now - came

    def has_capacity(self, amount: float = 1) -> bool:
        """Whether `acquire` would return at once."""
        _require_one(amount)
        return not self._line and self.wait() <= 0

    def wait(self) -> float:
        """Seconds until the first caller in the line gets its permit."""
        now = self._clock()
        return self._permitted(now) - now

    def _permitted(self, now: float) -> float:
        return max(self._log.earliest(now), self._closed_until)

    def count_now(self) -> None:
        """Counts the last permitted call as made now: the other side counts a call on arrival, after our permit."""
        self._log.move_last(self._clock())

    def close_for(self, seconds: float) -> None:
        """Lets no call through for `seconds`. Never shortens an earlier closing."""
        self._closed_until = max(self._closed_until, self._clock() + seconds)

    def close_after_429(self, retry_after: float | None) -> None:
        """Closes for `retry_after`. If that is None, closes for the shortest window, then at each 429 for a longer one.

        The other side may name the end of the first full window while a longer one is full too (pisano §6). So after
        as many 429s in a row as there are windows, the limiter closes for the longest window at least: refused calls
        may count as well, and then no window would ever clear.
        """
        longest = len(self._ladder) - 1
        if retry_after is None or self._refused > longest:
            self.close_for(self._ladder[min(self._refused, longest)].seconds)
        self.close_for(retry_after or 0.0)
        self._refused += 1

    def note_success(self) -> None:
        """The other side accepted a call, so the next 429 starts with the shortest window again."""
        self._refused = 0

    def seed(self, starts: Iterable[float]) -> None:
        """Records earlier calls, in the time of this limiter's clock: those of a ledger, after a restart.

        A call from another machine may have a time after now, because clocks differ. It counts as made now.
        """
        now = self._clock()
        for start in starts:
            self._log.add(min(start, now))

    @property
    def memory(self) -> float:
        """Seconds after which a call no longer counts: the length of the longest window."""
        return self._log.windows[-1].seconds

    def used(self) -> Usage:
        """What the limiter counts now."""
        now = self._clock()
        pairs = zip(self._ladder, self._log.windows, strict=True)
        windows = [(window, self._log.used(kept, now)) for window, kept in pairs]
        return Usage(windows, max(0.0, self._closed_until - now))

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


def _left(limit: int, reserved: float) -> int:
    share = round(limit * (1 - reserved), 6)  # 40 * (1 - 0.9) is 3.9999999999999996, but we may make four calls
    return max(1, int(share))


def _require_one(amount: float) -> None:
    if amount != 1:
        raise ValueError(f"a permit is for one call, not for {amount}")
