"""Sends the invitations of one Pisano account, one call at a time.

Per call: a token, then the limiter's permit, then the batch, then an attempt in the ledger, then the call, then its
settlement. There is one call after the other: the budget allows one in four seconds in the long run, and so Pisano
counts them in our order.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from connector.cells import Breaker, Cell
from connector.config import Account
from connector.errors import ConnectorError, Fatal, Rejected, Retryable, Unknown
from connector.kafka.inbound import InRecord
from connector.kafka.ledger import Ledger
from connector.limits import StackedLimiter
from connector.observe.metrics import Metrics
from connector.observe.tracing import tracing
from connector.pisano import Auth, Sharings, Throttled, TokenRenewed, recipient
from connector.protection import ContactProtection, Known
from connector.reasons import Reason
from connector.records import Invitation, Outcome
from connector.retry import until_done
from connector.stages._admission import Admission
from connector.stages._batches import Entry, Queue, Turns
from connector.stages._book import TOO_LATE, Book, DeadLetter, Decision, Now
from connector.stages._by_hand import ByHand
from connector.stages._claiming import Claiming, ReadTo
from connector.stages._endings import Call, Ending, begun
from connector.stages._evidence import Evidence, Outage
from connector.stages._flows import First, nothing
from connector.stages._rechecks import Rechecks
from connector.stages._refusals import Refusals
from connector.stages._waits import Again, Waits
from connector.surveys.recheck import Recheck

log = structlog.get_logger(__name__)


class AccountSender:
    """Sends one account's invitations for as long as this worker owns the account.

    If only a person can make a call work, the deliveries that wait for it fail, and the next one is tried afresh.
    `turns` chooses who shares a call; while Pisano is away, `calls` is the cell that is held, for people to see. When
    the ledger is lost, the sender is useless. `unwritten` then holds the ending, if any, that could not be written:
    the next opening of the ledger in this process writes it.
    """

    def __init__(
        self,
        account: Account,
        ledger: Ledger,
        limiter: StackedLimiter,
        *,
        turns: Turns,
        protection: ContactProtection,
        known: Known,
        calls: Cell,
        breaker: Callable[[], Breaker] = Breaker,
        dead_letter: DeadLetter,
        metrics: Metrics,
        again: Again,
        recheck: Recheck,
        claims_to: ReadTo,
        now: Now = lambda: datetime.now(UTC),
    ) -> None:
        self._account = account
        self._ledger = ledger
        self._limiter = limiter
        self._metrics = metrics
        self._now = now
        self._outage = Outage(calls)
        self._evidence = Evidence(account.outage_after)
        self._queue = Queue(turns)
        self._claiming = Claiming(ledger, self._queue, protection, claims_to, now)
        policy, ends = account.unknown_outcome, self._claiming.ends
        self._book = Book(ledger, self._queue, dead_letter, metrics, now, policy=policy, ends=ends)
        self._refusals = Refusals(self._queue, self._book, self._evidence, breaker)
        self._waits = Waits(ledger, self._queue, protection, metrics, now, again)
        self._rechecks = Rechecks(recheck, self._queue, self._book, now)
        self._admission = Admission(
            ledger, self._queue, self._book, protection, known, now, self._waits, self._rechecks
        )
        self._by_hand = ByHand(
            ledger.account, protection.actions, known.memory, self._admission, self._book, self._admitted, self._waits
        )
        self._one_call = asyncio.Lock()
        self._campaign = ("", "")  # of the last call
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def unwritten(self) -> Ending | None:
        """How the last call ended, if that could not be written."""
        return self._book.unwritten

    def start(self, pisano: Sharings, auth: Auth, first: First = nothing) -> None:
        """Begins to make calls, `first` before all others. It and `auth` use `counted`."""
        beside = (each.run() for each in (self._by_hand, self._waits, self._rechecks))
        works = (self._run(pisano, auth, first), *beside)
        self._tasks = [tracing.apart(self._guarded(work)) for work in works]

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            log.exception("sender_failed_unexpectedly", account=self._ledger.account)
            self._queue.fail(Retryable(f"the account {self._ledger.account} is opened again after {error!r}"))

    async def deliver(self, invitation: Invitation, record: InRecord) -> None:
        """Returns when the invitation's outcome is in the ledger, or the invitation waits on its topic.

        Raises:
            LedgerLost: Open the ledger anew, and deliver again.
            Fatal: The campaign, or the account if `whole`, sends nothing until a person changes something.
                No e-mail has left for this invitation; it may be delivered again.
        """
        if self._ledger.is_settled(invitation.id) or self._waits.has(invitation.id):
            self._metrics.repeated_invitations.labels(invitation.account).inc()
            return
        await self._admitted(Entry(invitation, record, self._account.max_recipients_per_call))

    async def _admitted(self, entry: Entry) -> None:
        """Returns when the entry's invitation has an outcome."""
        if self._queue.failure is not None:
            raise self._queue.failure
        known = self._queue.entries.setdefault(entry.invitation.id, entry)
        if known is entry:
            try:
                await self._admission.admit(entry)
            except ConnectorError as error:
                self._queue.fail(error)
        await asyncio.shield(known.settled)

    async def lost(self) -> None:
        """Returns when this sender is useless."""
        await self._queue.failed.wait()

    async def close(self, grace: float) -> None:
        """Begins no further call and gives the one under way `grace` seconds to be settled."""
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._one_call.acquire()  # and it is never released
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._ledger.close()

    @asynccontextmanager
    async def counted(self, call: Call) -> AsyncIterator[None]:
        """Waits for a permit, and writes the call down before and after it: it spends the same budget."""
        await self._permit()
        attempt = begun(self._ledger.account, call, self._now())
        if not await self._book.begin(attempt):
            raise Retryable(f"a {call} call was {TOO_LATE}", retry_after=0.0)
        try:
            yield
        except ConnectorError as error:
            await self._book.end(attempt, "refused", str(error))
            raise
        finally:
            self._limiter.count_now()
        await self._book.end(attempt, "accepted")

    async def _run(self, pisano: Sharings, auth: Auth, first: First) -> None:
        try:
            await first()
            while True:
                await self._queue.not_empty()
                if await self._admission.is_any_ready():  # asked before we spend a permit
                    await self._send_some(pisano, auth)
        except ConnectorError as error:
            self._queue.fail(error)

    async def _send_some(self, pisano: Sharings, auth: Auth) -> None:
        """Makes one call. What only a person can mend fails the invitations that wait for it, and no others."""
        try:
            await until_done(partial(self._send_next, pisano, auth))
        except Fatal as error:
            said = Fatal(f"Pisano account {self._ledger.account}: {error}", whole=error.whole)
            self._queue.turn_away(self._queue.waiting if error.whole else self._queue.of_campaign(self._campaign), said)
        except ConnectorError:
            raise
        except Exception as error:
            log.exception("sender_failed_unexpectedly", account=self._ledger.account)
            what = f"the sender of the account {self._ledger.account} failed: {type(error).__name__}: {error}"
            self._queue.turn_away(self._queue.waiting, Fatal(what, whole=True))

    async def _send_next(self, pisano: Sharings, auth: Auth) -> None:
        if not self._queue.waiting:
            return
        try:
            if self._evidence.in_outage:
                await asyncio.sleep(self._evidence.pause)
                await auth.prove()  # if there is a call that e-mails nobody, we make it first
            await auth.header()  # a token call takes a permit of its own
            await self._permit()
            async with self._one_call:
                chosen = await self._admission.next_batch(at_most=1 if self._evidence.in_outage else None)
                if batch := await self._claiming.first(chosen):
                    self._campaign = batch[0].campaign
                    with tracing.span("call Pisano", links=[each.record.headers for each in batch]):
                        await self._call(batch, pisano)
        except Throttled as error:
            self._limiter.close_after_429(error.retry_after)
            self._metrics.throttled.labels(self._ledger.account).inc()
            said = f"Pisano account {self._ledger.account}: {error}"
            raise Throttled(said, retry_after=self._limiter.wait()) from error
        except TokenRenewed:
            raise
        except Retryable as error:
            self._outage.shows(error, at_once=self._evidence.in_outage)
            raise

    async def _permit(self) -> None:
        self._metrics.permit_wait.labels(self._ledger.account).observe(await self._limiter.acquire())

    async def _call(self, batch: Sequence[Entry], pisano: Sharings) -> None:
        campaign, invitations = batch[0].invitation.campaign, [entry.invitation for entry in batch]
        attempt = begun(self._ledger.account, invitations[0].sharing, self._now(), campaign=campaign, entries=batch)
        if not await self._book.begin(attempt):
            return
        try:
            answer = await pisano.send(campaign, [recipient(invitation) for invitation in invitations])
        except Rejected as error:
            self._evidence.answered()
            self._outage.ends()
            await self._refusals.rejected(attempt, batch, error)
        except Unknown as error:
            self._evidence.unknown()
            if self._evidence.in_outage:
                self._outage.shows(error, at_once=True)
            await self._book.unknown(attempt, batch, error)
        except ConnectorError as error:  # Retryable or Fatal: no e-mail has left
            if isinstance(error, Fatal):
                self._evidence.answered()
                self._outage.ends()
            await self._book.end(attempt, "refused", str(error))
            raise
        except Exception as error:  # whatever the error, we must not send again
            log.exception("call_failed_unexpectedly", account=attempt.account, attempt=attempt.id)
            said = f"{type(error).__name__}: {error}"
            unknown = Decision(batch, Outcome.UNKNOWN, error, Reason.NO_CLEAR_END)
            await self._book.end(attempt, "unknown", said, unknown)
        else:
            self._limiter.note_success()
            self._evidence.passed()
            self._outage.ends()
            refused = await self._book.accepted(attempt, batch, answer)
            self._refusals.count(batch[0].campaign, len(batch) - refused, refused)
        finally:
            self._limiter.count_now()  # Pisano counted the call on arrival, so not later than this
