"""What an account's sender remembers of its ledger: who was invited when, and how many invitations were sent."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from connector.config import ProtectAll, Survey
from connector.protection._brake import Brakes
from connector.protection._hours import day_of
from connector.protection._persons import Hashes
from connector.protection._times import Times
from connector.records import Attempt, Invitation, Outcome
from connector.values.digests import digest_of

_MAYBE_SENT = {Outcome.SENT, Outcome.UNKNOWN}
_DAYS = 3  # days for which values with a quota are counted: today, and two around it, should the clock be set back


class Memory:
    """`settled` and `called` take what the ledger holds, at its opening and after each write.

    An invitation that Pisano accepted counts as sent, and so does one whose call has no clear end.
    """

    def __init__(self, surveys: Mapping[str, Survey], over_all: ProtectAll, hashes: Hashes, brakes: Brakes) -> None:
        self.brakes = brakes
        self.unknown: set[str] = set()  # invitations whose outcome is unknown
        self.actions: set[str] = set()  # ids of the actions that were carried out
        self._surveys = surveys
        self._over_all = over_all
        self._hashes = hashes
        self._times = Times()  # by person, and by person and survey: when last invited
        self._in_all: Counter[str] = Counter()
        self._by_day: Counter[tuple[str, date]] = Counter()
        self._by_value: defaultdict[str, dict[date, Counter[str]]] = defaultdict(dict)
        self._doubts: dict[str, tuple[frozenset[str], set[str]]] = {}  # by invitation: its persons, its open attempts
        self._calling: list[Invitation] = []

    def waits(self, survey: str, happened_at: datetime | None, is_held: bool) -> None:
        """Takes an invitation that waited when the ledger was opened; `is_held` when a person has to decide."""
        self.brakes.saw(survey, happened_at)
        if is_held:
            self.brakes.hold(survey)

    def settled(self, settlement: Mapping[str, Any], *, is_ours: bool = False) -> None:
        """Takes the fields of a settlement, as they are on the topic. One of ours was counted when it was admitted."""
        self._doubts.pop(settlement["invitation"], None)
        self._take_decision(settlement)
        survey = self._surveys.get(settlement["survey"])
        if settlement["outcome"] not in _MAYBE_SENT or survey is None:
            return
        name, at = settlement["survey"], datetime.fromisoformat(settlement["at"])
        if settlement["happened_at"] and not is_ours:
            self.brakes.saw(name, datetime.fromisoformat(settlement["happened_at"]))
        self._in_all[name] += 1
        self._by_day[name, day_of(survey.protect, at)] += 1
        if settlement["cap"]:
            self._count_value(name, day_of(survey.protect, at), settlement["cap"])
        for person in settlement["persons"] or ():
            if survey.protect.once_per is not None:
                self._times.put_if_later(_place(person, name), at.timestamp())
            if self._over_all.once_per_any is not None and not survey.protect.except_from_any:
                self._times.put_if_later(_place(person, None), at.timestamp())

    def _take_decision(self, settlement: Mapping[str, Any]) -> None:
        if settlement["action"]:
            self.actions.add(settlement["action"])
        if settlement["outcome"] == Outcome.UNKNOWN:
            self.unknown.add(settlement["invitation"])
        else:
            self.unknown.discard(settlement["invitation"])

    def called(self, attempt: Attempt) -> None:
        """Takes an attempt. Until its invitations are settled, its persons may have been e-mailed."""
        is_open = attempt.state == "begun" or attempt.result == "unknown"
        for invitation, persons in zip(attempt.invitations, attempt.persons, strict=False):
            if is_open:
                self._doubts.setdefault(invitation, (frozenset(persons), set()))[1].add(attempt.id)
            elif invitation in self._doubts:
                self._doubts[invitation][1].discard(attempt.id)
                if not self._doubts[invitation][1]:
                    del self._doubts[invitation]

    def calling(self, invitations: Sequence[Invitation]) -> None:
        """Takes the invitations that are about to be sent in one call."""
        self._calling = list(invitations)

    def invited_at(self, invitation: Invitation, survey: str | None) -> datetime | None:
        """When the person was last invited to `survey`; None means to any survey that counts for all."""
        return self._times.latest(_place(person, survey) for person in self.persons(invitation))

    def in_doubt(self, invitation: Invitation) -> bool:
        """Whether a call is under way, or ended without a clear end, that may have reached the person with another
        invitation; or whether that is about to be in the same call."""
        persons = frozenset(self.persons(invitation))
        others = (persons & self._doubts[other][0] for other in self._doubts if other != invitation.id)
        beside = (persons.intersection(self.persons(other)) for other in self._calling if other is not invitation)
        return any(others) or any(beside)

    def sent_in_all(self, survey: str) -> int:
        """How many invitations of the survey were sent, as far back as the ledger goes."""
        return self._in_all[survey]

    def sent_on(self, survey: str, day: date) -> int:
        """How many were sent on this day of the survey, or are about to be."""
        return self._by_day[survey, day] + self.about_to(survey)

    def sent_for(self, survey: str, cap: str, day: date) -> int:
        """The same for one value that has a quota."""
        counted = self._by_value[survey].get(day, Counter[str]())[self._hashes.of(cap)]
        return counted + sum(one.survey == survey and one.protection.cap == cap for one in self._calling)

    def about_to(self, survey: str) -> int:
        """How many are about to be sent."""
        return sum(one.survey == survey for one in self._calling)

    def persons(self, invitation: Invitation) -> tuple[str, ...]:
        """The hashes of the invitation's person."""
        return self._hashes.persons(invitation.protection.contact, invitation.address)

    def _count_value(self, survey: str, day: date, value: str) -> None:
        days = self._by_value[survey]
        days.setdefault(day, Counter())[value] += 1
        for old in sorted(days)[:-_DAYS]:
            del days[old]


def _place(person: str, survey: str | None) -> bytes:
    """Where a time is stored. `person` is a hash; a text that is none, from another writer, is hashed."""
    return digest_of(person) if survey is None else digest_of(f"{person}/{survey}")
