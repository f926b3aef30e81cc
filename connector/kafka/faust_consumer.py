"""Faust's consumer, changed so that it commits only what we say is finished, and loses nothing in a rebalance.

Faust acknowledges a record in a `finally` and computes the offset to commit from the acknowledged records. It is off by
one at the head and overlooks the holes that transaction markers leave. So here our own `OrderedAcks` gives the position
to commit, and Faust does what it is good at: membership, fetching and handing records out.
Only this module and `faust_app.py` override Faust's internals. `tests/integration/test_stage_worker.py` and
`tests/chaos/` test that on a real broker, so that a bump of the pinned version cannot break it unnoticed.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Protocol, cast

import aiokafka
import faust
from aiokafka.errors import IllegalStateError
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.services import Service
from mode.threads import ServiceThread, WorkerThread

from connector.kafka.ordered import OrderedAcks, Read

_FETCHER_LOOKS = 1.0  # seconds between looks of aiokafka's fetcher; whatever it has to do wakes it before that
_BATCH = 50  # records that Faust hands out at once: it starts four tasks each time; 50 keep an agent busy for 5 ms
_COMMITTED_WITHIN = 4.0  # seconds; a commit takes milliseconds, and is tried again each second
_ANSWERS_WITHIN = 5.0  # seconds; a position is known at once unless Kafka has not said yet where to begin


class Offsets(Protocol):
    """Knows which records are finished. `failure` is done when the worker has failed."""

    failure: asyncio.Future[None]

    def acks(self, partition: TP) -> OrderedAcks:
        """The records that were delivered since the partition was assigned."""

    async def settle(self, partitions: set[TP]) -> None:
        """Ends the work on partitions that Kafka is about to give away. Their positions are committed afterwards."""

    async def assigned(self, partitions: set[TP]) -> None:
        """This worker has the partitions now; their records come after this call."""

    def forget(self, partitions: set[TP]) -> None:
        """The worker has lost the partitions; if records of them come again, that is a new delivery."""


class _Daemon(WorkerThread):
    """A thread that cannot keep the process when it does not end."""

    def __init__(self, service: ServiceThread, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    Worker = _Daemon
    # The assignment, of which aiokafka makes a new one at each rebalance, and how far its partitions were read. It is
    # one value, because the main thread reads it.
    _noted: tuple[Any, Mapping[TP, Read]] = (None, {})
    _committing: asyncio.Task[Any] | None = None  # the commit under way

    def read(self, tp: TP) -> Read | None:
        """How far the partition was read; None during a rebalance."""
        assignment, read = self._noted
        return read.get(tp) if assignment is not None and assignment.active else None

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Waits 4 s. aiokafka tries for ever when a partition is gone, and then no stop of Faust's would end.

        The commit goes on: aiokafka would leave its error to nobody if it were cancelled.
        """
        begins = self._committing is None or self._committing.done()
        if begins:
            self._committing = asyncio.create_task(super()._commit(offsets))
        committing = cast(asyncio.Task[Any], self._committing)
        await asyncio.wait({committing}, timeout=_COMMITTED_WITHIN)
        return begins and committing.done() and bool(committing.result())

    async def _fetch_records(self, consumer: aiokafka.AIOKafkaConsumer, *arguments: Any, **options: Any) -> Any:
        records = await super()._fetch_records(consumer, *arguments, **options)
        self._note(getattr(consumer._subscription.subscription, "assignment", None), records)
        return records

    def _note(self, assignment: Any, records: Mapping[TP, Any]) -> None:
        """Must follow a fetch without a wait: then every record before a noted position has been fetched."""
        noted, read = self._noted
        before = read if noted is assignment else {}
        behind = {tp: read.behind for tp, read in before.items()} | {tp: records[tp][-1].offset + 1 for tp in records}
        first = {tp: records[tp][0].offset for tp in records} | {tp: read.first for tp, read in before.items()}
        states = [(TP(*tp), assignment.state_value(tp)) for tp in assignment.tps] if assignment else []
        self._noted = (
            assignment,
            {
                tp: Read(state.position, behind.get(tp), first.get(tp))
                for tp, state in states
                if state.has_valid_position
            },
        )

    async def seek_to_committed(self) -> Mapping[TP, int]:
        return cast(Mapping[TP, int], await self.call_thread(self._seek_to_committed))

    async def _seek_to_committed(self) -> Mapping[TP, int]:
        """Also where nothing is committed, or 0: aiokafka goes on there from where it is.

        The fetch that is under way when a rebalance begins may return records of the new assignment. Faust drops them
        and seeks, so those of such a partition would never come again.
        """
        consumer = self._ensure_consumer()
        with suppress(IllegalStateError):  # a rebalance has begun, and Faust seeks once more at its end
            committed: Mapping[TP, int] = await consumer.seek_to_committed()
            for tp in (tp for tp, offset in committed.items() if not offset):
                consumer.seek(tp, 0)  # if Kafka has deleted that record, the consumer goes to the first one it has
            return committed
        return {}

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # capture and send write in transactions
        consumer._consumer_timeout = _FETCHER_LOOKS  # aiokafka's setting `consumer_timeout_ms`
        return consumer

    async def on_thread_stop(self) -> None:
        # While Kafka is away, aiokafka's consumer ends with this error, and Faust would wait for its thread for ever.
        with suppress(asyncio.CancelledError):
            await super().on_thread_stop()
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.wait({self._committing}, timeout=_COMMITTED_WITHIN)

    async def call_thread(self, *arguments: Any, **options: Any) -> Any:
        if self.thread_loop.is_closed():
            raise ConsumerNotStarted("the thread of the consumer has ended")
        return await super().call_thread(*arguments, **options)

    async def commit(self, offsets: Any) -> bool:
        # After the thread has ended, this worker is no member of the group any more.
        return not self.thread_loop.is_closed() and bool(await super().commit(offsets))

    def _stopped_set(self) -> None:
        if self.thread_loop.is_closed():
            self._stopped.set()
        else:
            super()._stopped_set()


class Consumer(driver.Consumer):
    offsets: Offsets
    _committed_last: dict[TP, int | None] | None = None

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in self.assignment() if topics is None or tp in topics or tp.topic in topics)

    async def _getmany(self, active_partitions: Any, timeout: float) -> dict[TP, list[Any]]:
        """Puts records of a partition that came together into batches. A batch is one message to Faust."""
        fetched = await super()._getmany(active_partitions, timeout)
        return {tp: [each[at : at + _BATCH] for at in range(0, len(each), _BATCH)] for tp, each in fetched.items()}

    def _to_message(self, tp: TP, record: Any) -> Any:
        """The message of a batch. Its `records` are aiokafka's; all else in it is the last one's."""
        message: Any = super()._to_message(tp, record[-1])
        message.records = record
        return message

    async def _add_gap(self, *_: Any) -> None:
        """Notes no holes between offsets: `OrderedAcks` does."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Does nothing: Faust would log a full queue or a rebalance as an error. `watch.py` finds real standstills."""

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        """Ends at once: it would only call that."""

    @Service.task
    async def _commit_handler(self) -> None:
        """As Faust's, whose timer takes more time than the look whether there is anything to commit."""
        while not self.should_stop:
            await asyncio.sleep(self.commit_interval)
            await self.commit()

    def _new_offset(self, tp: TP) -> int | None:
        for book in (self._acked, self._acked_index):  # Faust's own books, which would only grow
            book.pop(tp, None)
        return self._position(tp)

    def _position(self, tp: TP) -> int | None:
        """What to commit. A worker that failed over deleted records must find them again, so it skips nothing."""
        failed = self.offsets.failure.done()
        return self.offsets.acks(tp).committable(None if failed else cast(_ConsumerThread, self._thread).read(tp))

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commits what is new. Faust asks for it each second, and its own way to find nothing new is long."""
        positions = {tp: self._position(tp) for tp in self.assignment()}
        if positions == self._committed_last:
            return False
        done = await super().commit(topics, start_new_transaction)
        self._committed_last = positions if done else None
        return done

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        await self.offsets.assigned(assigned)
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.offsets.settle(revoked)
        await self.commit()
        self.offsets.forget(revoked)
        await super().on_partitions_revoked(revoked)


class Transport(driver.Transport):
    Consumer = Consumer


def last_fetched(app: faust.App) -> dict[TP, int]:
    """The offset after the last record that the app has got since it has the partition, by partition."""
    thread = cast(_ConsumerThread, cast(Consumer, app.consumer)._thread)
    read = {tp: thread.read(tp) for tp in app.consumer.assignment()}
    return {tp: at.behind for tp, at in read.items() if at is not None and at.behind is not None}


async def fetch_positions(app: faust.App) -> dict[TP, int] | None:
    """The next offset that the app will ask Kafka for, by partition. None while its consumer thread does not answer."""
    try:
        async with asyncio.timeout(_ANSWERS_WITHIN):
            positions = {tp: await app.consumer.position(tp) for tp in app.consumer.assignment()}
            return {tp: position for tp, position in positions.items() if position is not None}
    except (TimeoutError, ConsumerNotStarted, IllegalStateError):  # the last comes while its partitions change
        return None


def ongoing(app: faust.App) -> dict[TP, int]:
    """The first offset of a transaction that has not ended and so holds the app up, by partition."""
    assignment, _ = cast(_ConsumerThread, cast(Consumer, app.consumer)._thread)._noted
    if assignment is None or not assignment.active:
        return {}
    states = {TP(*tp): assignment.state_value(tp) for tp in assignment.tps}
    return {tp: state.lso for tp, state in states.items() if state.lso is not None and state.lso < state.highwater}
