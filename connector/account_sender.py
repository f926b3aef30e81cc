"""Sends the invitations of one Pisano account, one call at a time.

Per call: a token, then the limiter's permit, then the batch, then an attempt in the ledger, then the call, then its
settlement. Calls are made one after the other: the budget allows one in four seconds in the long run, and so the order
in which Pisano counts them is ours.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import httpx
import structlog

from connector import pisano
from connector.config import Account, AuthorizedApp
from connector.errors import ConnectorError, Rejected, Unknown
from connector.kafka.cloud_events import OutRecord
from connector.kafka.ledger import Ledger
from connector.kafka.stage_worker import InRecord
from connector.limits import StackedLimiter
from connector.metrics import Metrics
from connector.pisano import Auth, EmailSharings, Recipient, Throttled
from connector.records import Attempt, Invitation, Outcome, Settlement
from connector.retry import until_it_works

log = structlog.get_logger(__name__)

DeadLetter = Callable[[InRecord, str, Exception], OutRecord]
Now = Callable[[], datetime]
Result = Literal["accepted", "rejected", "refused", "unknown"]


@dataclass(eq=False)
class _Entry:
    """An invitation that waits for its outcome."""

    invitation: Invitation
    record: InRecord
    at_most: int  # how many recipients its call may carry; halved whenever Pisano rejects its batch
    settled: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class AccountSender:
    """Sends one account's invitations, one call at a time, for as long as this worker owns the account."""

    def __init__(
        self,
        account: Account,
        ledger: Ledger,
        limiter: StackedLimiter,
        pisano: EmailSharings,
        auth: Auth,
        *,
        dead_letter: DeadLetter,
        metrics: Metrics,
        now: Now = lambda: datetime.now(UTC),
    ) -> None:
        self._account = account
        self._ledger = ledger
        self._limiter = limiter
        self._pisano = pisano
        self._auth = auth
        self._dead_letter = dead_letter
        self._metrics = metrics
        self._now = now
        self._waiting: list[_Entry] = []  # bounded by what the stage's worker keeps in flight
        self._entries: dict[str, _Entry] = {}
        self._wake = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run(), name=f"send-{ledger.account}")

    async def deliver(self, invitation: Invitation, record: InRecord) -> None:
        """Returns when the invitation's outcome is in the ledger, or is there already: a repeat sends nothing."""
        if invitation.id in self._ledger.outcomes:
            self._metrics.repeated_invitations.labels(invitation.account).inc()
            return
        entry = self._entries.get(invitation.id)
        if entry is None:
            entry = self._entries[invitation.id] = _Entry(invitation, record, self._account.max_recipients_per_call)
            await self._admit(entry)
        await asyncio.shield(entry.settled)

    async def _admit(self, entry: _Entry) -> None:
        invitation = entry.invitation
        if invitation.suppressed is not None:
            await self._end(None, "accepted", invitation.suppressed, [entry], Outcome.SUPPRESSED)
            return
        if attempt := self._ledger.unsettled(invitation.id):
            begun = f"attempt {attempt.id} was begun at {attempt.begun_at:%FT%TZ} and its end was never written down"
            await self._unknown(None, [entry], Unknown(begun))
        if not entry.settled.done():
            self._waiting.append(entry)
            self._wake.set()

    async def close(self, grace: float) -> None:
        """Begins no further call and gives the one under way `grace` seconds to be settled."""
        self._closing = True
        self._wake.set()
        await asyncio.wait([self._task], timeout=grace)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._ledger.close()

    async def _run(self) -> None:
        try:
            while True:
                await self._wake.wait()
                if self._closing:
                    return
                async for attempt in until_it_works():
                    with attempt:
                        await self._send_next()
                if not self._waiting:
                    self._wake.clear()
        except Exception as error:  # noqa: BLE001 - each invitation raises it in its own task
            for entry in self._entries.values():
                if not entry.settled.done():
                    entry.settled.set_exception(error)

    async def _send_next(self) -> None:
        await self._auth.header()  # a token call takes a permit of its own, so it comes first
        self._metrics.permit_wait.labels(self._ledger.account).observe(await self._limiter.acquire())
        batch = [] if self._closing else self._next_batch()
        if batch:
            await self._call(batch)

    def _next_batch(self) -> list[_Entry]:
        """The oldest waiting invitation and those behind it that may share its call: same campaign, other addresses."""
        batch: list[_Entry] = []
        for entry in self._waiting:
            if len(batch) >= min(e.at_most for e in [*batch, entry]):
                break
            if not batch or (
                entry.invitation.campaign == batch[0].invitation.campaign
                and all(entry.invitation.email != other.invitation.email for other in batch)
            ):
                batch.append(entry)
        return batch

    async def _call(self, batch: Sequence[_Entry]) -> None:
        campaign = batch[0].invitation.campaign
        begun = Attempt(
            id=uuid.uuid4().hex,
            account=self._ledger.account,
            call="email_sharings",
            campaign=campaign,
            invitations=tuple(entry.invitation.id for entry in batch),
            state="begun",
            begun_at=self._now(),
        )
        await self._ledger.begin(begun)
        try:
            answer = await self._pisano.send(campaign, [_recipient(entry.invitation) for entry in batch])
        except Rejected as error:
            await self._rejected(begun, batch, error)
        except Unknown as error:
            await self._unknown(begun, batch, error)
        except ConnectorError as error:  # Retryable or Fatal: no e-mail has left
            if isinstance(error, Throttled):
                self._limiter.close_after_429(error.retry_after)
                self._metrics.throttled.labels(self._ledger.account).inc()
            await self._end(begun, "refused", str(error))
            raise
        else:
            self._limiter.note_success()
            await self._end(begun, "accepted", answer, batch, Outcome.SENT)
        finally:
            self._limiter.count_now()  # Pisano counted the call when it arrived, which is not after this

    async def _rejected(self, begun: Attempt, batch: Sequence[_Entry], error: Rejected) -> None:
        if len(batch) == 1:
            await self._end(begun, "rejected", str(error), batch, Outcome.REJECTED, error)
            return
        for entry in batch:
            entry.at_most = len(batch) // 2
        await self._end(begun, "rejected", f"{error}; its {len(batch)} recipients are tried in halves")

    async def _unknown(self, begun: Attempt | None, batch: Sequence[_Entry], error: Unknown) -> None:
        policy = self._account.unknown_outcome
        if policy == "resend":
            await self._end(begun, "unknown", str(error))
        else:
            await self._end(begun, "unknown", str(error), batch, Outcome.UNKNOWN, error if policy == "hold" else None)

    async def _end(
        self,
        begun: Attempt | None,
        result: Result,
        detail: str | None,
        batch: Sequence[_Entry] = (),
        outcome: Outcome = Outcome.SENT,
        buried_for: Exception | None = None,
    ) -> None:
        """Writes down how a call ended and, where that decides them, the outcomes of its invitations.

        Repeated until it works, by itself: a call that was made must not be made again because Kafka was away.
        """
        now = self._now()
        attempt = begun and begun.model_copy(
            update={"state": "settled", "result": result, "detail": detail, "settled_at": now}
        )
        settlements = [
            _settlement(
                entry.invitation,
                outcome,
                now,
                attempt=begun.id if begun else None,
                reason=None if outcome is Outcome.SENT else detail,
            )
            for entry in batch
        ]
        letters = [self._dead_letter(entry.record, outcome, buried_for) for entry in batch] if buried_for else []
        async for attempt_to_write in until_it_works():
            with attempt_to_write:
                await self._ledger.settle(attempt, settlements, letters)
        for entry in batch:
            self._metrics.outcomes.labels(self._ledger.account, entry.invitation.survey, outcome).inc()
            if entry in self._waiting:
                self._waiting.remove(entry)
            self._entries.pop(entry.invitation.id, None)
            if not entry.settled.done():
                entry.settled.set_result(None)


def _recipient(invitation: Invitation) -> Recipient:
    return Recipient(invitation.email or "", invitation.custom_attributes, invitation.built_in_responses)


def _settlement(
    invitation: Invitation, outcome: Outcome, at: datetime, *, attempt: str | None = None, reason: str | None = None
) -> Settlement:
    return Settlement(
        invitation=invitation.id,
        account=invitation.account,
        survey=invitation.survey,
        record_id=invitation.record_id,
        outcome=outcome,
        reason=reason,
        attempt=attempt,
        at=at,
    )


def open_sender(
    account: Account, ledger: Ledger, http: httpx.AsyncClient, *, dead_letter: DeadLetter, metrics: Metrics
) -> AccountSender:
    """A running sender whose limiter knows the calls that the ledger says were made before, here or elsewhere."""
    limiter = StackedLimiter(account.limits, padding=account.limit_padding, reserved=account.limit_reserved)
    now, clock = datetime.now(UTC), time.monotonic()
    limiter.seed([clock - (now - at).total_seconds() for at in ledger.calls.values()])

    async def token_permit() -> None:
        await limiter.acquire()
        await ledger.begin(
            Attempt(
                id=uuid.uuid4().hex, account=ledger.account, call="token", state="begun", begun_at=datetime.now(UTC)
            )
        )

    auth: Auth
    if isinstance(account.auth, AuthorizedApp):
        auth = pisano.AuthorizedApp(
            http,
            account.base_url,
            account.auth.client_id,
            account.auth.client_secret.get_secret_value(),
            permit=token_permit,
            id_key=account.auth.id_key,
            secret_key=account.auth.secret_key,
            lifetime=account.auth.lifetime,
            scheme=account.auth.scheme,
            connect_timeout=account.connect_timeout,
            timeout=account.timeout,
        )
    else:
        auth = pisano.StaticToken(account.auth.token.get_secret_value(), scheme=account.auth.scheme)
    sharings = EmailSharings(
        http,
        account.base_url,
        auth,
        retry_statuses=account.retry_statuses,
        connect_timeout=account.connect_timeout,
        timeout=account.timeout,
    )
    return AccountSender(account, ledger, limiter, sharings, auth, dead_letter=dead_letter, metrics=metrics)
