"""The parked records on which an operator has given up (`connector held skip`).

The dead letter of such a record and the decision are one transaction of the operator. So the owner of the record only
has to do nothing more about it, however often it sees the decision.
"""

import asyncio
from collections.abc import Callable

from connector.cells import Cells
from connector.decisions import Action
from connector.kafka.inbound import InRecord
from connector.records import read

PREFIX = "parked/"


def target_of(partition: int, offset: int) -> str:
    """The target of an action about the record at this place of `connector.parked`."""
    return f"{PREFIX}{partition}/{offset}"


def source_of(record: InRecord) -> str:
    """Where a parked record comes from. Its place on `connector.parked` is another's when that topic is made anew."""
    return f"{record.topic}/{record.partition}/{record.offset}"


class Skipped:
    """`take` takes each record of `connector.actions`. `known` is set once the earlier ones were taken."""

    def __init__(self, cells: Cells) -> None:
        self.known = asyncio.Event()
        self._cells = cells
        self._sources: dict[str, str] = {}  # of the records that were given up, by target

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """Takes an action. Raises Rejected when it is about a parked record and cannot be read."""
        target = (key or b"").decode(errors="replace")
        if value is None or not target.startswith(PREFIX):
            return
        action = read(Action, value)
        source = str(action.params.get("source", ""))
        if action.kind == "skip" and self._sources.get(target) != source:
            self._sources[target] = source
            self._cells.probe_now(str(action.params.get("cell", "")))  # the next turn comes at once

    def at(self, partition: int, offset: int, record: InRecord) -> Callable[[], bool]:
        """Tells whether the record that is parked at this place was given up by now."""
        target, source = target_of(partition, offset), source_of(record)
        return lambda: self._sources.get(target) == source
