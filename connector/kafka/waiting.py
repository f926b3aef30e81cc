"""Where an invitation waits until it is due: the compacted topic `pisano.waiting`.

The ledger writes the invitation there, and its settlement deletes it in the same transaction. So the record on
`pisano.invitations` is done, and nothing behind it has to wait. In memory we keep only when each one is due and where
it lies. The topic has no retention, because a wait has no end that Kafka knows: a quota or a brake may last for months.
The time on the topic is the first one that was found. When it comes the policy is asked again, and may find a later
one, which is kept in memory only.
"""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Container, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from connector.config import Kafka
from connector.kafka.agenda import Agenda
from connector.kafka.carried import as_it_was, carried
from connector.kafka.cloud_events import OutRecord
from connector.kafka.connection import opened, reader_settings
from connector.kafka.errors import nothing_came, translated
from connector.kafka.inbound import Headers, InRecord
from connector.kafka.read_back import read_back_lots
from connector.records import Invitation
from connector.values.digests import Digests, digest_of

WAITING = "pisano.waiting"
_OFFSET = struct.Struct("<q")
_BITS = 12  # of a digest choose its bucket: the 200,000 that wait of a large survey are 50 in each
_POLL = 200  # milliseconds
_WAIT = 50  # milliseconds that the broker waits for more records
_EMPTY_POLLS = 50  # of 200 ms without a record, after which the broker counts as away
_POSITION_WITHIN = 10.0  # seconds
_NEAR = 500  # records that are read over, because that is faster than to seek

Saw = Callable[[str, datetime | None, bool], None]


@dataclass(frozen=True)
class Found:
    """A waiting invitation: its place on `pisano.waiting`, its id, and its record as it was on `pisano.invitations`."""

    offset: int
    invitation: str
    record: InRecord


class Waits(NamedTuple):
    """What the headers on `pisano.waiting` say of an invitation. Without `until` it waits for a person."""

    survey: str
    until: datetime | None
    happened_at: datetime | None


def what_waits(headers: Headers) -> Waits:
    """Reads the headers of a record on `pisano.waiting` that `Waiting.record` has made."""
    ours = dict(headers)
    return Waits(ours["wt_survey"].decode(), _time(ours["wt_until"]), _time(ours["wt_happened"]))


async def count_besides(kafka: Kafka, partition: int, accounts: Container[str]) -> Counter[str]:
    """How many invitations wait in a partition of the topic, by account, without these accounts.

    Raises:
        Retryable: Kafka is away.
    """
    waits = set[str]()
    async for lot in read_back_lots(kafka, kafka.topic_prefix + WAITING, partition):
        for record in lot:
            key = record.key.decode()
            if key.rpartition("/")[0] not in accounts:
                (waits.discard if record.value is None else waits.add)(key)
    return Counter(key.rpartition("/")[0] for key in waits)


class Waiting:
    """The waiting invitations of one account."""

    def __init__(self, kafka: Kafka, account: str, partition: int) -> None:
        self.agenda = Agenda()
        self._kafka = kafka
        self._account = account
        self._place = TopicPartition(kafka.topic_prefix + WAITING, partition)
        self._noted = Digests(_OFFSET.size, bits=_BITS)

    def has(self, invitation: str) -> bool:
        """Whether the invitation is on the topic, or was there before it got its outcome."""
        return digest_of(invitation) in self._noted

    def offset(self, invitation: str) -> int | None:
        """Where the invitation is on the topic, or was before it got its outcome."""
        row = self._noted.get(digest_of(invitation))
        return int(_OFFSET.unpack(row)[0]) if row else None

    def record(self, record: InRecord, invitation: Invitation, until: datetime | None) -> OutRecord:
        """The record that makes an invitation wait. Without a time it waits for a person."""
        happened = invitation.protection.happened_at
        ours = {
            "wt_survey": invitation.survey,
            "wt_until": until.isoformat() if until else "",
            "wt_happened": happened.isoformat() if happened else "",
        }
        headers = [*carried(record), *((name, text.encode()) for name, text in ours.items())]
        return OutRecord(self._place.topic, self._key(invitation.id), record.value, headers, self._place.partition)

    def put(self, invitation: Invitation, until: datetime | None, offset: int) -> None:
        """Takes note that the invitation is on the topic now."""
        self._noted.put(digest_of(invitation.id), _OFFSET.pack(offset))
        self.agenda.put(invitation.survey, until, offset)

    def end(self, invitation: str) -> list[OutRecord]:
        """What has to be written when the invitation gets its outcome."""
        if not self.has(invitation):
            return []
        return [OutRecord(self._place.topic, self._key(invitation), None, [], self._place.partition)]

    async def read(self, is_settled: Callable[[str], bool], saw: Saw) -> None:
        """Reads the topic to its end. `saw(survey, happened_at, is_held)` is told of each invitation that waits.

        Raises:
            Retryable: Kafka is away.
        """
        replaced: set[int] = set()  # offsets that a later record of the same invitation makes void
        async for lot in read_back_lots(self._kafka, self._place.topic, self._place.partition):
            for record in lot:
                account, _, invitation = record.key.decode().rpartition("/")
                if account != self._account:
                    continue
                if row := self._noted.get(digest_of(invitation)):
                    replaced.add(*_OFFSET.unpack(row))
                if record.value is not None and not is_settled(invitation):
                    waits = what_waits(record.headers)
                    self._noted.put(digest_of(invitation), _OFFSET.pack(record.offset))
                    self.agenda.put(waits.survey, waits.until, record.offset)
                    saw(waits.survey, waits.happened_at, waits.until is None)
        self.agenda.drop(replaced)

    async def fetch(self, offsets: Sequence[int]) -> list[Found]:
        """The invitations at these offsets, in the same order. One that Kafka has deleted is missing.

        Raises:
            Retryable: Kafka is away.
        """
        found = {record.offset: record async for record in _records(self._kafka, self._place, sorted(offsets))}
        return [
            Found(offset, found[offset].key.decode().rpartition("/")[2], _invitation(found[offset]))
            for offset in offsets
            if offset in found
        ]

    def _key(self, invitation: str) -> bytes:
        return f"{self._account}/{invitation}".encode()


async def _records(kafka: Kafka, place: TopicPartition, offsets: Sequence[int]) -> AsyncIterator[ConsumerRecord]:
    """The records at these ascending offsets, as far as they are there.

    Kafka shows a committed record a moment later than it answers the commit, so we wait for one that is not there yet.
    """
    wanted = set(offsets)
    async with opened(AIOKafkaConsumer(**reader_settings(kafka), fetch_max_wait_ms=_WAIT)) as consumer:
        with translated():
            consumer.assign([place])
            position, empty = -_NEAR - 1, 0
            for offset in offsets:
                if offset - position > _NEAR:
                    consumer.seek(place, offset)
                    position = offset
                while position <= offset and not _is_behind_the_end(consumer, place, offset):
                    records = (await consumer.getmany(place, timeout_ms=_POLL)).get(place, [])
                    for record in records:
                        if record.offset in wanted and record.value is not None:
                            yield record
                    async with asyncio.timeout(_POSITION_WITHIN):
                        position = await consumer.position(place)
                    empty = 0 if records else empty + 1
                    if empty > _EMPTY_POLLS:
                        raise nothing_came(f"{place.topic}/{place.partition}")


def _is_behind_the_end(consumer: AIOKafkaConsumer, place: TopicPartition, offset: int) -> bool:
    end = consumer.highwater(place)  # None before the first answer; counts what is not committed yet, too
    return end is not None and offset >= end


def _time(text: bytes) -> datetime | None:
    return datetime.fromisoformat(text.decode()) if text else None


def _invitation(record: ConsumerRecord) -> InRecord:
    was = as_it_was(record)
    return replace(was, headers=tuple(header for header in was.headers if not header[0].startswith("wt_")))
