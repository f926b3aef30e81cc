"""send: pisano.invitations → Pisano's sharing APIs → pisano.attempts.

All invitations of an account are in one partition, so one worker owns the account's budget of calls and its ledger. An
invitation's record is acknowledged when its outcome is in the ledger. `_account_sender.py` makes an account's calls.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx

from connector import pisano
from connector.cells import Breaker, Cells
from connector.config import Account, AuthorizedApp
from connector.errors import ConnectorError, Fatal, Rejected, Retryable
from connector.kafka.awake import TOLD_WITHIN
from connector.kafka.cell_work import Work
from connector.kafka.inbound import InRecord
from connector.kafka.ledger import Ledger, LedgerLost
from connector.limits import StackedLimiter
from connector.observe.metrics import Metrics
from connector.pisano import Auth
from connector.protection import ContactProtection, Memory
from connector.records import Invitation, read
from connector.stages._account_sender import AccountSender
from connector.stages._batches import Turns
from connector.stages._book import DeadLetter
from connector.stages._endings import Ending
from connector.stages._flows import Flows
from connector.stages._shapes import Shapes

Sleep = Callable[[float], Awaitable[None]]
Counted = Callable[[], AbstractAsyncContextManager[None]]
OpenLedger = Callable[[str, int, datetime, Memory], Coroutine[Any, Any, Ledger]]


async def _at_once() -> None:
    """For a sender whose configuration names no topic of persons."""


class Send:
    """The stage: hands each invitation to its account's sender, which it opens when the first one comes.

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
        caught_up: Callable[[], Awaitable[None]] = _at_once,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._cells = cells
        self._breaker = breaker
        self._protection = protection
        self._caught_up = caught_up
        self._priorities = {name: survey.priority for name, survey in protection.surveys.items()}
        self._accounts = accounts
        self._open_ledger = open_ledger
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
        place = (invitation.account, record.partition)
        if record.partition in self._leaving:
            await asyncio.Event().wait()  # until cancelled: opening the ledger now would fence its next owner
        if place not in self._senders:
            self._senders[place] = asyncio.create_task(self._open(*place))
        opening = self._senders[place]
        try:
            sender = await asyncio.shield(opening)
            await sender.deliver(invitation, record)
        except LedgerLost as error:
            if self._senders.get(place) is opening:
                self._senders[place] = asyncio.create_task(self._open_again(*place, opening))
            raise Retryable(str(error), retry_after=0.0) from error
        except ConnectorError:
            if opening.done() and opening.exception() and self._senders.get(place) is opening:
                del self._senders[place]
            raise

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
        )
        auth = auth_of(account, self._http, partial(sender.counted, "token"))
        sharings = pisano.Sharings(
            self._http,
            account.base_url,
            auth,
            rules=_rules(account),
            saw=partial(self._shapes.saw, name),
            retry_statuses=account.retry_statuses,
            phone_form=account.phones.form,
            connect_timeout=account.connect_timeout,
            timeout=account.timeout,
        )
        sender.start(sharings, auth, self._flows.reading(name, account, auth, sender.counted, limiter))
        return sender

    def _tell_brake(self, account: str, survey: str, held: bool) -> None:
        """Shows that a survey waits for a person, or does no more."""
        cell = self._cells.at(f"brake/{account}/{survey}")
        if held:
            limit, command = self._protection.surveys[survey].protect.brake, "connector invitations brake"
            cell.hold(Fatal(f"more than {limit} invitations; say what to do with `{command}`"), "brake")
        else:
            cell.works()

    async def _write_what_is_unwritten(self, ledger: Ledger) -> None:
        """Writes how a call of ours ended, and the outcomes of its invitations that no owner in between has decided."""
        ending = self._unwritten.get(ledger.account)
        if ending and ending.attempt and ending.attempt.id in ledger.begun:
            ending = ending.without(ledger.is_settled)
            await ledger.settle(ending.attempt, ending.settlements, ending.records)
        self._unwritten.pop(ledger.account, None)


def auth_of(account: Account, http: httpx.AsyncClient, counted: Counted) -> Auth:
    """How the account logs in. Each token call runs inside `counted()`."""
    if not isinstance(account.auth, AuthorizedApp):
        return pisano.StaticToken(account.auth.token.get_secret_value(), scheme=account.auth.scheme)
    return pisano.AuthorizedApp(
        http,
        account.base_url,
        account.auth.client_id,
        account.auth.client_secret.get_secret_value(),
        counted=counted,
        id_key=account.auth.id_key,
        secret_key=account.auth.secret_key,
        lifetime=account.auth.lifetime,
        scheme=account.auth.scheme,
        connect_timeout=account.connect_timeout,
        timeout=account.timeout,
    )


def _rules(account: Account) -> pisano.AnswerRules:
    answers, results = account.answers, account.answers.results
    return pisano.AnswerRules(
        answers.sent_when,
        answers.refused_when,
        pisano.Results(results.path, results.address, results.refused_when) if results else None,
        answers.campaign_off_when,
        answers.link,
    )
