"""The ledger: one account's attempts and settlements, and the lock that lets one worker at a time call Pisano.

Opening it fences every earlier owner of the account's transactional id and then reads what they wrote. A worker that
lost the account without knowing can no longer commit an attempt, and without a committed attempt it does not call. What
several callers write in the same moment goes into one transaction.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol, Self

import orjson
from aiokafka import AIOKafkaProducer, ConsumerRecord
from pydantic import Field, TypeAdapter, ValidationError

from connector.config import Kafka
from connector.errors import ConnectorError, Fatal, Retryable
from connector.kafka.cloud_events import Headers, OutRecord, to_record
from connector.kafka.connection import close, transactional_producer
from connector.kafka.errors import Fenced
from connector.kafka.inbound import InRecord
from connector.kafka.read_back import read_back_lots
from connector.kafka.together import Note, Together
from connector.kafka.waiting import Waiting
from connector.records import Attempt, Invitation, Outcome, Settlement
from connector.values.digests import Digests, digest_of

_NO_CAUSES: Mapping[str, Headers] = {}
ATTEMPTS = "pisano.attempts"
_ENTRY: TypeAdapter[Attempt | Settlement] = TypeAdapter(Annotated[Attempt | Settlement, Field(discriminator="kind")])
_SETTLEMENT = Settlement.model_fields.keys()
_OUTCOMES = tuple(map(str, Outcome))


def read_entry(value: bytes) -> Attempt | Settlement:
    """One record of the ledger from its bytes. Raises pydantic's ValidationError for anything else."""
    return _ENTRY.validate_json(value)


def _settlement(value: bytes) -> dict[str, Any] | None:
    """The fields of a settlement; None for anything else, and in doubt.

    pydantic needs several times as long, and a ledger holds millions of settlements. The caller may count on `account`,
    `invitation`, `survey`, `outcome` and `at`; the types of the other fields are not checked.
    """
    try:
        fields = orjson.loads(value)
    except ValueError:
        return None
    if (
        isinstance(fields, dict)
        and fields.keys() == _SETTLEMENT
        and fields["kind"] == "settlement"
        and isinstance(fields["account"], str)
        and isinstance(fields["invitation"], str)
        and isinstance(fields["survey"], str)
        and isinstance(fields["at"], str)
        and fields["outcome"] in _OUTCOMES
    ):
        return fields
    return None


def _entry(record: ConsumerRecord) -> Attempt | Settlement:
    try:
        return read_entry(record.value)
    except ValidationError as error:
        raise Fatal(
            f"{record.topic}, partition {record.partition}, offset {record.offset} is not a ledger entry, so we do not "
            "know for sure who was e-mailed. Find out who wrote it, then delete the records up to and including it."
        ) from error


class Memory(Protocol):
    """Is told what the ledger holds, in order."""

    def settled(self, settlement: Mapping[str, Any], *, is_ours: bool) -> None:
        """Takes the fields of a settlement, as they are on the topic; `is_ours` when this ledger has written it."""

    def called(self, attempt: Attempt) -> None:
        """Takes an attempt."""

    def waits(self, survey: str, happened_at: datetime | None, is_held: bool) -> None:
        """Takes an invitation that waited when the ledger was opened; `is_held` when a person has to decide."""


class LedgerLost(ConnectorError):
    """Another worker has opened the account's ledger, or Kafka was away. This ledger object is useless now."""


class Ledger:
    """Open with `await Ledger.open(…)`, then `begin` before each call and `settle` after it.

    Raises:
        LedgerLost: From `begin` and `settle`, and from every later call. Only the next opening of the ledger shows
            whether the entry was written.
    """

    def __init__(
        self, kafka: Kafka, account: str, partition: int, producer: AIOKafkaProducer, memory: Memory | None = None
    ) -> None:
        self.account = account
        self._memory = memory
        self.settled = Digests()  # invitations that have an outcome
        self.begun: dict[str, Attempt] = {}  # by attempt id: attempts that were begun and whose end is not written
        self.unknown: dict[str, Attempt] = {}  # by attempt id: attempts that ended unknown
        self.earlier_calls: dict[str, datetime] = {}  # by attempt id: when the call was last known to be under way
        self._kafka = kafka
        self._partition = partition
        self._producer = producer
        self._together = Together(producer)
        self.waiting = Waiting(kafka, account, partition)

    @classmethod
    async def open(
        cls, kafka: Kafka, account: str, partition: int, calls_since: datetime, memory: Memory | None = None
    ) -> Self:
        """Fences the earlier owners, then reads the ledger's `partition` to its end.

        It keeps the earlier owners' calls from `calls_since` on: the limiter needs no older ones. `memory` is told
        everything that is read or written.
        """
        producer = await transactional_producer(kafka, f"send-{account}")
        ledger = cls(kafka, account, partition, producer, memory)
        try:
            async for lot in read_back_lots(kafka, kafka.topic_prefix + ATTEMPTS, partition):
                ledger._read(lot, calls_since)
            await ledger.waiting.read(ledger.is_settled, memory.waits if memory else lambda *_: None)
        except BaseException:
            await close(producer)
            raise
        return ledger

    def is_settled(self, invitation: str) -> bool:
        """Whether an invitation has an outcome."""
        return digest_of(invitation) in self.settled

    def unsettled(self, invitation: str) -> Attempt | None:
        """The attempt that was begun for an invitation and never settled."""
        return next((a for a in self.begun.values() if invitation in a.invitations), None)

    def doubts(self, invitation: str) -> int:
        """How many attempts may have e-mailed an invitation: they ended unknown, or their end is not written."""
        return sum(invitation in a.invitations for a in (*self.begun.values(), *self.unknown.values()))

    async def begin(self, attempt: Attempt) -> None:
        """Writes an attempt down. The caller may make the call only after this."""
        await self._write(attempt)

    async def settle(
        self,
        attempt: Attempt | None,
        settlements: Sequence[Settlement] = (),
        also: Sequence[OutRecord] = (),
        causes: Mapping[str, Headers] = _NO_CAUSES,
    ) -> None:
        """Writes down what became of an attempt and of invitations, and `also` what else the decision makes.

        `causes` are the headers of the invitations' records.
        """
        entries: list[Attempt | Settlement] = [*settlements] if attempt is None else [attempt, *settlements]
        await self._write(*entries, also=also, causes=causes)

    async def wait(self, invitations: Sequence[tuple[InRecord, Invitation, datetime | None]]) -> None:
        """Makes invitations wait, each with its record until its time; without a time until a person decides."""

        def note(offsets: Sequence[int]) -> None:
            for (_, invitation, until), offset in zip(invitations, offsets, strict=True):
                self.waiting.put(invitation, until, offset)

        await self._commit([self.waiting.record(*each) for each in invitations], note)

    def topic(self, name: str) -> str:
        """The full name of a topic."""
        return self._kafka.topic_prefix + name

    async def claim(self, claims: Sequence[OutRecord]) -> Sequence[int]:
        """Writes claims of persons, or their ends. Returns their offsets."""
        found: list[int] = []
        await self._commit(claims, found.extend)
        return found

    async def close(self) -> None:
        """Releases the producer; the ledger's content stays on the topic."""
        await self._together.end()
        await close(self._producer)

    async def _write(
        self, *entries: Attempt | Settlement, also: Sequence[OutRecord] = (), causes: Mapping[str, Headers] = _NO_CAUSES
    ) -> None:
        ends = [end for entry in entries if isinstance(entry, Settlement) for end in self.waiting.end(entry.invitation)]

        def note(_: Sequence[int]) -> None:
            for entry in entries:
                self._remember(entry)

        await self._commit([*(self._record(entry, causes) for entry in entries), *ends, *also], note)

    async def _commit(self, records: Sequence[OutRecord], note: Note) -> None:
        try:
            await self._together.write(records, note)
        except (Fenced, Retryable) as error:
            raise LedgerLost(f"the ledger of the account {self.account} is lost: {error}") from error

    def _read(self, lot: Sequence[ConsumerRecord], calls_since: datetime) -> None:
        for record in lot:
            if record.value is None:
                continue
            if fields := _settlement(record.value):
                if fields["account"] == self.account:  # accounts may share a partition
                    self.settled.put(digest_of(fields["invitation"]))
                    if self._memory:
                        self._memory.settled(fields, is_ours=False)
                continue
            entry = _entry(record)
            if entry.account != self.account:
                continue
            self._remember(entry, is_ours=False)
            if isinstance(entry, Attempt) and entry.last_known_at >= calls_since:
                self.earlier_calls[entry.id] = entry.last_known_at

    def _remember(self, entry: Attempt | Settlement, *, is_ours: bool = True) -> None:
        if isinstance(entry, Settlement):
            self.settled.put(digest_of(entry.invitation))
            if self._memory:
                self._memory.settled(entry.model_dump(mode="json"), is_ours=is_ours)
            return
        if self._memory:
            self._memory.called(entry)
        if entry.state == "begun":
            self.begun[entry.id] = entry
        else:
            self.begun.pop(entry.id, None)
            if entry.result == "unknown":
                self.unknown[entry.id] = entry

    def _record(self, entry: Attempt | Settlement, causes: Mapping[str, Headers]) -> OutRecord:
        cause: Headers = ()
        if isinstance(entry, Settlement):
            cause = causes.get(entry.invitation, ())
            key, name, at = entry.invitation, f"invitation.{entry.outcome}", entry.at
            event = key
        else:
            key, name, at = f"call/{entry.id}", f"attempt.{entry.state}", entry.last_known_at
            event = f"{key}/{entry.state}"  # its two records are two events
        return to_record(
            self._kafka.topic_prefix + ATTEMPTS,
            f"{self.account}/{key}",
            entry,
            ce_type=f"pisano.{name}",
            ce_source=f"/accounts/{self.account}",
            ce_id=event,
            ce_time=at,
            partition=self._partition,
            parent=cause,
        )
