"""Checks old invitations again before their call, several at once: the queue goes on meanwhile."""

import asyncio
from datetime import timedelta

import structlog

from connector.errors import ConnectorError, Rejected, Retryable
from connector.kafka.ledger import LedgerLost
from connector.reasons import Reason
from connector.records import Outcome
from connector.stages._batches import Entry, Queue
from connector.stages._book import Book, Decision, Now
from connector.surveys.recheck import NoLonger, Recheck

log = structlog.get_logger(__name__)

_TRY_AGAIN = 30.0  # seconds until Salesforce is asked again, when it is away


class Rechecks:
    """`begin` takes an entry out of the queue; it comes back when it may be sent."""

    def __init__(self, recheck: Recheck, queue: Queue, book: Book, now: Now) -> None:
        self._recheck = recheck
        self._queue = queue
        self._book = book
        self._now = now
        self._begun: asyncio.Queue[Entry] = asyncio.Queue()  # the stage limits what is in memory

    def needs(self, entry: Entry) -> bool:
        """Whether the entry must be checked before its call. What a person sends by hand is not, unless the check
        before its last call has changed its address or person: its record still has the ones of before."""
        after = self._recheck.after.get(entry.survey)
        if entry.action is not None:
            return after is not None and entry.has_moved and entry.checked_at is None
        invitation = entry.invitation
        said_at = min(invitation.created_at, invitation.protection.happened_at or invitation.created_at)
        age = self._now() - (entry.checked_at or said_at)
        return after is not None and age > timedelta(seconds=after)

    def begin(self, entry: Entry) -> None:
        """Checks an entry, and lets it wait for that."""
        self._queue.set_aside(entry)
        self._begun.put_nowait(entry)

    async def run(self) -> None:
        """Checks what has begun, until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                tasks.create_task(self._check(await self._begun.get()))

    async def _check(self, entry: Entry) -> None:
        try:
            await self._decide(entry)
        except LedgerLost as error:
            self._queue.fail(error)
        except Retryable as error:
            log.warning("recheck_waits", invitation=entry.invitation.id, survey=entry.survey, reason=str(error))
            self._queue.later(entry, _TRY_AGAIN)
        except Exception as error:
            if not isinstance(error, ConnectorError):
                log.exception("recheck_failed_unexpectedly", invitation=entry.invitation.id, survey=entry.survey)
            self._queue.turn_away([entry], error)

    async def _decide(self, entry: Entry) -> None:
        try:
            found = await self._recheck.check(entry.invitation)
        except Rejected as error:
            refused = Decision([entry], Outcome.REJECTED, error, Reason.REFUSED)
            await self._book.end(None, "rejected", f"checked again before the call: {error}", refused)
            return
        if isinstance(found, NoLonger):
            no_longer = Decision([entry], Outcome.SUPPRESSED, reason=found.reason, detail=found.detail)
            await self._book.end(None, "accepted", None, no_longer)
            return
        entry.invitation, entry.checked_at = found, self._now()
        self._queue.later(entry, 0.0)
