"""When each waiting invitation of an account is due: a place on the topic and a time, in little memory."""

import heapq
from array import array
from collections import defaultdict
from collections.abc import Set
from datetime import datetime

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
        if until is None:
            self._held[survey].append(offset)
        else:
            heapq.heappush(self._due[survey], max(0, int(until.timestamp() * 1000)) * _PLACE + offset)

    def drop(self, offsets: Set[int]) -> None:
        """Forgets the invitations at these offsets."""
        if offsets:
            for survey, due in self._due.items():
                self._due[survey] = sorted(row for row in due if row % _PLACE not in offsets)
            for survey, held in self._held.items():
                self._held[survey] = array("q", (offset for offset in held if offset not in offsets))

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
