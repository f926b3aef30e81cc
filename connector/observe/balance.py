"""Counts e-mails and answers per day and account, and tells when answers have stopped while e-mails go out.

It counts only in this process, from its start. The rule in deploy/alerts.yaml also works across restarts, and when
`send` and `receive` are separate processes.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

_KEPT = timedelta(days=8)  # includes the same day of last week


@dataclass(frozen=True)
class Day:
    """The counts of one day, in UTC."""

    day: date
    emails: int
    answers: int


class Balance:
    """The counts of one account. `missing_after`: seconds without any answer until answers count as missing."""

    def __init__(self, missing_after: float) -> None:
        self._missing_after = timedelta(seconds=missing_after)
        self._emails = Counter[date]()
        self._answers = Counter[date]()
        self._total_emails = 0.0
        self._total_answers = 0.0
        self._last_answer: datetime | None = None

    def saw(self, emails: float, answers: float, at: datetime) -> None:
        """Takes the totals since the start of the process, as they were at the time `at`."""
        day = at.astimezone(UTC).date()
        self._emails[day] += int(emails - self._total_emails)
        self._answers[day] += int(answers - self._total_answers)
        if answers > self._total_answers:
            self._last_answer = at
        self._total_emails, self._total_answers = emails, answers
        for counts in (self._emails, self._answers):
            for old in [kept for kept in counts if kept <= day - _KEPT]:
                del counts[old]

    def days(self) -> list[Day]:
        """Those of the last eight days that have counts, the oldest first."""
        return [Day(day, self._emails[day], self._answers[day]) for day in sorted({*self._emails, *self._answers})]

    def missing(self, at: datetime) -> bool:
        """Whether no answer came for `missing_after` after earlier ones, though e-mails went out before today."""
        if self._last_answer is None or at - self._last_answer < self._missing_after:
            return False
        since, today = self._last_answer.astimezone(UTC).date(), at.astimezone(UTC).date()
        return any(day.emails for day in self.days() if since <= day.day < today)
