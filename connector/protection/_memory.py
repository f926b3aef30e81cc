"""What an account's sender remembers of its ledger: who was invited when, and how many invitations were sent."""

import hashlib
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
from connector.values.digests import SIZE, Digests, digest_of

_MAYBE_SENT = {Outcome.SENT, Outcome.UNKNOWN}
_DAYS = 3  # days for which values with a quota are counted: today, and two around it, should the clock be set back


class Memory:
    """`settled` and `called` take what the ledger holds, at its opening and after each write.

    An invitation that Pisano accepted counts as sent, and so does one whose call has no clear end.
    """

    def __init__(self, surveys: Mapping[str, Survey], over_all: ProtectAll, hashes: Hashes, brakes: Brakes) -> None:
        self.brakes = brakes
        self.unknown: dict[str, Mapping[str, Any]] = {}  # by invitation: the settlements that say it is not known
        self.actions: set[str] = set()  # ids of the actions that were carried out
        self._surveys = surveys
        self._over_all = over_all
        self._hashes = hashes
        self._times = Times()  # by person, and by person and survey: when last invited
        self._reached = Digests()  # changes, each with an address that it has invited
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
        """Takes the fields of a settlement, as they are on the topic. One of ours was counted when it was admitted.

        An invitation whose outcome was unknown is counted as its latest settlement says.
        """
        self._doubts.pop(settlement["invitation"], None)
        if before := self.unknown.pop(settlement["invitation"], None):
            self._count(before, -1)
        if settlement["action"]:
            self.actions.add(settlement["action"])
        if settlement["outcome"] == Outcome.UNKNOWN:
            self.unknown[settlement["invitation"]] = settlement
        if settlement["outcome"] in _MAYBE_SENT:
            happened_at = datetime.fromisoformat(settlement["happened_at"]) if settlement["happened_at"] else None
            self._count(settlement, 1)
            self._note_persons(settlement, happened_at)
            if not is_ours:
                self.brakes.saw(settlement["survey"], happened_at)

    def _count(self, settlement: Mapping[str, Any], number: int) -> None:
        name = settlement["survey"]
        if (survey := self._surveys.get(name)) is None:
            return
        day = day_of(survey.protect, datetime.fromisoformat(settlement["at"]))
        self._in_all[name] += number
        self._by_day[name, day] += number
        if settlement["cap"]:
            days = self._by_value[name]
            days.setdefault(day, Counter())[settlement["cap"]] += number
            for old in sorted(days)[:-_DAYS]:
                del days[old]

    def _note_persons(self, settlement: Mapping[str, Any], happened_at: datetime | None) -> None:
        """Also those of a survey that the configuration does not have any more: they count for all surveys."""
        name, persons = settlement["survey"], settlement["persons"] or ()
        if not persons:
            return
        survey, at = self._surveys.get(name), datetime.fromisoformat(settlement["at"]).timestamp()
        own = survey is not None and survey.protect.once_per is not None
        over_all = self._over_all.once_per_any is not None and not (survey and survey.protect.except_from_any)
        for person in persons:
            if own:
                self._times.put_if_later(_place(person, name), at)
            if over_all:
                self._times.put_if_later(_place(person, None), at)
        if happened_at is not None:
            self._reached.put(_change(name, settlement["record_id"], happened_at, persons[-1]))

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

    def is_reached(self, invitation: Invitation) -> bool:
        """Whether the change has invited this address before, with another invitation: an invitation's id holds the
        place of its address among those of the change, and a change that is decided anew may find them otherwise."""
        place = self._change(invitation)
        return place is not None and place in self._reached

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

    def _change(self, invitation: Invitation) -> bytes | None:
        """Where it is noted that the change has invited the address; None when one of them is not known."""
        persons, happened_at = self.persons(invitation), invitation.protection.happened_at
        if not persons or happened_at is None:
            return None
        return _change(invitation.survey, invitation.record_id, happened_at, persons[-1])


def _place(person: str, survey: str | None) -> bytes:
    """Where a time is stored. `person` is a hash; a text that is none, from another writer, is hashed."""
    return digest_of(person) if survey is None else digest_of(f"{person}/{survey}")


def _change(survey: str, record_id: str, happened_at: datetime, person: str) -> bytes:
    """`person` is the hash of the address, or of the contact's id where a link needs no address."""
    return hashlib.sha256(f"{survey}/{record_id}/{happened_at.timestamp()}/{person}".encode()).digest()[:SIZE]
