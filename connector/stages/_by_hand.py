"""Carries out what operators decided about single invitations, each decision exactly once.

The settlement holds the decision's id. A decision counts only while the outcome is unknown as it was then, or, after
the erasure of a person, while the invitation waits. So it does not matter how often the owner of the account sees the
decision, or when it is killed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial

import structlog

from connector.decisions import Action
from connector.errors import ConnectorError
from connector.kafka.inbound import InRecord
from connector.kafka.ledger import LedgerLost
from connector.protection import Actions, Memory
from connector.reasons import Reason
from connector.records import Invitation, Outcome
from connector.stages._admission import Admission
from connector.stages._batches import Entry
from connector.stages._book import Book, Decision
from connector.stages._waits import Waits

log = structlog.get_logger(__name__)

_TRY_AGAIN = 60.0  # seconds after a call could not be made: the account or campaign is held meanwhile

_AT_MOST = 1  # recipients in the call: when it ends without an answer, only this invitation is in doubt again

Deliver = Callable[[Entry], Awaitable[None]]
Sleep = Callable[[float], Awaitable[None]]


class ByHand:
    """`deliver(entry)` sends an entry's invitation and returns when it has an outcome."""

    def __init__(
        self,
        account: str,
        actions: Actions,
        memory: Memory,
        admission: Admission,
        book: Book,
        deliver: Deliver,
        waits: Waits,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._account = account
        self._actions = actions
        self._memory = memory
        self._admission = admission
        self._book = book
        self._deliver = deliver
        self._waits = waits
        self._sleep = sleep
        self._seen: set[str] = set()  # ids of actions that are being carried out, or cannot be

    async def run(self) -> None:
        """Carries out the actions that are there and those that come, until it is cancelled or the ledger is lost."""
        changed = asyncio.Event()
        end = self._actions.listen(changed.set)
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    changed.clear()
                    for action in self._actions.about_invitations(self._account):
                        if action.id not in self._seen | self._memory.actions:
                            self._seen.add(action.id)
                            tasks.create_task(self._carry_out(action))
                    await changed.wait()
        finally:
            end()

    async def _carry_out(self, action: Action) -> None:
        id_ = action.target.rpartition("/")[2]
        if action.kind == "erase":
            await self._until_done(action, partial(self._erase, action))
            return
        if (why := self._why_not(id_, action)) is not None:
            log.warning("action_without_effect", action=action.id, invitation=id_, why=why)
            return
        try:
            invitation = Invitation.model_validate(action.params["invitation"])
        except (KeyError, ValueError) as error:
            why = f"it does not hold the invitation ({type(error).__name__})"
            log.warning("action_without_effect", action=action.id, invitation=id_, why=why)
            return
        await self._until_done(action, partial(self._once, action, invitation))

    def _why_not(self, invitation: str, action: Action) -> str | None:
        """A decision is about the outcome that there was then: one of two at once may have sent an e-mail since."""
        unknown = self._memory.unknown.get(invitation)
        if unknown is None:
            return "its outcome is not unknown"
        at = datetime.fromisoformat(unknown["at"])
        seen = action.params.get("unknown_at")  # earlier versions do not write it
        is_it = at <= action.at if seen is None else at == datetime.fromisoformat(seen)
        return None if is_it else "its outcome has become unknown again since; find out, and decide anew"

    async def _until_done(self, action: Action, work: Callable[[], Awaitable[None]]) -> None:
        id_ = action.target.rpartition("/")[2]
        while True:
            try:
                await work()
            except LedgerLost:
                return  # the next owner carries it out
            except ConnectorError as error:
                log.warning("action_waits", action=action.id, invitation=id_, reason=str(error))
                await self._sleep(_TRY_AGAIN)
            else:
                log.info("action_carried_out", action=action.id, invitation=id_, decision=action.decision, by=action.by)
                return

    async def _erase(self, action: Action) -> None:
        """Ends an invitation that waits. Of any other the suppression list says before its call that it ends."""
        entry = await self._waits.take(action.target.rpartition("/")[2], action.id)
        if entry is not None:
            try:
                await self._settle(self._admission.named(entry), Outcome.SUPPRESSED, Reason.ERASED, action)
            except Exception as error:
                self._waits.give_back(entry, error)
                raise

    async def _once(self, action: Action, invitation: Invitation) -> None:
        value = invitation.model_dump_json().encode()
        record = InRecord("connector.actions", 0, 0, self._account.encode(), value, (), action.at.timestamp())
        entry = self._admission.named(Entry(invitation, record, _AT_MOST, action=action.id))
        reached = tuple(self._memory.unknown.get(invitation.id, {}).get("persons") or entry.persons)
        entry.has_moved, entry.persons = reached != entry.persons, reached
        match action.decision:
            case "resend":
                await self._deliver(entry)
            case "sent":
                await self._settle(entry, Outcome.SENT, Reason.SETTLED_BY_HAND, action)
            case "drop":
                await self._settle(entry, Outcome.SUPPRESSED, Reason.DROPPED, action)
            case unknown:
                log.error("action_without_effect", action=action.id, why=f"there is no decision {unknown}")

    async def _settle(self, entry: Entry, outcome: Outcome, reason: Reason, action: Action) -> None:
        decision = Decision([entry], outcome, reason=reason, detail=f"by {action.by}: {action.reason}")
        await self._book.end(None, "accepted", None, decision)
