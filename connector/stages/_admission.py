"""Decides about an account's invitations before a call: settled at once, later, or in the next call."""

import math
from collections.abc import Sequence
from datetime import datetime

from connector.errors import Rejected, Unknown
from connector.kafka.ledger import Ledger
from connector.pisano import call_body, recipient
from connector.protection import ContactProtection, Go, Known, Stop, Verdict, Wait
from connector.reasons import Reason
from connector.records import Invitation, Outcome
from connector.stages._batches import Entry, Queue
from connector.stages._book import Book, Decision, Now
from connector.stages._rechecks import Rechecks
from connector.stages._waits import Waits

_IN_MEMORY = 30.0  # seconds that an invitation waits in memory; if it has to wait longer, it goes to its topic


class Admission:
    """`admit` decides about a new invitation, `is_any_ready` and `next_batch` about those that wait for a call."""

    def __init__(
        self,
        ledger: Ledger,
        queue: Queue,
        book: Book,
        protection: ContactProtection,
        known: Known,
        now: Now,
        waits: Waits,
        rechecks: Rechecks,
    ) -> None:
        self._rechecks = rechecks
        self._waits = waits
        self._ledger = ledger
        self._queue = queue
        self._book = book
        self._policy = protection.policy
        self._surveys = protection.surveys
        self._hashes = protection.hashes
        self._known = known
        self._now = now

    async def admit(self, entry: Entry) -> None:
        """Settles the invitation if that is decided already; else it waits for a call, in its survey's campaign."""
        entry.invitation = self._in_campaign(entry.invitation)
        invitation = self.named(entry).invitation
        if (reason := invitation.suppressed) is not None:
            decision = Decision([entry], Outcome.SUPPRESSED, reason=reason)
            await self._book.end(None, "accepted", invitation.detail, decision)
            return
        try:
            call_body([recipient(invitation)])
        except Rejected as error:
            decision = Decision([entry], Outcome.REJECTED, error, Reason.REFUSED)
            await self._book.end(None, "rejected", str(error), decision)
            return
        if attempt := self._ledger.unsettled(invitation.id):
            persons = dict(zip(attempt.invitations, attempt.persons, strict=False))  # earlier versions wrote none
            entry.persons = persons.get(invitation.id, entry.persons)
            known = f"attempt {attempt.id} was begun at {attempt.begun_at:%FT%TZ} and its end was never written down"
            await self._book.unknown(None, [entry], Unknown(known))
        if entry.settled.done():
            return
        if entry.action is None and not self._waits.is_woken(invitation.id):
            self._known.memory.brakes.saw(invitation.survey, invitation.protection.happened_at)
        await self._decide([entry])

    def _in_campaign(self, invitation: Invitation) -> Invitation:
        """The survey may have another campaign since it was decided, perhaps because Pisano refuses the first one."""
        survey = self._surveys.get(invitation.survey)
        if survey is None or survey.channel != invitation.channel or survey.campaign == invitation.campaign:
            return invitation
        return invitation.model_copy(update={"campaign": survey.campaign})

    def named(self, entry: Entry) -> Entry:
        """The same entry, with the hashes under which its person is remembered."""
        terms = entry.invitation.protection
        entry.persons = self._hashes.persons(terms.contact, entry.invitation.address)
        entry.cap = None if terms.cap is None else self._hashes.of(terms.cap)
        return entry

    async def is_any_ready(self) -> bool:
        """Whether an invitation may be sent now. Those before it that may not be sent leave the queue."""
        waiting = list(self._queue.waiting)
        ready = next((place for place, entry in enumerate(waiting) if self._is_ready(entry)), None)
        await self._decide(waiting[:ready])
        return ready is not None

    async def next_batch(self, *, at_most: int | None) -> list[Entry]:
        """The invitations of the next call; empty when none may be sent now."""
        batch: list[Entry] = []
        while self._queue.waiting and not batch:
            chosen = self._queue.next_batch(at_most=at_most)
            for entry in chosen:
                self._known.memory.calling([other.invitation for other in batch])
                if self._is_ready(entry):
                    batch.append(self.named(entry))  # its address may be another one since it was checked again
            self._known.memory.calling([])
            await self._decide([entry for entry in chosen if entry not in batch])
        return batch

    def _is_ready(self, entry: Entry) -> bool:
        return isinstance(self._verdict(entry), Go) and not self._rechecks.needs(entry)

    def _verdict(self, entry: Entry) -> Verdict:
        return self._policy.verdict(entry.invitation, self._known, self._now(), by_hand=entry.action is not None)

    async def _decide(self, entries: Sequence[Entry]) -> None:
        """Puts entries that may be sent now into the queue, takes out the others, and settles what never is."""
        decisions: list[Decision] = []
        aside: list[tuple[Entry, datetime | None]] = []
        for entry in entries:
            verdict = self._verdict(entry)
            if isinstance(verdict, Go):
                if self._rechecks.needs(entry):
                    self._rechecks.begin(entry)
                else:
                    self._queue.add(self.named(entry))
                continue
            self._queue.set_aside(entry)
            if isinstance(verdict, Stop):
                entry.action = entry.action or verdict.action
                decisions.append(Decision([entry], verdict.outcome, reason=verdict.reason, detail=verdict.detail))
            elif entry.action is None and self._pause(verdict) > _IN_MEMORY:
                aside.append((entry, self._until(entry, verdict)))
            else:
                self._queue.later(entry, min(_IN_MEMORY, self._pause(verdict)))
        if decisions:
            await self._book.end(None, "accepted", None, *decisions)
        if aside:
            await self._waits.put_aside(aside)

    def _pause(self, verdict: Wait) -> float:
        return math.inf if verdict.until is None else max(0.0, (verdict.until - self._now()).total_seconds())

    def _until(self, entry: Entry, verdict: Wait) -> datetime | None:
        expires_at = entry.invitation.protection.expires_at
        return verdict.until if verdict.until is None or expires_at is None else min(verdict.until, expires_at)
