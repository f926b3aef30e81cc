"""Faults that a test asks for: calls that fail and records that are locked."""

import re
from collections import defaultdict

from connector.sandbox.doubles.salesforce.model import Fault
from connector.sandbox.doubles.salesforce.org_rules import Lock


class Faults:
    """The faults that still have to happen. Each matching call uses one up."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []
        self._locks: defaultdict[str, list[Lock]] = defaultdict(list)

    def take(self, what: str) -> Fault | None:
        """The first fault that matches this call. Its `times` goes down by one."""
        foreign = int if what.startswith("rpc ") else str  # the type of status that does not fit this call
        for index, fault in enumerate(self.waiting):
            if re.search(fault.match, what) and not isinstance(fault.status, foreign):
                left = [fault.model_copy(update={"times": fault.times - 1})] if fault.times > 1 else []
                self.waiting[index : index + 1] = left
                return fault
        return None

    def lock(self, record: str, times: int, kind: Lock) -> None:
        """The next `times` writes of the record, named by its id or external id, find it locked."""
        self._locks[record] += [kind] * times

    def take_lock(self, *names: str | None) -> Lock | None:
        return next((self._locks[name].pop(0) for name in names if name is not None and self._locks[name]), None)

    def clear(self) -> None:
        self.waiting.clear()
        self._locks.clear()
