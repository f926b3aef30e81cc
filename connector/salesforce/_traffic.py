"""When the calls of one target begin, so that calls are full under load and a single write waits for nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from connector.salesforce import _calls
from connector.salesforce._answers import Answers, open_of
from connector.salesforce._entry import Entry
from connector.salesforce._slots import Slots
from connector.salesforce._waiting import Waiting
from connector.salesforce.object_fields import ObjectFields
from connector.salesforce.record_write import Target


class Traffic:
    """Begins the calls of one target: the first at once, and beside it only full ones.

    One target has at most as many calls as it leaves places free, so that calls that hang leave places for the others.
    While calls fail there is one at a time.
    """

    def __init__(
        self,
        target: Target,
        answers: Answers,
        *,
        waiting: Waiting,
        slots: Slots,
        fields: ObjectFields,
        sure: Callable[[], Awaitable[None]],
    ) -> None:
        self.calls = 0
        self.answers = answers
        self._target = target
        self._waiting = waiting
        self._slots = slots
        self._fields = fields
        self._sure = sure
        self._trouble = asyncio.Lock()  # held while a failed call is looked into
        self._begins = False
        self._under_way: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Begins calls, if there are writes for them, as soon as all tasks that are ready now have added theirs."""
        if not self._begins and self._may_call():
            self._begins = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _may_call(self) -> bool:
        due = self._waiting.due(self._target)
        if not due or self._trouble.locked() or self.calls >= self._slots.free:
            return False
        return self.calls == 0 or (due >= self.answers.size and not self.answers.failures)

    def _begin(self) -> None:
        self._begins = False
        while self._may_call():
            if batch := self._waiting.take(self._target, self.answers.size):
                self.calls += 1
                self._slots.take()
                task = asyncio.get_running_loop().create_task(self._call(batch), context=batch[0].context)
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)

    async def _call(self, batch: Sequence[Entry]) -> None:
        try:
            await self._fit(batch)
            if fitting := open_of(batch):
                self.answers.answered(fitting, await _calls.write(self.answers.rest, fitting))
        except Exception as error:  # noqa: BLE001 - `failed` decides what it means
            left = open_of(batch)
            if left and not self._trouble.locked():  # else an earlier failure is looked into, for all
                async with self._trouble:
                    await self.answers.failed(left, error)
        finally:
            self.calls -= 1
            self._waiting.called(batch)
            self._slots.give()

    async def _fit(self, batch: Sequence[Entry]) -> None:
        """Makes the writes fit the fields as they are described now, and settles those of which nothing may go."""
        name, doubtful = self._target.object, True
        while doubtful:
            fields = await self._fields.of(name)
            await self._sure()
            left = open_of(batch)  # another worker may have some of them by now
            for entry in left:
                entry.fit(fields)
            # Somebody may have changed the field since we asked.
            doubtful = any(entry.fitted.misfits for entry in left) and self._fields.doubt(name, fields)
        for entry in left:
            entry.settle_if_nothing_goes()
