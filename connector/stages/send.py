"""send: pisano.invitations → Pisano's sharing APIs → pisano.attempts.

All invitations of an account are in one partition, so one worker owns the account's budget of calls and its ledger. An
invitation's record is acknowledged when its outcome is in the ledger. `_account_sender.py` makes an account's calls.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import structlog
from faust.types import TP

from connector.cells import Breaker, Cells
from connector.config import Account
from connector.errors import ConnectorError, Fatal, Rejected, Retryable
from connector.kafka.awake import TOLD_WITHIN
from connector.kafka.cell_work import Work
from connector.kafka.inbound import InRecord
from connector.kafka.ledger import Ledger, LedgerLost
from connector.limits import StackedLimiter
from connector.observe.metrics import Metrics
from connector.protection import ContactProtection, Memory
from connector.records import Invitation, read
from connector.stages._account_sender import AccountSender
from connector.stages._batches import Turns
from connector.stages._book import DeadLetter
from connector.stages._claiming import ReadTo
from connector.stages._client import auth_of, sharings_of
from connector.stages._endings import Ending
from connector.stages._flows import Flows
from connector.stages._shapes import Shapes
from connector.stages._waits import Again
from connector.surveys.recheck import Recheck

log = structlog.get_logger(__name__)

Sleep = Callable[[float], Awaitable[None]]
OpenLedger = Callable[[str, int, datetime, Memory], Coroutine[Any, Any, Ledger]]


AccountsOf = Callable[[int], Awaitable[Sequence[str]]]

_OPEN_AGAIN = 30.0  # seconds until we open an account again that nobody needs at once


async def _at_once(*_: object) -> None:
    """For a sender whose configuration names no topic of persons."""


class Send:
    """The stage: hands each invitation to its account's sender.

    The senders of a partition's accounts are open for as long as we have the partition, so that what waits is sent when
    it is due, and what a person decides is carried out, without a new invitation. `accounts_of(partition)` gives them.
    `open_ledger(account, partition, calls_since, memory)` is `Ledger.open`. The call under way has `grace` seconds to
    end when its partition is given away. `caught_up` returns when `protection` knows what the topics of persons say.
    """

    def __init__(
        self,
        accounts: Mapping[str, Account],
        open_ledger: OpenLedger,
        http: httpx.AsyncClient,
        *,
        grace: float,
        dead_letter: DeadLetter,
        metrics: Metrics,
        cells: Cells,
        breaker: Callable[[], Breaker] = Breaker,
        protection: ContactProtection,
        accounts_of: AccountsOf,
        recheck: Recheck,
        caught_up: Callable[[], Awaitable[None]] = _at_once,
        claims_to: ReadTo = _at_once,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._cells = cells
        self._breaker = breaker
        self._protection = protection
        self._caught_up = caught_up
        self._claims_to = claims_to
        self._priorities = {name: survey.priority for name, survey in protection.surveys.items()}
        self._accounts = accounts
        self._accounts_of = accounts_of
        self._recheck = recheck
        self._open_ledger = open_ledger
        self._again: dict[int, Again] = {}  # by partition
        self._http = http
        self._grace = grace
        self._dead_letter = dead_letter
        self._metrics = metrics
        self._sleep = sleep
        self._shapes = Shapes(metrics)
        self._flows = Flows(protection.surveys, http)
        self._senders: dict[tuple[str, int], asyncio.Task[AccountSender]] = {}
        self._leaving: set[int] = set()  # partitions that are being given away
        self._one_settling = asyncio.Lock()
        self._unwritten: dict[str, Ending] = {}  # by account; kept only until its ledger is opened again

    def plan(self, record: InRecord) -> dict[str, Work]:
        """The work that an invitation makes: its cell is the survey within the account. See `CellWork`.

        Raises:
            Rejected: The record is not an invitation, or the configuration does not have its account.
        """
        invitation = read(Invitation, record.value)
        if invitation.account not in self._accounts:
            raise Rejected(
                f"there is no Pisano account {invitation.account} in the configuration", code="unknown_account"
            )
        return {f"{invitation.account}/{invitation.survey}": partial(self.handle, invitation, record)}

    async def handle(self, invitation: Invitation, record: InRecord) -> None:
        """One invitation, from its record to its outcome. See `CellWork` for what an error means."""
        opening = await self._opening(invitation.account, record.partition)
        try:
            sender = await asyncio.shield(opening)
            await sender.deliver(invitation, record)
        except LedgerLost as error:
            self._reopen(invitation.account, record.partition, opening)
            raise Retryable(str(error), retry_after=0.0) from error
        except ConnectorError:
            self._forget_failed(invitation.account, record.partition, opening)
            raise

    async def beside(self, partition: TP, again: Again) -> None:
        """Keeps the senders of the partition's accounts open. `again` carries out the work of a record that waited."""
        self._again[partition.partition] = again
        accounts = [name for name in await self._accounts_of(partition.partition) if name in self._accounts]
        async with asyncio.TaskGroup() as tasks:
            for account in accounts:
                tasks.create_task(self._keep_open(account, partition.partition))

    async def _once_more(self, partition: int, record: InRecord) -> None:
        await self._again[partition](record)

    async def _keep_open(self, account: str, partition: int) -> None:
        while True:
            opening = await self._opening(account, partition)
            try:
                sender = await asyncio.shield(opening)
                await sender.lost()
                self._reopen(account, partition, opening)
            except Exception as error:  # noqa: BLE001 - nobody waits for this account
                self._forget_failed(account, partition, opening)
                log.warning("account_not_open", account=account, reason=repr(error))
                await self._sleep(_OPEN_AGAIN)

    async def _opening(self, account: str, partition: int) -> asyncio.Task[AccountSender]:
        place = (account, partition)
        if partition in self._leaving:
            await asyncio.Event().wait()  # until cancelled: opening the ledger now would fence its next owner
        if place not in self._senders:
            self._senders[place] = asyncio.create_task(self._open(*place))
        return self._senders[place]

    def _reopen(self, account: str, partition: int, lost: asyncio.Task[AccountSender]) -> None:
        if self._senders.get((account, partition)) is lost:
            self._senders[account, partition] = asyncio.create_task(self._open_again(account, partition, lost))

    def _forget_failed(self, account: str, partition: int, opening: asyncio.Task[AccountSender]) -> None:
        if opening.done() and opening.exception() and self._senders.get((account, partition)) is opening:
            del self._senders[account, partition]

    async def settle(self, partitions: set[tuple[str, int]]) -> None:
        """Closes the senders of partitions that are about to be given away, so that no call is left without its end.

        A stop of the stage meanwhile waits until this is done: otherwise the process would end during the call.
        """
        numbers = {partition for _, partition in partitions}
        async with self._one_settling:
            leaving = {place: self._senders.pop(place) for place in list(self._senders) if place[1] in numbers}
            self._leaving |= numbers
            try:
                await asyncio.gather(*(self._close(account, opening) for (account, _), opening in leaving.items()))
            finally:
                self._leaving -= numbers

    async def _close(self, account: str, opening: asyncio.Task[AccountSender]) -> None:
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        if not opening.cancelled() and opening.exception() is None:
            sender = opening.result()
            await sender.close(self._grace)
            if sender.unwritten:
                self._unwritten[account] = sender.unwritten
        for shown in (f"brake/{account}", f"send/{account}/(calls)"):
            self._cells.leave(shown)

    async def _open_again(self, account: str, partition: int, lost: asyncio.Task[AccountSender]) -> AccountSender:
        await self._close(account, lost)
        # Opening fences the current owner. If that is another worker, this task is cancelled during the wait.
        await self._sleep(TOLD_WITHIN)
        return await self._open(account, partition)

    async def _open(self, name: str, partition: int) -> AccountSender:
        """A running sender. Its limiter knows the earlier calls in the ledger, made here or elsewhere.

        A call with an unknown end counts as made now: writing it down took time, and it may still be on its way.
        """
        account = self._accounts[name]
        limiter = StackedLimiter(account.limits, padding=account.limit_padding, reserved=account.limit_reserved)
        await self._caught_up()
        known = self._protection.known(name)
        known.memory.brakes.told = partial(self._tell_brake, name)
        calls_since = datetime.now(UTC) - timedelta(seconds=limiter.memory)
        ledger = await self._open_ledger(name, partition, calls_since, known.memory)
        try:
            await self._write_what_is_unwritten(ledger)
        except BaseException:
            await ledger.close()
            raise
        now, clock = datetime.now(UTC), time.monotonic()
        ages = {call: (now - at).total_seconds() for call, at in ledger.earlier_calls.items()}
        limiter.seed([clock if call in ledger.begun else clock - age for call, age in ages.items()])
        self._metrics.watch_windows(name, limiter.used)
        sender = AccountSender(
            account,
            ledger,
            limiter,
            turns=Turns(self._priorities),
            protection=self._protection,
            known=known,
            calls=self._cells.at(f"send/{name}/(calls)"),
            breaker=self._breaker,
            dead_letter=self._dead_letter,
            metrics=self._metrics,
            again=partial(self._once_more, partition),
            recheck=self._recheck,
            claims_to=self._claims_to,
        )
        auth = auth_of(account, self._http, partial(sender.counted, "token"))
        sharings = sharings_of(account, self._http, auth, partial(self._shapes.saw, name))
        sender.start(sharings, auth, self._flows.reading(name, account, auth, sender.counted, limiter))
        return sender

    def _tell_brake(self, account: str, survey: str, why: str | None) -> None:
        """Shows that a survey waits for a person, or does no more."""
        cell = self._cells.at(f"brake/{account}/{survey}")
        if why:
            cell.hold(Fatal(f"{why}; say what to do with `connector invitations brake`"), "brake")
        else:
            cell.works()

    async def _write_what_is_unwritten(self, ledger: Ledger) -> None:
        """Writes how a call of ours ended, and the outcomes of its invitations that no owner in between has decided."""
        ending = self._unwritten.get(ledger.account)
        if ending and ending.attempt and ending.attempt.id in ledger.begun:
            ending = ending.without(ledger.is_settled)
            await ledger.settle(ending.attempt, ending.settlements, ending.records)
        self._unwritten.pop(ledger.account, None)
