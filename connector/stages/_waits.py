"""The invitations of one account that wait on `pisano.waiting`: puts them there, and wakes them when they are due.

An invitation that is woken goes the way of a new one, in its cell: the policy is asked again, and what holds its survey
holds it too. It stays on the topic until it has an outcome.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from connector.errors import Retryable
from connector.kafka.inbound import InRecord
from connector.kafka.ledger import Ledger
from connector.kafka.waiting import WAITING, Found
from connector.observe.metrics import Metrics
from connector.protection import ContactProtection
from connector.records import Invitation, read
from connector.stages._batches import Entry, Queue

log = structlog.get_logger(__name__)

_AT_ONCE = 200  # woken invitations of a survey in memory: what four full calls carry
_LOOK = 30.0  # seconds at most between two looks at the clock, which may be set
_TRY_AGAIN = timedelta(seconds=5)  # until we read again what Kafka did not give us

Again = Callable[[InRecord], Awaitable[None]]
Later = tuple[Entry, datetime | None]


class Waits:
    """`again(record)` carries out the work of an invitation's record, and returns when it is done or waits again."""

    def __init__(
        self,
        ledger: Ledger,
        queue: Queue,
        protection: ContactProtection,
        metrics: Metrics,
        now: Callable[[], datetime],
        again: Again,
    ) -> None:
        self._ledger = ledger
        self._agenda = ledger.waiting.agenda
        self._queue = queue
        self._actions = protection.actions
        self._surveys = protection.surveys
        self._metrics = metrics
        self._now = now
        self._again = again
        self._woken: dict[str, Found] = {}  # by invitation
        self._under_way: Counter[str] = Counter()  # by survey
        self._decided: dict[str, str] = {}  # by survey: the decision after which we have looked at its invitations
        self._changed = asyncio.Event()

    def has(self, invitation: str) -> bool:
        """Whether the invitation waits there, so that nothing has to be done for it now."""
        return self._ledger.waiting.has(invitation) and invitation not in self._woken

    def is_woken(self, invitation: str) -> bool:
        """Whether the invitation has waited there before."""
        return invitation in self._woken

    async def take(self, invitation: str, action: str) -> Entry | None:
        """Takes an invitation off the topic's agenda, for the action of a person that ends it.

        None when it does not wait there, or is under way already. Until the entry is settled, nobody sends it.

        Raises:
            Retryable: Kafka is away.
        """
        offset = self._ledger.waiting.offset(invitation)
        if offset is None or self._ledger.is_settled(invitation):
            return None
        for found in await self._ledger.waiting.fetch([offset]):
            entry = Entry(read(Invitation, found.record.value), found.record, at_most=1, action=action)
            if self._ledger.is_settled(invitation) or self._queue.entries.setdefault(invitation, entry) is not entry:
                break
            self._agenda.drop({offset})
            return entry
        return None

    def give_back(self, entry: Entry, error: Exception) -> None:
        """Makes an entry wait again that was taken and could not be settled."""
        self._queue.turn_away([entry], error)
        if (offset := self._ledger.waiting.offset(entry.invitation.id)) is not None:
            self._agenda.put(entry.survey, self._now(), offset)
        self._changed.set()

    async def put_aside(self, later: Sequence[Later]) -> None:
        """Makes invitations wait, each until its time; without a time until a person has decided about its survey."""
        new = [each for each in later if each[0].invitation.id not in self._woken]
        for entry, until in later:
            if found := self._woken.pop(entry.invitation.id, None):
                self._agenda.put(entry.survey, until, found.offset)
        if new:
            await self._ledger.wait([(entry.record, entry.invitation, until) for entry, until in new])
        for entry, until in later:
            self._queue.settled(entry)
            if until is None and self._actions.braked(entry.invitation):  # a person decided meanwhile
                self._agenda.release(entry.survey)
        self._changed.set()

    async def run(self) -> None:
        """Wakes what is due, until it is cancelled."""
        end = self._actions.listen(self._changed.set)
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._changed.clear()
                    self._release()
                    for survey in self._agenda.surveys:
                        await self._wake(survey, tasks)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._pause()):
                            await self._changed.wait()
        finally:
            end()
            for survey in self._agenda.surveys:  # another worker may have the account now
                self._metrics.waiting.remove(self._ledger.account, survey)

    def _release(self) -> None:
        """Looks again at those that wait for a person, once after each decision, and if their survey is gone."""
        for survey in self._agenda.held:
            action = self._actions.brake(survey)
            if survey not in self._surveys:
                self._agenda.release(survey)
            elif action and self._decided.get(survey) != action.id:
                self._decided[survey] = action.id
                self._agenda.release(survey)

    def _pause(self) -> float:
        times = [
            at
            for survey in self._agenda.surveys
            if self._has_room(survey) and (at := self._agenda.next_at(survey)) is not None
        ]
        return max(0.0, min([_LOOK, *(at - self._now().timestamp() for at in times)]))

    def _has_room(self, survey: str) -> bool:
        return self._under_way[survey] <= _AT_ONCE // 2  # to read a few at a time from Kafka takes far longer

    async def _wake(self, survey: str, tasks: asyncio.TaskGroup) -> None:
        room = _AT_ONCE - self._under_way[survey] if self._has_room(survey) else 0
        if offsets := self._agenda.take(survey, self._now(), room):
            try:
                found = await self._ledger.waiting.fetch(offsets)
            except Retryable as error:
                log.warning("waiting_invitations_not_read", account=self._ledger.account, reason=str(error))
                for offset in offsets:
                    self._agenda.put(survey, self._now() + _TRY_AGAIN, offset)
                return
            self._say_what_is_missing(survey, {*offsets} - {each.offset for each in found})
            for each in found:
                self._woken[each.invitation] = each
                self._under_way[survey] += 1
                tasks.create_task(self._one(survey, each))
        self._metrics.waiting.labels(self._ledger.account, survey).set(self._agenda.count(survey))

    async def _one(self, survey: str, found: Found) -> None:
        try:
            await self._again(found.record)
        finally:
            if self._woken.get(found.invitation) is found:  # else it waits again, or was woken again
                del self._woken[found.invitation]
            self._under_way[survey] -= 1
            self._changed.set()

    def _say_what_is_missing(self, survey: str, offsets: set[int]) -> None:
        for offset in sorted(offsets):
            place = {"topic": WAITING, "offset": offset, "account": self._ledger.account, "survey": survey}
            log.error("waiting_invitation_deleted", **place)
