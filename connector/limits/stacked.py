"""The gate in front of calls that several limits bound at once."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType

from connector.limits.policy import CallLog, Window

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


class StackedLimiter:
    """Lets calls through so that every window holds, first come first served; used like `aiolimiter.AsyncLimiter`.

    `clock` gives seconds that never go back. `padding` (seconds) lengthens every window for the network's jitter;
    `reserved` (0 to 1) is the share of each limit that is left to others, of whom at least one call is ours.
    A caller that is cancelled while it waits gives nothing away and takes nothing. One event loop, one limiter.

    Raises:
        ValueError: No window, or a share that is not below 1.
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
        self._log = CallLog([Window(max(1, int(w.limit * (1 - reserved))), w.seconds + padding) for w in self._ladder])
        self._clock = clock
        self._sleep = sleep
        self._closed_until = float("-inf")
        self._step = 0  # on the ladder of pauses after 429s
        self._turn = asyncio.Lock()  # asyncio's lock wakes its waiters in the order in which they came

    async def acquire(self, amount: float = 1) -> float:
        """Waits for the permit of one call that starts now; gives the seconds that it waited.

        Raises:
            ValueError: `amount` is not 1: a call is a call.
        """
        _require_one(amount)
        came = self._clock()
        async with self._turn:
            while (wait := self.wait()) > 0:
                await self._sleep(wait)
            self._log.add(self._clock())
        return self._clock() - came

    def has_capacity(self, amount: float = 1) -> bool:
        """Whether `acquire` would return at once."""
        _require_one(amount)
        return not self._turn.locked() and self.wait() <= 0

    def wait(self) -> float:
        """Seconds until the next permit, for whoever is first in the line."""
        now = self._clock()
        return max(self._log.earliest(now), self._closed_until) - now

    def count_now(self) -> None:
        """Counts the last permitted call as made now: the other side counts it on its arrival, after its permit."""
        self._log.move_last(self._clock())

    def close_for(self, seconds: float) -> None:
        """Lets nobody through for that long; never shortens an earlier closing."""
        self._closed_until = max(self._closed_until, self._clock() + seconds)

    def close_after_429(self, retry_after: float | None) -> None:
        """Closes for as long as the other side says, or up the ladder of the windows' lengths while it says nothing."""
        self.close_for(self._ladder[self._step].seconds if retry_after is None else retry_after)
        self._step = min(self._step + 1, len(self._ladder) - 1)

    def note_success(self) -> None:
        """A call was let in: the next 429 begins at the foot of the ladder."""
        self._step = 0

    def seed(self, starts: Iterable[float]) -> None:
        """Takes note of calls made before, in this limiter's clock: those of a ledger, after a restart."""
        for start in sorted(starts):
            self._log.add(start)

    def used(self) -> Sequence[tuple[Window, int]]:
        """Each window as configured, and the calls in it now."""
        now = self._clock()
        return [
            (window, self._log.used(kept, now)) for window, kept in zip(self._ladder, self._log.windows, strict=True)
        ]

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


def _require_one(amount: float) -> None:
    if amount != 1:
        raise ValueError(f"a permit is for one call, not for {amount}")
