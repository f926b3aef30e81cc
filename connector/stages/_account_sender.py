"""Sends the invitations of one Pisano account, one call at a time.

Per call: a token, then the limiter's permit, then the batch, then an attempt in the ledger, then the call, then its
settlement. Calls are made one after the other: the budget allows one in four seconds in the long run, and so the order
in which Pisano counts them is ours.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import structlog

from connector.config import Account
from connector.errors import ConnectorError, Fatal, Rejected, Retryable, Unknown
from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.kafka.ledger import Ledger
from connector.limits import StackedLimiter
from connector.observe.metrics import Metrics
from connector.pisano import Auth, EmailSharings, Throttled
from connector.records import Attempt, Invitation, Outcome
from connector.retry import until_it_works
from connector.stages._batches import Entry, next_batch, recipient
from connector.stages._endings import Ending, Result, begun, settled, settlement

log = structlog.get_logger(__name__)

_STALE = 5.0  # seconds from an attempt's beginning to its call: past it a frozen worker's account may be another's
_TOO_LATE = f"not made: writing it down took over {_STALE:g} s"

DeadLetter = Callable[[InRecord, str, Exception], OutRecord]
Now = Callable[[], datetime]


class AccountSender:
    """Sends one account's invitations for as long as this worker owns the account.

    When the ledger is lost it is of no use any more, and `unwritten` holds the ending, if there is one, that could not
    be written: it is for whoever opens the ledger next in this process.
    """

    def __init__(
        self,
        account: Account,
        ledger: Ledger,
        limiter: StackedLimiter,
        *,
        dead_letter: DeadLetter,
        metrics: Metrics,
        now: Now = lambda: datetime.now(UTC),
    ) -> None:
        self.unwritten: Ending | None = None
        self._account = account
        self._ledger = ledger
        self._limiter = limiter
        self._dead_letter = dead_letter
        self._metrics = metrics
        self._now = now
        self._waiting: list[Entry] = []  # bounded by what the stage's worker keeps in flight
        self._entries: dict[str, Entry] = {}
        self._wake = asyncio.Event()
        self._one_call = asyncio.Lock()
        self._failure: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, pisano: EmailSharings, auth: Auth) -> None:
        """Begins to make calls. `auth` counts its own by `counted_token_call`."""
        self._task = asyncio.create_task(self._run(pisano, auth), name=f"send-{self._ledger.account}")

    async def deliver(self, invitation: Invitation, record: InRecord) -> None:
        """Returns when the invitation's outcome is in the ledger, or is there already: a repeat sends nothing.

        Raises:
            LedgerLost: Open the ledger anew, and deliver again.
            Fatal: Nothing will be sent until a person changes something.
        """
        if invitation.id in self._ledger.outcomes:
            self._metrics.repeated_invitations.labels(invitation.account).inc()
            return
        if self._failure is not None:
            raise self._failure
        entry = self._entries.get(invitation.id)
        if entry is None:
            entry = self._entries[invitation.id] = Entry(invitation, record, self._account.max_recipients_per_call)
            try:
                await self._admit(entry)
            except ConnectorError as error:
                self._fail(error)
        await asyncio.shield(entry.settled)

    async def close(self, grace: float) -> None:
        """Begins no further call and gives the one under way `grace` seconds to be settled."""
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._one_call.acquire()  # and it is never released
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._ledger.close()

    @asynccontextmanager
    async def counted_token_call(self) -> AsyncIterator[None]:
        """Waits for a permit, and writes the call down before and after: every call spends the same budget."""
        await self._permit()
        attempt = begun(self._ledger.account, "token", self._now())
        await self._ledger.begin(attempt)
        if self._is_stale(attempt):
            await self._end(attempt, "refused", _TOO_LATE)
            raise Retryable(f"a token call was {_TOO_LATE}", retry_after=0.0)
        try:
            yield
        except ConnectorError as error:
            await self._end(attempt, "refused", str(error))
            raise
        finally:
            self._limiter.count_now()
        await self._end(attempt, "accepted")

    async def _admit(self, entry: Entry) -> None:
        suppressed = entry.invitation.suppressed
        if suppressed is not None:
            await self._end(None, "accepted", suppressed, [entry], Outcome.SUPPRESSED)
            return
        if attempt := self._ledger.unsettled(entry.invitation.id):
            known = f"attempt {attempt.id} was begun at {attempt.begun_at:%FT%TZ} and its end was never written down"
            await self._unknown(None, [entry], Unknown(known))
        if not entry.settled.done():
            self._waiting.append(entry)
            self._wake.set()

    async def _run(self, pisano: EmailSharings, auth: Auth) -> None:
        try:
            while True:
                await self._wake.wait()
                async for attempt in until_it_works():
                    with attempt:
                        await self._send_next(pisano, auth)
                if not self._waiting:
                    self._wake.clear()
        except Fatal as error:
            self._fail(Fatal(f"Pisano account {self._ledger.account}: {error}"))
        except ConnectorError as error:
            self._fail(error)
        except Exception as error:
            log.exception("sender_failed_unexpectedly", account=self._ledger.account)
            self._fail(
                Fatal(f"the sender of the account {self._ledger.account} failed: {type(error).__name__}: {error}")
            )

    def _fail(self, error: Exception) -> None:
        self._failure = error
        for entry in self._entries.values():
            if not entry.settled.done():
                entry.settled.set_exception(error)
                entry.settled.exception()  # whoever waited for it may have been cancelled

    async def _send_next(self, pisano: EmailSharings, auth: Auth) -> None:
        try:
            await auth.header()  # a token call takes a permit of its own, so it comes first
            await self._permit()
            async with self._one_call:
                await self._call(next_batch(self._waiting), pisano)
        except Throttled as error:
            self._limiter.close_after_429(error.retry_after)
            self._metrics.throttled.labels(self._ledger.account).inc()
            said = f"Pisano account {self._ledger.account}: {error}"
            raise Throttled(said, retry_after=self._limiter.wait()) from error

    async def _permit(self) -> None:
        self._metrics.permit_wait.labels(self._ledger.account).observe(await self._limiter.acquire())

    async def _call(self, batch: Sequence[Entry], pisano: EmailSharings) -> None:
        campaign, invitations = batch[0].invitation.campaign, [entry.invitation for entry in batch]
        attempt = begun(self._ledger.account, "email_sharings", self._now(), campaign=campaign, invitations=invitations)
        not_made = "not made: its beginning could not be written down"
        self.unwritten = Ending(settled(attempt, "refused", not_made, self._now()))
        await self._ledger.begin(attempt)
        self.unwritten = None
        if self._is_stale(attempt):
            await self._end(attempt, "refused", _TOO_LATE)
            return
        try:
            answer = await pisano.send(campaign, [recipient(invitation) for invitation in invitations])
        except Rejected as error:
            await self._rejected(attempt, batch, error)
        except Unknown as error:
            await self._unknown(attempt, batch, error)
        except ConnectorError as error:  # Retryable or Fatal: no e-mail has left
            await self._end(attempt, "refused", str(error))
            raise
        except Exception as error:  # whatever it is, it must not be sent again for it
            log.exception("call_failed_unexpectedly", account=attempt.account, attempt=attempt.id)
            await self._end(attempt, "unknown", f"{type(error).__name__}: {error}", batch, Outcome.UNKNOWN, error)
        else:
            self._limiter.note_success()
            await self._end(attempt, "accepted", answer, batch, Outcome.SENT)
        finally:
            self._limiter.count_now()  # Pisano counted the call when it arrived, which is not after this

    def _is_stale(self, attempt: Attempt) -> bool:
        return (self._now() - attempt.begun_at).total_seconds() > _STALE

    async def _rejected(self, attempt: Attempt, batch: Sequence[Entry], error: Rejected) -> None:
        if len(batch) == 1:
            await self._end(attempt, "rejected", str(error), batch, Outcome.REJECTED, error)
            return
        for entry in batch:
            entry.at_most = len(batch) // 2
        await self._end(attempt, "rejected", f"{error}; its {len(batch)} recipients are tried in halves")

    async def _unknown(self, attempt: Attempt | None, batch: Sequence[Entry], error: Unknown) -> None:
        policy = self._account.unknown_outcome
        if policy == "resend":
            await self._end(attempt, "unknown", str(error))
        else:
            await self._end(attempt, "unknown", str(error), batch, Outcome.UNKNOWN, error if policy == "hold" else None)

    async def _end(
        self,
        attempt: Attempt | None,
        result: Result,
        detail: str | None = None,
        batch: Sequence[Entry] = (),
        outcome: Outcome = Outcome.SENT,
        buried_for: Exception | None = None,
    ) -> None:
        """Writes down how a call ended and, where that decides them, the outcomes of its invitations."""
        now = self._now()
        ending = Ending(
            attempt and settled(attempt, result, detail, now),
            tuple(settlement(entry.invitation, outcome, now, reason=detail, attempt=attempt) for entry in batch),
            tuple(self._dead_letter(entry.record, outcome, buried_for) for entry in batch if buried_for),
        )
        if attempt:  # what was decided without a call is decided again
            self.unwritten = ending
        await self._ledger.settle(ending.attempt, ending.settlements, ending.dead_letters)
        if attempt:
            self.unwritten = None
            self._metrics.calls.labels(attempt.account, result).inc()
        for entry in batch:
            self._settled(entry, outcome)

    def _settled(self, entry: Entry, outcome: Outcome) -> None:
        self._metrics.outcomes.labels(self._ledger.account, entry.invitation.survey, outcome).inc()
        if entry in self._waiting:
            self._waiting.remove(entry)
        self._entries.pop(entry.invitation.id, None)
        if not entry.settled.done():
            entry.settled.set_result(None)
