"""What the policy answers, and what it asks."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from connector.decisions import Suppression
from connector.reasons import Reason
from connector.records import Invitation, Outcome


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
    """Never send it: write down this outcome."""

    outcome: Outcome
    reason: Reason
    detail: str | None = None


Verdict = Go | Wait | Stop


class Known(Protocol):
    """What the sender knows. An invitation may have been sent if Pisano accepted it or the call's end is not known."""

    def invited_at(self, invitation: Invitation, survey: str | None) -> datetime | None:
        """When the person was last invited to `survey`, or to any survey that counts for all, by another invitation."""

    def answered_at(self, invitation: Invitation) -> datetime | None:
        """When the person last answered."""

    def sent_on(self, survey: str, day: date) -> int:
        """How many invitations of the survey were sent on this day of its own zone."""

    def sent_for(self, survey: str, cap: str, day: date) -> int:
        """The same for one value that has a quota."""

    def sent_in_all(self, survey: str) -> int:
        """How many invitations of the survey were sent, as far back as the ledger goes."""

    def suppression(self, invitation: Invitation, now: datetime) -> Suppression | None:
        """The entry of the suppression list that stops the invitation."""

    def braked(self, invitation: Invitation, now: datetime) -> Wait | Stop | None:
        """What the survey's brake says: wait for a person, or for the day that a person has chosen, or dropped."""
