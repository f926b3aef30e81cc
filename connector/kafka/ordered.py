"""Ordered acknowledgement: how far a partition may be committed while later records finish before earlier ones.

Pure bookkeeping without Kafka: call `add` in the order of delivery and `done` in any order. `position` is the offset
before which everything is done (rule 1).
"""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Read:
    """How far a consumer has read a partition since it was assigned.

    `position` is the offset of its next fetch. `first` is the offset of the first record that it got, `behind` the one
    after the last, None before it got any. Between `behind` and `position` stand no records, only transaction markers
    and aborted records.
    """

    position: int
    behind: int | None = None
    first: int | None = None


class OrderedAcks:
    """One partition's records, from delivery to commit."""

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()
        self._done: set[int] = set()
        self._first: int | None = None  # the first record delivered
        self._skips = False  # records before it were fetched and never delivered
        self._position: int | None = None
        self._past_markers = 0  # everything before it is finished, and nothing but markers stands in front of it

    @property
    def position(self) -> int | None:
        """The offset to commit, or None while the first record delivered is not done."""
        return self._position

    def committable(self, read: Read | None) -> int | None:
        """The offset to commit: `position`, or the consumer's own when nothing but markers lies between the two.

        So an idle group has no lag, even where each transaction ends with a marker. None when a record that was
        fetched was never delivered, though later ones were: whoever reads next must find it.
        """
        if read is not None and read.first is not None and self._first is not None:
            self._skips = self._skips or read.first < self._first
        if self._skips:
            return None
        if read is None:
            return self._position
        if not self._waiting and read.behind == self.delivered:
            self._past_markers = max(read.position, self._past_markers)
        return max(self._position or 0, self._past_markers) or None  # never back, also when the next record is fetched

    @property
    def delivered(self) -> int | None:
        """The offset after the last record that was delivered, or None before the first."""
        return self._waiting[-1] + 1 if self._waiting else self._position

    @property
    def in_flight(self) -> int:
        """How many delivered records `position` has not passed yet."""
        return len(self._waiting)

    def add(self, offset: int) -> None:
        """Takes note of a delivered record. Offsets may have holes (transaction markers) but must rise.

        Raises:
            ValueError: The offset is not after the last one, so records were delivered out of order.
        """
        if offset < (self.delivered or 0):
            raise ValueError(f"offset {offset} was delivered after {(self.delivered or 0) - 1}")
        self._waiting.append(offset)
        self._first = offset if self._first is None else self._first

    def done(self, offset: int) -> None:
        """Takes note that a record is finished, in any order."""
        self._done.add(offset)
        while self._waiting and self._waiting[0] in self._done:
            head = self._waiting.popleft()
            self._done.discard(head)
            self._position = head + 1
