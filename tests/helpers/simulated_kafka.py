"""Kafka as `connector.kafka` sees it, in memory and in simulated time: one log for all topics, transactions.

It stands in for aiokafka's producer and for `read_back`, and keeps their promises. A producer that starts fences the
earlier producers of its name and aborts their open transactions. A producer's records arrive in their order, several in
one request. A commit is all or nothing, and is decided when it arrives at Kafka, not when the answer arrives. Kafka
carries out a request even if its sender is gone. Readers do not see the records of a partition behind an open
transaction until Kafka aborts it. After any error a producer accepts nothing more.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar

from aiokafka.errors import KafkaConnectionError, ProducerClosed, ProducerFenced

from connector.errors import Retryable
from connector.kafka.cloud_events import OutRecord
from helpers.processes import outside

T = TypeVar("T")

_ABORTED_AFTER = 60.0  # seconds; as set in `connector.kafka.connection`
_REPEATED_AFTER = 20.0  # seconds until a request without an answer is repeated; as set there
_HIDDEN = 30.0  # seconds; as `connector.kafka.read_back` waits
_LOOK = 5.0  # seconds between two looks whether Kafka answers again
_SLOW = 45.0  # seconds at most; the connector gives up a transaction after 40 s
_BATCH = 20  # records
_TROUBLES = ("refused", "slow", "answered late", "answer lost", "repeated")


@dataclass(eq=False)
class Transaction:
    """A transaction, or one record of a producer without transactions."""

    numbered: list[tuple[int, OutRecord]] = field(default_factory=list)
    state: str = "open"

    @property
    def records(self) -> list[OutRecord]:
        """Its records in the order in which they were given to the producer."""
        return [record for _, record in sorted(self.numbered, key=lambda each: each[0])]


class SimulatedKafka:
    """`trouble` is the share of requests that meet a fault. If there is an `error`, every request ends with it.

    While Kafka `hangs`, no request arrives or ends.
    """

    def __init__(self, random: Random, trouble: float, say: Callable[[str], None]) -> None:
        self.trouble = trouble
        self.error: Exception | None = None
        self.hangs = False
        self.say = say
        self.random = random
        self.log: list[tuple[Transaction, OutRecord]] = []
        self.epochs: Counter[str] = Counter()
        self.open: dict[str, Transaction] = {}
        self.committed_at: list[tuple[float, OutRecord]] = []
        self.offsets: dict[int, int] = {}  # by the record's identity; one count for all topics
        self.sent: list[OutRecord] = []  # so that no identity is used twice

    def committed(self) -> list[OutRecord]:
        return [record for transaction, record in self.log if transaction.state == "committed"]

    async def request(self, carry_out: Callable[[], T]) -> T:
        """Carries out the request when it arrives; the sender may still not learn the result."""
        while True:
            trouble = self.random.choice(_TROUBLES) if self.random.random() < self.trouble else ""
            await self._way(trouble == "slow")
            while self.hangs:  # noqa: ASYNC110 - a test changes it
                await asyncio.sleep(_LOOK)
            if self.error:
                raise self.error
            if trouble == "refused":
                raise KafkaConnectionError
            answer = carry_out()
            await self._way(trouble == "answered late")
            if trouble == "answer lost":
                raise KafkaConnectionError
            if trouble != "repeated":
                return answer
            await asyncio.sleep(_REPEATED_AFTER)

    async def _way(self, slow: bool) -> None:
        await asyncio.sleep(self.random.uniform(0, _SLOW if slow else 0.03))

    def producer(self, *, transactional_id: str, **_: object) -> "_Producer":
        return _Producer(self, transactional_id)

    async def read_back(self, _: object, topic: str, partition: int) -> AsyncIterator[Any]:
        try:
            end = await outside(self.request, lambda: len(self.log))
        except KafkaConnectionError as error:
            raise Retryable("away") from error
        for offset in range(end):
            transaction, record = self.log[offset]
            if record.topic != topic or record.partition not in {None, partition}:
                continue
            waited = 0.0
            while transaction.state == "open":
                if waited > _HIDDEN:
                    raise Retryable("nothing came")
                await asyncio.sleep(0.1)
                waited += 0.1
            if transaction.state == "committed":
                yield self._as_read(record, partition)

    async def read_at(self, _: object, place: Any, offsets: list[int]) -> AsyncIterator[Any]:
        """What is committed at these offsets."""
        try:
            found = await outside(self.request, self.committed)
        except KafkaConnectionError as error:
            raise Retryable("away") from error
        for record in found:
            if record.topic == place.topic and self.offsets[id(record)] in offsets:
                yield self._as_read(record, place.partition)

    def _as_read(self, record: OutRecord, partition: int) -> SimpleNamespace:
        place = {"topic": record.topic, "partition": partition, "offset": self.offsets[id(record)]}
        return SimpleNamespace(**place, key=record.key, value=record.value, headers=tuple(record.headers))

    async def read_back_lots(self, kafka: object, topic: str, partition: int) -> AsyncIterator[list[Any]]:
        async for record in self.read_back(kafka, topic, partition):
            yield [record]


class _Batch:
    """Takes as many records as aiokafka's would take of usual ones, or fewer, each with the next number."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self.records: list[tuple[int, dict[str, Any]]] = []
        self._numbers = numbers

    def append(self, *, timestamp: None, **record: Any) -> object:  # noqa: ARG002 - as aiokafka's
        if len(self.records) == _BATCH:
            return None
        self.records.append((next(self._numbers), record))
        return self


class _Producer:
    _sender = SimpleNamespace(sender_task=None)
    _message_accumulator = SimpleNamespace(_batches={}, _pending_batches=())
    _txn_manager = None

    def __init__(self, kafka: SimulatedKafka, name: str) -> None:
        self._kafka, self._name = kafka, name
        self._epoch = 0
        self._stopped = False
        self._transaction: Transaction | None = None  # until the producer knows its end
        self._batch: list[tuple[int, OutRecord]] = []  # of the request that is on its way, each with its number
        self._numbers = count()
        self._sent: asyncio.Future[None] | None = None

    async def start(self) -> None:
        self._epoch = await outside(self._kafka.request, self._initialise)

    async def begin_transaction(self) -> None:
        assert self._transaction is None, "Invalid state transition"  # like aiokafka, after any error
        self._transaction = Transaction()

    async def send(self, **arguments: Any) -> asyncio.Future[None]:
        return await self._send(next(self._numbers), OutRecord(**arguments))

    async def _send(self, number: int, record: OutRecord) -> asyncio.Future[None]:
        transaction = self._transaction
        assert transaction is not None
        if self._stopped:
            raise ProducerClosed
        if not self._batch:
            batch = self._batch = []
            self._sent = asyncio.ensure_future(outside(self._kafka.request, lambda: self._append(batch, transaction)))
        self._batch.append((number, record))
        assert self._sent is not None
        return self._sent

    async def partitions_for(self, _: str) -> set[int]:
        return {0}

    def create_batch(self) -> "_Batch":
        return _Batch(self._numbers)

    async def send_batch(self, batch: "_Batch", topic: str, *, partition: int) -> asyncio.Future[Any]:
        records = [OutRecord(topic=topic, partition=partition, **content) for _, content in batch.records]
        self._kafka.sent += records
        for (number, _), record in zip(batch.records, records, strict=True):
            sent = await self._send(number, record)
        return asyncio.ensure_future(self._first_of(records, sent))

    async def _first_of(self, records: list[OutRecord], sent: asyncio.Future[None]) -> SimpleNamespace:
        await sent
        return SimpleNamespace(offset=self._kafka.offsets[id(records[0])])

    async def commit_transaction(self) -> None:
        transaction = self._transaction
        assert transaction is not None
        await outside(self._kafka.request, lambda: self._commit(transaction))
        self._transaction = None

    async def stop(self) -> None:
        self._stopped = True
        await outside(self._kafka.request, lambda: None)

    @property
    def client(self) -> SimpleNamespace:
        async def close() -> None:
            self._stopped = True

        return SimpleNamespace(close=close)

    def _initialise(self) -> int:
        kafka = self._kafka
        if self._name in kafka.open:
            kafka.open.pop(self._name).state = "aborted"
        kafka.epochs[self._name] += 1
        kafka.say(f"{self._name} is initialised, epoch {kafka.epochs[self._name]}")
        return kafka.epochs[self._name]

    def _append(self, batch: list[tuple[int, OutRecord]], transaction: Transaction) -> None:
        kafka = self._kafka
        self._must_be_current(transaction)
        if not transaction.numbered:
            kafka.open[self._name] = transaction
            asyncio.get_running_loop().call_later(_ABORTED_AFTER, self._abort, transaction)
        if self._batch is batch:  # this is not a repeat: records that are sent from now on need another request
            self._batch = []
            transaction.numbered += batch
            kafka.log += [(transaction, record) for _, record in batch]
            for _, record in batch:
                kafka.offsets[id(record)] = len(kafka.offsets)

    def _commit(self, transaction: Transaction) -> None:
        if transaction.state == "committed" and self._kafka.epochs[self._name] == self._epoch:
            return
        self._must_be_current(transaction)
        transaction.state = "committed"
        self._put_in_order(transaction)
        now = asyncio.get_running_loop().time()
        self._kafka.committed_at += [(now, record) for record in transaction.records]
        self._kafka.open.pop(self._name, None)
        keys = ", ".join((record.key or b"").decode()[:18] + _state(record) for record in transaction.records[-9:])
        self._kafka.say(f"committed by epoch {self._epoch}: {len(transaction.records)} records, at the end {keys}")

    def _put_in_order(self, transaction: Transaction) -> None:
        """Batches of several topics arrive one after the other, and Kafka has no order between topics. So what is
        committed is looked at in the order in which it was given to the producer, as within each topic.
        """
        log, ordered = self._kafka.log, iter(transaction.records)
        log[:] = [(each, next(ordered) if each is transaction else record) for each, record in log]

    def _abort(self, transaction: Transaction) -> None:
        if transaction.state == "open":
            transaction.state = "aborted"
            self._kafka.open.pop(self._name, None)
            self._kafka.epochs[self._name] += 1

    def _must_be_current(self, transaction: Transaction) -> None:
        if self._kafka.epochs[self._name] != self._epoch or transaction.state != "open":
            raise ProducerFenced


def _state(record: OutRecord) -> str:
    headers = dict(record.headers)
    if record.value is None:
        return " waits no more"
    return " " + (headers.get("dl_reason") or headers["ce_type"]).decode().removeprefix("pisano.")
