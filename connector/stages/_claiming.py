"""Claims the persons of a call for this account, where `once_per_any` counts over several accounts."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.ledger import Ledger
from connector.protection import CLAIMS, ContactProtection, claim_key
from connector.records import Claim, Outcome
from connector.stages._batches import Entry, Queue
from connector.stages._book import Now

_ASK_AGAIN = 5.0  # seconds until the policy is asked about a person whom another account has claimed
_MAYBE_SENT = {Outcome.SENT, Outcome.UNKNOWN}

ReadTo = Callable[[int], Awaitable[None]]


class Claiming:
    """`read_to(offset)` returns when every claim up to there is known."""

    def __init__(self, ledger: Ledger, queue: Queue, protection: ContactProtection, read_to: ReadTo, now: Now) -> None:
        self._ledger = ledger
        self._queue = queue
        self._protection = protection
        self._read_to = read_to
        self._now = now

    async def first(self, batch: Sequence[Entry]) -> list[Entry]:
        """The entries whose person no other account has claimed before. The others are asked about again later."""
        new = [entry for entry in batch if self._counts(entry) and not self._is_claimed(entry)]
        if new:
            claims = [self._claim(entry, person) for entry in new for person in entry.persons]
            await self._read_to(max(await self._ledger.claim(claims)))
        lost = [entry for entry in batch if self._counts(entry) and self._another_was_first(entry)]
        if lost:
            await self._ledger.claim([end for entry in lost for end in self._ends(entry)])
        for entry in lost:
            self._queue.set_aside(entry)
            self._queue.later(entry, _ASK_AGAIN)
        return [entry for entry in batch if entry not in lost]

    def ends(self, entry: Entry, outcome: Outcome) -> list[OutRecord]:
        """What gives the entry's person back when the invitation ends without an e-mail."""
        if outcome in _MAYBE_SENT or not self._counts(entry) or not self._is_claimed(entry):
            return []
        return self._ends(entry)

    def _counts(self, entry: Entry) -> bool:
        if self._protection.claims is None or entry.action is not None or not entry.persons:
            return False  # no other account is asked, a person has decided, or a link is for nobody in particular
        survey = self._protection.surveys.get(entry.survey)
        return survey is not None and not survey.protect.except_from_any

    def _is_claimed(self, entry: Entry) -> bool:
        claims, invitation = self._protection.claims, entry.invitation
        return claims is not None and claims.own(entry.persons, invitation.account, invitation.id) is not None

    def _another_was_first(self, entry: Entry) -> bool:
        claims, period = self._protection.claims, self._protection.over_all.once_per_any
        if claims is None or period is None:
            return False
        last = claims.before(entry.persons, entry.invitation.account, entry.invitation.id)
        return last is not None and self._now() - last < timedelta(seconds=period)

    def _claim(self, entry: Entry, person: str) -> OutRecord:
        invitation, now = entry.invitation, self._now()
        claim = Claim(person=person, account=invitation.account, invitation=invitation.id, at=now)
        return to_record(
            self._ledger.topic(CLAIMS),
            claim_key(person, invitation.account).decode(),
            claim,
            ce_type="pisano.claim",
            ce_source=f"/accounts/{invitation.account}",
            ce_id=f"{invitation.id}/{person}",
            ce_time=now,
            partition=0,
            parent=entry.record.headers,
        )

    def _ends(self, entry: Entry) -> list[OutRecord]:
        keys = (claim_key(person, entry.invitation.account) for person in entry.persons)
        return [OutRecord(self._ledger.topic(CLAIMS), key, None, [], 0) for key in keys]
