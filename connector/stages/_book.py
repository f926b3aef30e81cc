"""Writes an account's calls and what they decide into its ledger, and keeps what it could not write."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from connector.errors import Rejected, Unknown
from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.kafka.ledger import Ledger
from connector.observe.metrics import Metrics
from connector.pisano import Accepted, Unclear
from connector.reasons import Reason
from connector.records import Attempt, Outcome
from connector.stages._batches import Entry, Queue
from connector.stages._endings import Ending, Result, settled, settlement
from connector.stages._links import link_record

_STALE = 5.0  # seconds from an attempt's beginning to its call; later a frozen worker may have lost the account
TOO_LATE = f"not made: writing it down took over {_STALE:g} s"

_MOST_DOUBTS = 1  # calls of unknown end after which `resend` sends an invitation again

Ends = Callable[[Entry, Outcome], Sequence[OutRecord]]
DeadLetter = Callable[[InRecord, str, Exception, str], OutRecord]
Now = Callable[[], datetime]


@dataclass(frozen=True)
class Decision:
    """An outcome for some invitations. `detail` says why in words; without it, what ended the call says it.

    `buried_for` is why each of them becomes a dead letter as well. `link` is the link that Pisano made.
    """

    entries: Sequence[Entry]
    outcome: Outcome = Outcome.SENT
    buried_for: Exception | None = None
    reason: Reason | None = None
    detail: str | None = None
    link: str | None = None


class Book:
    """`begin` before a call, then one of the others. `policy` is the account's `unknown_outcome`. `ends` gives what is
    written with an invitation's outcome.

    `unwritten` is the ending that could not be written, if there is one.
    """

    def __init__(
        self,
        ledger: Ledger,
        queue: Queue,
        dead_letter: DeadLetter,
        metrics: Metrics,
        now: Now,
        *,
        policy: str,
        ends: Ends = lambda *_: (),
    ) -> None:
        self._ends = ends
        self.unwritten: Ending | None = None
        self._ledger = ledger
        self._queue = queue
        self._dead_letter = dead_letter
        self._metrics = metrics
        self._now = now
        self._policy = policy

    async def begin(self, attempt: Attempt) -> bool:
        """Writes down that a call is about to be made. False when that took so long that we must not make the call."""
        not_made = "not made: its beginning could not be written down"
        self.unwritten = Ending(settled(attempt, "refused", not_made, self._now()))
        await self._ledger.begin(attempt)
        self.unwritten = None
        if (self._now() - attempt.begun_at).total_seconds() > _STALE:
            await self.end(attempt, "refused", TOO_LATE)
            return False
        return True

    async def accepted(self, attempt: Attempt, batch: Sequence[Entry], answer: Accepted) -> int:
        """Writes down that Pisano sent e-mails, and which addresses its answer refuses. Returns how many those are."""
        error = Rejected("Pisano's answer lists the address as refused", code="refused_by_answer")
        refused = [entry for entry in batch if entry.invitation.address in answer.refused]
        sent = Decision([entry for entry in batch if entry not in refused], link=answer.link)
        rejected = Decision(refused, Outcome.REJECTED, error, Reason.REFUSED, str(error))
        await self.end(attempt, "accepted", answer.text, sent, rejected)
        return len(refused)

    async def unknown(self, attempt: Attempt | None, batch: Sequence[Entry], error: Unknown) -> None:
        """Writes down that a call's end is not known, and what the policy makes of its invitations.

        `resend` leaves an invitation open only once, and not after a 2xx: the next one would say the same.
        """
        decided = batch if self._policy != "resend" or isinstance(error, Unclear) else self._resent(batch)
        buried_for = None if self._policy == "drop" else error
        unknown = Decision(decided, Outcome.UNKNOWN, buried_for, Reason.NO_CLEAR_END)
        await self.end(attempt, "unknown", str(error), unknown)

    def _resent(self, batch: Sequence[Entry]) -> list[Entry]:
        """Those that were sent again already. The ledger still holds the call under way, as one that has no end."""
        return [entry for entry in batch if self._ledger.doubts(entry.invitation.id) > _MOST_DOUBTS]

    async def end(
        self, attempt: Attempt | None, result: Result, detail: str | None = None, *decisions: Decision
    ) -> None:
        """Writes down how a call ended, and the outcomes of the invitations that it decides."""
        now, answer = self._now(), detail if attempt and result == "accepted" else None
        each = [(entry, decision) for decision in decisions for entry in decision.entries]
        ending = Ending(
            attempt and settled(attempt, result, detail, now),
            tuple(
                settlement(
                    entry,
                    to.outcome,
                    now,
                    reason=to.reason,
                    detail=to.detail or detail,
                    attempt=attempt,
                    answer=answer,
                )
                for entry, to in each
            ),
            tuple(self._beside(entry, to, now) for entry, to in each),
        )
        if attempt:  # without a call, the same is decided again later
            self.unwritten = ending
        ends = [end for entry, to in each for end in self._ends(entry, to.outcome)]
        causes = {entry.invitation.id: entry.record.headers for entry, _ in each}
        await self._ledger.settle(ending.attempt, ending.settlements, [*ending.records, *ends], causes)
        if attempt:
            self.unwritten = None
            self._metrics.calls.labels(attempt.account, result).inc()
        for entry, to in each:
            self._count(entry, to, attempt)
            self._queue.settled(entry)

    def _count(self, entry: Entry, to: Decision, attempt: Attempt | None) -> None:
        self._metrics.outcomes.labels(self._ledger.account, entry.survey, to.outcome, to.reason or "").inc()
        happened_at = entry.invitation.protection.happened_at
        if attempt and happened_at and to.outcome is Outcome.SENT:
            waited = (attempt.begun_at - happened_at).total_seconds()
            self._metrics.change_to_call.labels(entry.survey).observe(max(0.0, waited))

    def _beside(self, entry: Entry, to: Decision, now: datetime) -> OutRecord | None:
        if to.buried_for:
            cell = f"send/{self._ledger.account}/{entry.survey}"
            return self._dead_letter(entry.record, to.outcome, to.buried_for, cell)
        return link_record(self._ledger.topic("pisano.feedback"), entry, to.link, now) if to.link else None
