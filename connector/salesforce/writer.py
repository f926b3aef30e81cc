"""Writes many records through the collections: up to 200 per call, in order per record, repeating only what failed.

Writes wait (`_waiting.py`) until a call for their target begins (`_traffic.py`), and the answer to a call decides what
becomes of its records (`_answers.py`).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from functools import partial
from typing import NoReturn

import structlog

from connector.errors import Rejected, Retryable
from connector.masking import mask_emails
from connector.retry import PATIENCE, Lasts
from connector.salesforce import _calls
from connector.salesforce._answers import Answers
from connector.salesforce._entry import Entry, Unless, Written
from connector.salesforce._pauses import may_pass, patiently, pause
from connector.salesforce._refusals import Exhausted, Failing, FieldsRefused
from connector.salesforce._slots import Slots
from connector.salesforce._traffic import Traffic
from connector.salesforce._waiting import Waiting
from connector.salesforce.object_fields import ObjectFields
from connector.salesforce.record_write import RecordWrite, Target
from connector.salesforce.rest import Result

log = structlog.get_logger(__name__)

# The record, or one that a reference points to, is deleted, merged into another one, or not there.
_POINTS_NOWHERE = {"ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "MALFORMED_ID"}
_MOST_MERGES = 10  # that a write follows, so that a circle ends

Sleep = Callable[[float], Awaitable[None]]
Sure = Callable[[], Awaitable[None]]


async def at_once() -> None:
    """Returns at once, for a writer that is the only one."""


def in_any_case() -> None:
    """Gives no reason, for a write that its caller never gives up."""


class CollectionWriter:
    """`write` returns a record's result. Callers limit how many writes wait, by how many they start at once.

    At most `calls` calls of at most `batch` records are under way at once. `sure` returns when a call may be made; a
    write whose caller was cancelled by then is left out. `patience` is how many seconds the writer waits out an outage;
    `clock` is in seconds.
    """

    def __init__(
        self,
        rest: _calls.Collections,
        *,
        batch: int = 200,
        calls: int = 10,
        sure: Sure = at_once,
        sleep: Sleep = asyncio.sleep,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rest = rest
        self._batch = batch
        self._sure = sure
        self._sleep = sleep
        self._patience = patience
        self._clock = clock
        self._fields = ObjectFields(rest.describe, clock)
        self._waiting = Waiting()
        self._slots = Slots(calls, self._wake_all)
        self._traffic: dict[Target, Traffic] = {}

    async def write(self, write: RecordWrite, unless: Unless = in_any_case) -> Written:
        """Returns the final result: a success or a rejection. Repeats a write that may work later, until it does.

        A value that its field does not take is cut or left out, as its `Choice` says, and the rest is written. A lock
        of the record is waited out, however long it lasts; after `patience` the log says so once.
        `unless` is asked right before each call, when the callers of the earlier writes of the record have their
        results. If it gives a rejection, that is the result, and nothing is written.

        Raises:
            Fatal: Salesforce does not take these fields of this object until a person changes something.
            Lasts: Salesforce has taken no write of this object for longer than `patience`, or says that it will not.
        """
        entry = Entry(write, unless)
        self._waiting.add(entry)
        try:
            tries, waited = Counter[type](), 0.0  # by the kind of the error; in seconds
            self._of(write.target).wake()
            while True:
                result = await entry.result
                if not await self._may_go_on(entry, result):
                    kind = type(result.error)
                    if isinstance(result.error, Exhausted):
                        self._hold(entry, result.error)
                    if not may_pass(write.operation, result, tries[kind]):
                        break
                    seconds = pause(result, tries.total())
                    if waited <= self._patience < waited + seconds:
                        _say_that_it_waits(entry, result)
                    await self._sleep(seconds)
                    waited += seconds
                    tries[kind] += 1
                entry.result = asyncio.get_running_loop().create_future()
                self._waiting.again(entry)
                self._wake_all()  # it may stand behind another's write now, and another's behind its last place
        finally:
            if behind := self._waiting.remove(entry):
                self._of(behind).wake()
        return entry.written(result)

    async def _may_go_on(self, entry: Entry, result: Result) -> bool:
        """Whether the write may pass at once: with the fields as they are described now, with the records that others
        were merged into, or without some values."""
        error = result.error
        if isinstance(error, FieldsRefused):
            if self._fields.doubt(entry.write.object, entry.known):
                return True
            nowhere = {name.lower() for name, code in error.fields.items() if code in _POINTS_NOWHERE}
            return bool(nowhere and await self._followed(entry, nowhere)) or entry.without(error)
        if not isinstance(error, Rejected) or error.code not in _POINTS_NOWHERE:
            return False
        return await self._followed(entry) or entry.without_references(error.code)

    async def _followed(self, entry: Entry, named: Collection[str] | None = None) -> bool:
        """Whether the write names the survivor of a merge now: as its record, or in the fields that refer to one.

        `named` are the fields that Salesforce named, in lower case; without them it may mean any.
        """
        write = entry.write
        entry.merges += 1
        if entry.merges > _MOST_MERGES:
            return False
        may_be_the_record = write.operation == "update" and (named is None or "id" in named)
        if may_be_the_record and (key := await self._survivor(entry, write.object, write.key)):
            entry.write = replace(write, key=key)
            return True
        found = {
            name: await self._survivor(entry, object_name, record_id)
            for name, (object_name, record_id) in entry.references(named).items()
        }
        followed = {name: survivor for name, survivor in found.items() if survivor}
        entry.write = replace(write, fields={**write.fields, **followed})
        return bool(followed)

    async def _survivor(self, entry: Entry, object_name: str, record_id: str) -> str | None:
        try:
            return await patiently(
                partial(_calls.survivor, self._rest, object_name, record_id), self._patience, self._sleep, self._clock
            )
        except Retryable as outage:
            if isinstance(outage, Failing) and await _calls.answers(self._rest):
                return None  # Salesforce fails with this one record, so its write is refused
            self._hold(entry, outage)

    def _hold(self, entry: Entry, outage: Retryable) -> NoReturn:
        self._of(entry.write.target).answers.hold([entry], outage)
        raise Lasts(outage) from outage

    def _of(self, target: Target) -> Traffic:
        if target not in self._traffic:
            answers = Answers(
                self._rest, self._waiting, self._slots, self._batch, self._sleep, self._patience, self._clock
            )
            self._traffic[target] = Traffic(
                target,
                answers,
                waiting=self._waiting,
                slots=self._slots,
                fields=self._fields,
                sure=self._sure,
            )
        return self._traffic[target]

    def _wake_all(self) -> None:
        """Lets the targets with the fewest calls under way go first."""
        for target in sorted(self._waiting.targets, key=lambda each: self._of(each).calls):
            self._of(target).wake()


def _say_that_it_waits(entry: Entry, result: Result) -> None:
    key, why = mask_emails(entry.write.key), str(result.error)
    log.warning("salesforce_record_waits", object=entry.write.object, key=key, reason=why)
