"""The writes that wait for a call. Of each record only one is taken at a time: they are stored in their order."""

from bisect import insort
from collections.abc import Collection, Iterable
from itertools import count

from connector.salesforce._entry import Entry
from connector.salesforce.record_write import RecordWrite, Target

_Record = tuple[str, str]


class Waiting:
    """A write may go when it is the oldest of its record, and none of its record is taken."""

    def __init__(self) -> None:
        self._numbers = count()
        self._lines: dict[_Record, list[Entry]] = {}  # the writes of each record; one that is taken stands first
        self._due: dict[Target, dict[Entry, None]] = {}

    def add(self, entry: Entry) -> None:
        """Adds a write behind the others of its record."""
        entry.number = next(self._numbers)
        self._stand_in_line(entry)

    def due(self, target: Target) -> int:
        """How many writes of a target may go now."""
        return len(self._due.get(target, ()))

    @property
    def targets(self) -> list[Target]:
        """Those with writes that may go now."""
        return [target for target, entries in self._due.items() if entries]

    def take(self, target: Target, most: int) -> list[Entry]:
        """Takes the first writes of a target that may go, for a call. `called` ends it."""
        due, batch = self._due.get(target, {}), list[Entry]()
        while due and len(batch) < most:
            entry = next(iter(due))
            del due[entry]
            if not entry.result.done():  # else its caller is about to remove it
                entry.taken = entry.calling = True
                batch.append(entry)
        return batch

    def called(self, batch: Iterable[Entry]) -> None:
        """Ends the call of a batch. The writes without a result may go again, unless their callers have given up."""
        for entry in batch:
            if entry.calling:
                entry.calling = False
                if entry.result.cancelled():
                    self._leave_line(entry)
                else:
                    self.again(entry)

    def again(self, entry: Entry) -> None:
        """Gives back a write that was taken. It may have another record now."""
        entry.taken = False
        self._leave_line(entry)
        self._stand_in_line(entry)

    def remove(self, entry: Entry) -> Target | None:
        """Forgets a write, and returns the target of the one behind it that may go now. If the caller gives up while
        the call is under way, the others of the record wait for the end of the call.
        """
        return None if entry.calling else self._leave_line(entry)

    def with_idle(self, batch: Collection[Entry], like: RecordWrite | None = None) -> list[Entry]:
        """A call's writes, and all of their target that neither are taken nor wait for one that is in another call.

        With `like`: only those with the same fields as this write.
        """
        target = next(iter(batch)).write.target
        heads = {*batch}
        lines = [line for line in self._lines.values() if not line[0].taken or line[0] in heads]
        found = [each for line in lines for each in line if each.write.target == target]
        if like is not None:
            found = [each for each in found if each.write.fields.keys() == like.fields.keys()]
        return sorted(found, key=_number)

    def _stand_in_line(self, entry: Entry) -> None:
        entry.record = entry.write.record
        line = self._lines.setdefault(entry.record, [])
        insort(line, entry, lo=1 if line and line[0].taken else 0, key=_number)
        for other in line[1:2]:  # it may have been due
            self._due.get(other.write.target, {}).pop(other, None)
        self._offer(line)

    def _leave_line(self, entry: Entry) -> Target | None:
        line = self._lines[entry.record]
        line.remove(entry)
        self._due.get(entry.write.target, {}).pop(entry, None)
        if line:
            return self._offer(line)
        del self._lines[entry.record]
        return None

    def _offer(self, line: list[Entry]) -> Target | None:
        first = line[0]
        if first.taken:
            return None
        self._due.setdefault(first.write.target, {})[first] = None
        return first.write.target


def _number(entry: Entry) -> int:
    return entry.number
