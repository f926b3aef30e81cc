"""What we write to the ledger about a call to Pisano: how it began, how it ended, and what that decides."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import compress
from typing import Literal, Self

from connector.kafka.cloud_events import OutRecord
from connector.reasons import Reason
from connector.records import Attempt, Outcome, Settlement, Sharing
from connector.stages._batches import Entry

_LONGEST_DETAIL = 1_000  # characters of Pisano's answer that are kept: the ledger is read back whole
_LONGEST_ANSWER = 300  # the same for each of a call's invitations, of which there may be many

Call = Sharing | Literal["token", "flow"]
Result = Literal["accepted", "rejected", "refused", "unknown"]


@dataclass(frozen=True)
class Ending:
    """How a call ended, and what that decides for its invitations. We write both to the ledger in one transaction.

    `beside` is empty, or has what goes out with each settlement, in the same order: a dead letter, a link, or None.
    """

    attempt: Attempt | None
    settlements: tuple[Settlement, ...] = ()
    beside: tuple[OutRecord | None, ...] = ()

    @property
    def records(self) -> list[OutRecord]:
        """The dead letters and links that there are."""
        return [record for record in self.beside if record is not None]

    def without(self, is_decided: Callable[[str], bool]) -> Self:
        """The same ending without the invitations, by their ids, that are decided already."""
        open_ = [not is_decided(settlement.invitation) for settlement in self.settlements]
        settlements, beside = compress(self.settlements, open_), compress(self.beside, open_)
        return type(self)(self.attempt, tuple(settlements), tuple(beside))


def begun(
    account: str,
    call: Call,
    at: datetime,
    *,
    campaign: str | None = None,
    entries: Sequence[Entry] = (),
) -> Attempt:
    """A call that is about to be made."""
    return Attempt(
        id=uuid.uuid4().hex,
        account=account,
        call=call,
        campaign=campaign,
        invitations=tuple(entry.invitation.id for entry in entries),
        persons=tuple(entry.persons for entry in entries),
        state="begun",
        begun_at=at,
    )


def settled(attempt: Attempt, result: Result, detail: str | None, at: datetime) -> Attempt:
    """The same call, with how it ended."""
    detail = detail and detail[:_LONGEST_DETAIL]
    return attempt.model_copy(update={"state": "settled", "result": result, "detail": detail, "settled_at": at})


def settlement(
    entry: Entry,
    outcome: Outcome,
    at: datetime,
    *,
    reason: Reason | None,
    detail: str | None,
    attempt: Attempt | None,
    answer: str | None = None,
) -> Settlement:
    """What became of an entry's invitation. A `sent` one needs no reason. `answer` is the 2xx that says so."""
    invitation, maybe_sent = entry.invitation, outcome in {Outcome.SENT, Outcome.UNKNOWN}
    return Settlement(
        invitation=invitation.id,
        account=invitation.account,
        survey=invitation.survey,
        record_id=invitation.record_id,
        outcome=outcome,
        reason=reason,
        detail=None if outcome is Outcome.SENT else detail and detail[:_LONGEST_ANSWER],
        persons=entry.persons if maybe_sent else (),
        cap=entry.cap if maybe_sent else None,
        happened_at=invitation.protection.happened_at if maybe_sent else None,
        action=entry.action,
        answer=answer and answer[:_LONGEST_ANSWER],
        attempt=attempt.id if attempt else None,
        at=at,
    )
