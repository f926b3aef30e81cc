"""What a reconciliation found: differences by reason, with the ids that they concern."""

from collections import Counter
from dataclasses import dataclass, field

from connector.values.digests import Digests, digest_of

WHY = {
    "not_captured": "changed in Salesforce, and that change is not on the topic: capture is behind or was down for more"
    " than 72 h, no channel carries the object, or Kafka deleted the event",
    "not_invited": "the survey wants the change, with what Salesforce has now, and there is no invitation",
    "no_outcome": "the invitation has no outcome, does not wait and is no dead letter",
    "not_written": "the rule applies to the answer, and there is no write and no dead letter",
    "not_finished": "the stage has not finished the record: it is behind, does not run, or is held",
}
_MOST = 1_000  # ids that are named of one difference


@dataclass
class Difference:
    """`of` is an object, a survey or a rule. `ids` are of records, invitations or answers; the first 1,000 of them."""

    reason: str
    of: str
    count: int = 0
    ids: list[str] = field(default_factory=list)


@dataclass
class Findings:
    """`compared` counts what was looked at, by what it is and whose it is. `notes` say what could not be compared."""

    differences: dict[tuple[str, str], Difference] = field(default_factory=dict)
    compared: Counter[tuple[str, str]] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    _named: Digests = field(default_factory=Digests)

    def add(self, reason: str, of: str, id_: str) -> None:
        """Adds a difference; the same one counts once."""
        key = digest_of(f"{reason} {of} {id_}")
        if key in self._named:
            return
        self._named.put(key)
        found = self.differences.setdefault((reason, of), Difference(reason, of))
        found.count += 1
        if found.count <= _MOST:
            found.ids.append(id_)
