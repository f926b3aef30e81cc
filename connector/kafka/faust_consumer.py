"""Faust's consumer, changed so that it commits only what we say is finished, and loses nothing in a rebalance.

Faust acknowledges a record in a `finally` and computes the offset to commit from the acknowledged records. It is off by
one at the head and overlooks the holes that transaction markers leave. So here our own `OrderedAcks` gives the position
to commit, and Faust does what it is good at: membership, fetching and handing records out.
Only this module, `faust_thread.py` and `faust_app.py` override Faust's internals.
`tests/integration/test_stage_worker.py` and `tests/chaos/` test that on a real broker, so that a bump of the pinned
version cannot break it unnoticed.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, Protocol, cast

import faust
from aiokafka.errors import IllegalStateError
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.services import Service

from connector.kafka.faust_thread import ConsumerThread
from connector.kafka.ordered import OrderedAcks

_BATCH = 50  # records that Faust hands out at once: it starts four tasks each time; 50 keep an agent busy for 5 ms
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


class Consumer(driver.Consumer):
    offsets: Offsets
    _committed_last: dict[TP, int | None] | None = None

    @property
    def thread(self) -> ConsumerThread:
        """The thread that fetches and commits."""
        return cast(ConsumerThread, self._thread)

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

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
        return self.offsets.acks(tp).committable(None if failed else self.thread.read(tp))

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
    consumer = cast(Consumer, app.consumer)
    read = {tp: consumer.thread.read(tp) for tp in consumer.assignment()}
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
    return cast(Consumer, app.consumer).thread.ongoing()
