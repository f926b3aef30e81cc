"""The policy: one verdict from the configuration, the invitation, what is known of the person, and the time."""

from collections.abc import Mapping
from datetime import datetime

from connector.config import ProtectAll, Survey
from connector.protection._verdict import Go, Known, Stop, Verdict, Wait
from connector.reasons import Reason
from connector.records import Invitation, Outcome


class Policy:
    """`surveys` and `over_all` are the configuration."""

    def __init__(self, surveys: Mapping[str, Survey], over_all: ProtectAll) -> None:
        self._surveys = surveys
        self._over_all = over_all

    def verdict(self, invitation: Invitation, known: Known, now: datetime) -> Verdict:
        """Whether the invitation may be sent now, must wait, or is not sent."""
        del known
        if invitation.survey not in self._surveys:
            return Stop(Outcome.SUPPRESSED, Reason.SURVEY_REMOVED, "the configuration does not have the survey")
        terms = invitation.protection
        if terms.expires_at is not None and now >= terms.expires_at:
            return Stop(Outcome.EXPIRED, Reason.EXPIRED)
        if terms.not_before is not None and now < terms.not_before:
            return Wait(terms.not_before, Reason.DELAY)
        return Go()
