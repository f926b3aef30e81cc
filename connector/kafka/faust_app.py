"""A Faust app that commits only what we say is finished.

Faust acknowledges a record in a `finally` and computes the offset to commit from the acknowledged records. It is off by
one at the head and overlooks the holes that transaction markers leave. So here our own `OrderedAcks` gives the position
to commit, and Faust does what it is good at: membership, fetching and handing records out.
Only this module overrides Faust's internals. `tests/integration/test_stage_worker.py` and `tests/chaos/` test the
overrides against a real broker, so that a bump of the pinned version cannot break them unnoticed.
"""

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, cast

import aiokafka
import faust
from aiokafka.errors import IllegalStateError
from faust.auth import OAuthCredentials
from faust.exceptions import ConsumerNotStarted
from faust.sensors import Monitor
from faust.tables import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.services import Service
from mode.threads import ServiceThread, WorkerThread

from connector.config import Kafka
from connector.kafka.login import ssl_context, token_provider
from connector.kafka.ordered import OrderedAcks, Read

_LONGEST_HOLD = 86_400.0  # seconds that an agent may block on a full queue; then Kafka would drop the consumer silently
_SESSION = 10.0  # seconds that a killed worker's partitions lie idle; heartbeats have a thread of their own
_FETCHER_LOOKS = 1.0  # seconds between looks of aiokafka's fetcher; whatever it has to do wakes it before that
_METADATA = 30_000  # milliseconds until a new partition is noticed; nobody reads its records until then
_ANSWERS_WITHIN = 5.0  # seconds; a position is known at once unless Kafka has not said yet where to begin
_FAUST_BUFFER = 64  # records that Faust holds per stream, on top of our own limit


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

    def read(self, tp: TP) -> Read | None:
        """How far the partition was read; None during a rebalance."""
        assignment, read = self._noted
        return read.get(tp) if assignment is not None and assignment.active else None

    async def _fetch_records(self, consumer: aiokafka.AIOKafkaConsumer, *arguments: Any, **options: Any) -> Any:
        records = await super()._fetch_records(consumer, *arguments, **options)
        self._note(getattr(consumer._subscription.subscription, "assignment", None), records)
        return records

    def _note(self, assignment: Any, records: Mapping[TP, Any]) -> None:
        """Must follow a fetch without a wait: then every record before a noted position has been fetched."""
        noted, read = self._noted
        before = read if noted is assignment else {}
        behind = {tp: read.behind for tp, read in before.items()} | {tp: records[tp][-1].offset + 1 for tp in records}
        states = [(TP(*tp), assignment.state_value(tp)) for tp in assignment.tps] if assignment else []
        now = {tp: Read(state.position, behind.get(tp)) for tp, state in states if state.has_valid_position}
        self._noted = assignment, now

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # capture and send write in transactions
        consumer._consumer_timeout = _FETCHER_LOOKS  # aiokafka's setting `consumer_timeout_ms`
        return consumer

    async def on_thread_stop(self) -> None:
        # While Kafka is away, aiokafka's consumer ends with this error, and Faust would wait for its thread for ever.
        with suppress(asyncio.CancelledError):
            await super().on_thread_stop()

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


class _Consumer(driver.Consumer):
    offsets: Offsets
    _committed_last: dict[TP, int | None] | None = None

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in self.assignment() if topics is None or tp in topics or tp.topic in topics)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Does nothing: Faust would log a full queue or a rebalance as an error. `watch.py` finds real standstills."""

    def _new_offset(self, tp: TP) -> int | None:
        for book in (self._acked, self._acked_index, self._gap):  # Faust's own books, which would only grow
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


class _Transport(driver.Transport):
    Consumer = _Consumer


class _NoTables(TableManager):
    """We have no tables, so the start need not wait a second for somebody to register them."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class _NoMonitor(Monitor):
    """We have our own metrics. Faust's would cost time for each record, and wake the process each second."""

    @Service.task
    async def _sampler(self) -> None:
        """Ends at once."""

    def on_message_in(self, *_: Any) -> None:
        """Counts nothing."""

    def on_message_out(self, *_: Any) -> None:
        """Counts nothing."""

    def on_stream_event_in(self, *_: Any) -> dict[str, Any] | None:
        """Counts nothing."""
        return None

    def on_stream_event_out(self, *_: Any) -> None:
        """Counts nothing."""


def faust_app(kafka: Kafka, name: str, offsets: Offsets) -> faust.App:
    """A Faust app for one stage on the running loop, not started. Its consumer group is the prefix and `name`."""
    app = faust.App(
        kafka.topic_prefix + name,
        broker=[f"kafka://{server}" for server in kafka.bootstrap_servers.split(",")],
        broker_credentials=_credentials(kafka),
        broker_max_poll_interval=_LONGEST_HOLD,
        broker_session_timeout=_SESSION,
        broker_heartbeat_interval=_SESSION / 4,
        broker_rebalance_timeout=60.0,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=_METADATA,
        stream_buffer_maxsize=_FAUST_BUFFER,
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
        datadir=str(Path(tempfile.gettempdir()) / "connector-faust"),  # Faust makes one even for an app without tables
        set_as_current=False,
        loop=asyncio.get_running_loop(),
        TableManager=_NoTables,
        Monitor=_NoMonitor,
    )
    app.transport = _Transport(app.conf.broker_consumer, app, app.loop)
    cast(_Consumer, app.consumer).offsets = offsets
    return app


async def fetch_positions(app: faust.App) -> dict[TP, int] | None:
    """The next offset that the app will ask Kafka for, by partition. None while its consumer thread does not answer."""
    try:
        async with asyncio.timeout(_ANSWERS_WITHIN):
            positions = {tp: await app.consumer.position(tp) for tp in app.consumer.assignment()}
            return {tp: position for tp, position in positions.items() if position is not None}
    except (TimeoutError, ConsumerNotStarted, IllegalStateError):  # the last comes while its partitions change
        return None


def _credentials(kafka: Kafka) -> Any:
    if kafka.security_protocol == "PLAINTEXT":
        return None
    context = ssl_context(kafka)
    if kafka.security_protocol == "SSL":
        return faust.SSLCredentials(context=context)
    if tokens := token_provider(kafka):
        return OAuthCredentials(oauth_cb=tokens, ssl_context=context)
    return faust.SASLCredentials(
        username=kafka.sasl_username,
        password=kafka.sasl_password.get_secret_value() if kafka.sasl_password else None,
        mechanism=kafka.sasl_mechanism,
        ssl_context=context,
    )
