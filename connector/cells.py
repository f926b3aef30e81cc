"""Cells: the smallest parts of a stage that a failure can hold.

Examples are a survey in trigger, an account or a survey in send, a rule in write, a channel in capture. Cells form a
tree: a cell is held when it or one of its parents is held. A held cell logs a line once a minute. The stage probes it
with one piece of work at growing intervals, and goes on by itself as soon as a probe works.
"""

import asyncio
from bisect import insort
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from typing import Literal, NoReturn

import structlog

log = structlog.get_logger(__name__)

FIRST_PROBE = 5.0  # seconds until the first probe: most faults are short
LONGEST_PROBE = 300.0  # seconds between later probes: a person who fixes the cause sees the effect within 5 minutes
LONGEST_IN_OUTAGE = 60.0  # seconds, for an outage: no person watches it, so probes must notice its end within a minute
_SAY_AGAIN = 60.0  # seconds between two log lines about the same held cell

Kind = Literal["configuration", "outage", "dead_letters", "brake"]
Told = Callable[[str, Kind, bool], None]

_tickets = count()  # only gives an order; it holds nothing of a loop or process


def next_ticket() -> int:
    """A new ticket, which comes after all earlier ones."""
    return next(_tickets)


class Cell:
    """One cell. `name` is its path, such as `trigger/closed-case`.

    `reason` says why the cell is held, and is None while it is not held. `kind` is the reason in one word, for metrics.
    """

    def __init__(self, name: str, parent: "Cell | None" = None, told: Told = lambda *_: None) -> None:
        self.name = name
        self.parent = parent
        self.reason: str | None = None
        self.kind: Kind = "configuration"
        self.since: datetime | None = None  # when it was held first
        self._told = told
        self._probes = 0
        self._next_probe = 0.0
        self._at_least = 0.0
        self._probing = False
        self._waiting: list[int] = []  # tickets, the oldest first
        self._users = 0  # pieces of work in `turn`, here or in a cell below
        self._left_at: float | None = None  # when the last of them ended; None if there are some, or never were
        self._changed = asyncio.Event()

    @property
    def holder(self) -> "Cell | None":
        """The outermost held cell among this cell and its parents, or None."""
        outer = self.parent.holder if self.parent else None
        return outer or (self if self.reason is not None else None)

    def hold(self, error: Exception, kind: Kind, *, at_least: float | None = None) -> None:
        """Holds the cell, or keeps holding it. The next probe comes after at least `at_least` seconds."""
        before, self.reason = self.reason, str(error)
        if before is None or kind != self.kind:
            if before is not None:
                self._told(self.name, self.kind, False)
            self.kind = kind
            self._told(self.name, kind, True)
            log.error("cell_held", cell=self.name, kind=kind, reason=self.reason)
        self._at_least = at_least or 0.0
        if before is None:
            self.since = datetime.now(UTC)
            self._probes = 0
            self._postpone()

    def probe_now(self) -> None:
        """Makes the next probe due at once, and those after it soon. Does nothing while the cell is not held."""
        if self.reason is not None:
            self._probes, self._next_probe = 0, asyncio.get_running_loop().time()
            log.info("cell_is_tried_now", cell=self.name)
            self._wake()

    def works(self) -> None:
        """Releases the cell and its parents, because work of this cell succeeded."""
        self._release("cell_released")
        if self.parent:
            self.parent.works()

    @property
    def is_left(self) -> bool:
        """Whether nothing has waited for the cell for a minute, though something had: nothing tries it any more."""
        return self._left_at is not None and asyncio.get_running_loop().time() - self._left_at >= _SAY_AGAIN

    def leave(self) -> None:
        """Holds the cell no longer, because its work is gone: done by another worker, or given up."""
        self._release("cell_left")

    @asynccontextmanager
    async def turn(self, ticket: int | None = None) -> AsyncIterator[None]:
        """Waits until the caller may try its work. While nothing is held, that is at once.

        While a cell is held, the caller waits until a probe is due and no other probe runs. The lowest ticket probes
        first, and the others follow in order. Work that is tried again keeps its ticket, and so its place.
        """
        probed: Cell | None = None
        self._used(1)
        try:
            probed = await self._turn(next_ticket() if ticket is None else ticket)
            yield
        finally:
            self._used(-1)
            if probed is not None:
                probed._probing = False
                probed._postpone()

    def _used(self, more: int) -> None:
        self._users += more
        self._left_at = None if self._users else asyncio.get_running_loop().time()
        if self.parent:
            self.parent._used(more)

    async def _turn(self, ticket: int) -> "Cell | None":
        while holder := self.holder:
            if await holder._may_probe(ticket):
                return holder
        return None

    async def _may_probe(self, ticket: int) -> bool:
        """True when the caller is the probe now; False when the cell is not held any more."""
        insort(self._waiting, ticket)
        try:
            while self.reason is not None or self._waiting[0] != ticket:
                pause = self._next_probe - asyncio.get_running_loop().time()
                first = self._waiting[0] == ticket and not self._probing
                if self.reason is not None and first and pause <= 0:
                    self._probing = True
                    return True
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause if first and self.reason is not None else None):
                        await self._changed.wait()
            return False
        finally:
            self._waiting.remove(ticket)
            self._wake()

    def _postpone(self) -> None:
        self._next_probe = asyncio.get_running_loop().time() + self._pause()
        self._probes += 1
        self._wake()

    def _pause(self) -> float:
        longest = LONGEST_IN_OUTAGE if self.kind == "outage" else LONGEST_PROBE
        return max(self._at_least, min(longest, FIRST_PROBE * 2.0 ** min(self._probes, 10)))

    def _release(self, event: str) -> None:
        if self.reason is not None:
            log.warning(event, cell=self.name, was=self.reason)
            self.reason, self._probing = None, False
            self._told(self.name, self.kind, False)
            self._wake()

    def _wake(self) -> None:
        self._changed.set()


class Cells:
    """The tree of cells of a process. It calls `told(cell, kind, held)` at each change."""

    def __init__(self, told: Told = lambda *_: None) -> None:
        self._told = told
        self._cells: dict[str, Cell] = {}

    def at(self, name: str) -> Cell:
        """The cell at this path. Its parents are the paths before each slash."""
        if name not in self._cells:
            above, _, _ = name.rpartition("/")
            self._cells[name] = Cell(name, self.at(above) if above else None, self._told)
        return self._cells[name]

    def probe_now(self, name: str) -> None:
        """Makes the next probe of the held cells at this path, and below it, due at once."""
        for cell in self._below(name):
            cell.probe_now()

    def _below(self, name: str) -> list[Cell]:
        return [cell for cell in self._cells.values() if f"{cell.name}/".startswith(f"{name}/")]

    def leave(self, name: str) -> None:
        """Holds the cells at this path, and below it, no longer: another worker has their work now."""
        for cell in self._below(name):
            cell.leave()

    def held(self) -> dict[str, str]:
        """The reason of each held cell, by the cell's name."""
        return {cell.name: cell.reason for cell in self.all_held() if cell.reason is not None}

    def all_held(self) -> list[Cell]:
        """The cells that are held now."""
        return [cell for cell in self._cells.values() if cell.reason is not None]

    async def say_what_is_held(self, kafka_answers: Callable[[], Awaitable[bool]]) -> NoReturn:
        """Logs one line a minute for each held cell, until the task is cancelled.

        It leaves cells that nobody tries any more, unless that may be because Kafka is away.
        """
        while True:
            before = self.held()
            await asyncio.sleep(_SAY_AGAIN)
            for cell in self.all_held():
                if cell.is_left and await kafka_answers() and cell.is_left:
                    cell.leave()
                elif cell.name in before:
                    log.warning("cell_still_held", cell=cell.name, reason=cell.reason)


class Breaker:
    """Detects a flood of refused records: more than `run` in a row, or more than a `share` of the last `of` records."""

    def __init__(self, run: int = 50, share: float = 0.8, of: int = 200) -> None:
        self._run = run
        self._share = share
        self._last: deque[bool] = deque(maxlen=of)
        self._in_a_row = 0

    def refused(self) -> bool:
        """Counts a refused record. True when there are now too many."""
        self._in_a_row += 1
        self._last.append(True)
        is_full = len(self._last) == self._last.maxlen
        return self._in_a_row > self._run or (is_full and sum(self._last) > self._share * len(self._last))

    def passed(self) -> None:
        """Counts a record that was not refused."""
        self._in_a_row = 0
        self._last.append(False)

    def reset(self) -> None:
        """Clears the counts. Call this when the flood has ended."""
        self._in_a_row = 0
        self._last.clear()
