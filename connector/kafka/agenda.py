"""When each waiting invitation of an account is due: a place on the topic and a time, in little memory."""

import heapq
from array import array
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

Waits = int  # a time and a place in one; a place alone, below 0, for one that waits without a time

_PLACE = 1 << 44  # above every offset: a partition with a million records a second would last half a year


class Agenda:
    """By survey, so that no survey keeps another's from being found.

    A row is one integer, time and place together: some 50 bytes, and a million of them are sorted in a second.
    """

    def __init__(self) -> None:
        self._due: defaultdict[str, list[int]] = defaultdict(list)  # heaps
        self._held: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))

    def put(self, survey: str, until: datetime | None, offset: int) -> None:
        """Takes note of the invitation at `offset`. Without a time it waits until `release`."""
        self._add(survey, waits(until, offset))

    def load(self, survey: str, rows: Iterable[Waits]) -> None:
        """Takes note of many at once."""
        for row in rows:
            self._add(survey, row)

    def _add(self, survey: str, row: Waits) -> None:
        if row < 0:
            self._held[survey].append(-1 - row)
        else:
            heapq.heappush(self._due[survey], row)

    def release(self, survey: str) -> None:
        """Makes those without a time due at once."""
        for offset in self._held.pop(survey, ()):
            heapq.heappush(self._due[survey], offset)

    def take(self, survey: str, now: datetime, at_most: int) -> list[int]:
        """Removes those that are due, the first due first, and returns their offsets."""
        due, end = self._due[survey], (int(now.timestamp() * 1000) + 1) * _PLACE
        taken: list[int] = []
        while due and due[0] < end and len(taken) < at_most:
            taken.append(heapq.heappop(due) % _PLACE)
        return taken

    def next_at(self, survey: str) -> float | None:
        """When the next one is due, in seconds since 1970."""
        due = self._due[survey]
        return due[0] // _PLACE / 1000 if due else None

    def count(self, survey: str) -> int:
        """How many wait."""
        return len(self._due[survey]) + len(self._held.get(survey, ()))

    @property
    def surveys(self) -> list[str]:
        """Those of which an invitation waits or waited."""
        return list({*self._due, *self._held})

    @property
    def held(self) -> list[str]:
        """The surveys of which one waits without a time."""
        return list(self._held)


def waits(until: datetime | None, offset: int) -> Waits:
    """The row of an invitation at `offset` that waits until a time, or until `release`."""
    return -1 - offset if until is None else max(0, int(until.timestamp() * 1000)) * _PLACE + offset
