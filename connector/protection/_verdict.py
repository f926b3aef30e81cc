"""What the policy answers."""

from dataclasses import dataclass
from datetime import datetime

from connector.reasons import Reason
from connector.records import Outcome


@dataclass(frozen=True)
class Go:
    """Send it now."""


@dataclass(frozen=True)
class Wait:
    """Ask again at `until`; None means after a person has decided."""

    until: datetime | None
    reason: Reason


@dataclass(frozen=True)
class Stop:
    """Never send it: write down this outcome. `action` is the id of the person's decision behind it."""

    outcome: Outcome
    reason: Reason
    detail: str | None = None
    action: str | None = None


Verdict = Go | Wait | Stop
