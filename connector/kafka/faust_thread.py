"""The thread in which a stage's Faust app fetches and commits; see `faust_consumer.py`.

It ends whatever Kafka does, tells how far each partition was read, and sleeps while nothing comes.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

import aiokafka
from aiokafka.errors import IllegalStateError
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.services import Service
from mode.threads import ServiceThread, WorkerThread

from connector.kafka.ordered import Read

_FETCHER_LOOKS = 1.0  # seconds between looks of aiokafka's fetcher; whatever it has to do wakes it before that
_COMMITTED_WITHIN = 4.0  # seconds; a commit takes milliseconds, and is tried again each second


class _Daemon(WorkerThread):
    """A thread that cannot keep the process when it does not end."""

    def __init__(self, service: ServiceThread, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True


class ConsumerThread(driver.AIOKafkaConsumerThread):
    Worker = _Daemon
    # The assignment, of which aiokafka makes a new one at each rebalance, and how far its partitions were read. It is
    # one value, because the main thread reads it.
    _noted: tuple[Any, Mapping[TP, Read]] = (None, {})
    _committing: asyncio.Task[Any] | None = None  # the commit under way

    async def _keepalive2(self) -> None:
        """Ends at once, as the next one does: they only wake both threads, each second.

        A call to the other thread wakes it anyway.
        """

    @Service.task
    async def _thread_keepalive(self) -> None:
        """Ends at once."""

    def read(self, tp: TP) -> Read | None:
        """How far the partition was read; None during a rebalance."""
        assignment, read = self._noted
        return read.get(tp) if assignment is not None and assignment.active else None

    def ongoing(self) -> dict[TP, int]:
        """The first offset of a transaction that has not ended, by partition: nothing behind it is fetched."""
        assignment, _ = self._noted
        if assignment is None or not assignment.active:
            return {}
        states = {TP(*tp): assignment.state_value(tp) for tp in assignment.tps}
        return {tp: state.lso for tp, state in states.items() if state.lso is not None and state.lso < state.highwater}

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
