"""The parked records on which an operator has given up (`connector held skip`).

The dead letter of such a record and the decision are one transaction of the operator. So the owner of the record only
has to do nothing more about it, however often it sees the decision.
"""

import asyncio
from collections.abc import Callable

from connector.cells import Cells
from connector.decisions import Action
from connector.records import read

PREFIX = "parked/"


def target_of(partition: int, offset: int) -> str:
    """The target of an action about the record at this place of `connector.parked`."""
    return f"{PREFIX}{partition}/{offset}"


class Skipped:
    """`take` takes each record of `connector.actions`. `known` is set once the earlier ones were taken."""

    def __init__(self, cells: Cells) -> None:
        self.known = asyncio.Event()
        self._cells = cells
        self._targets: set[str] = set()

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """Takes an action. Raises Rejected when it is about a parked record and cannot be read."""
        target = (key or b"").decode(errors="replace")
        if value is None or not target.startswith(PREFIX):
            return
        action = read(Action, value)
        if action.kind == "skip" and target not in self._targets:
            self._targets.add(target)
            self._cells.probe_now(str(action.params.get("cell", "")))  # the next turn comes at once

    def at(self, partition: int, offset: int) -> Callable[[], bool]:
        """Tells whether the record at this place was given up by now."""
        target = target_of(partition, offset)
        return lambda: target in self._targets
