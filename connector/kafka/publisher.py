"""The producer that the stages of a process share."""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from connector.config import Kafka
from connector.errors import ConnectorError, Retryable
from connector.kafka.cloud_events import OutRecord
from connector.kafka.connection import LARGEST_BATCH, LARGEST_REQUEST, client_settings, close, on_its_way, started
from connector.kafka.errors import Fenced, translated

log = structlog.get_logger(__name__)

_ANSWERS_WITHIN = 2.0  # seconds; a readiness probe does not wait much longer
_STORED_WITHIN = 60.0  # seconds to store a record; Kafka has a new leader within 30 s
_FAILS_FOR = 60.0  # seconds of failed sends after which we are not ready, even if Kafka answers


class Publisher:
    """An idempotent producer that many stages share: `send` returns when the record is durable (acks=all).

    A producer that has failed once may fail for good: it has counted a record that Kafka never got, and Kafka refuses
    all later ones as out of order (aiokafka 0.14). So after any failure we replace it before the next record.
    `replaced` counts the replacements. `clock` is in seconds. Kafka has `stored_within` seconds; with None a caller
    has to limit the time itself.
    """

    def __init__(
        self,
        kafka: Kafka,
        *,
        clock: Callable[[], float] = time.monotonic,
        stored_within: float | None = _STORED_WITHIN,
    ) -> None:
        self.replaced = 0
        self._stored_within = stored_within
        self._kafka = kafka
        self._clock = clock
        self._producer: AIOKafkaProducer | None = None
        self._failed: AIOKafkaProducer | None = None  # the producer to replace
        self._failing_since: float | None = None
        self._failed_at = 0.0
        self._renewal: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connects. After that `send` takes records."""
        self._producer = await self._started()

    async def stop(self) -> None:
        """Flushes and disconnects. If Kafka has not taken a record by then, `send` has not reported it as stored."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        producer, self._producer = self._producer, None
        await asyncio.gather(*self._closing, *([close(producer)] if producer else []))

    async def answers(self) -> bool:
        """Whether Kafka answers now, within 2 s, and takes records. Calls at the same time share one request.

        After a minute in which every send failed this is False, for a minute after the last of them. Then it is True
        again, because maybe nobody sends to a process that is not ready, and only a send can show that Kafka takes
        records again.
        """
        if self._producer is None:
            return False
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN):
                return not self._takes_nothing() and bool(await self._producer.client.force_metadata_update())
        except (TimeoutError, ConnectorError):
            return False

    def _takes_nothing(self) -> bool:
        if self._failing_since is None:
            return False
        return self._failed_at - self._failing_since >= _FAILS_FOR and self._clock() - self._failed_at < _FAILS_FOR

    async def send(self, record: OutRecord) -> int:
        """Returns the record's offset. Raises Retryable, Rejected or Fatal when Kafka has not stored the record."""
        return (await self.send_all([record]))[0]

    async def send_all(self, records: Sequence[OutRecord]) -> list[int]:
        """Returns the offset of each record; records of one partition keep their order.

        Raises:
            Retryable, Rejected, Fatal: Kafka has not stored all of them. It may have stored some.
        """
        if self._failed is not None:
            await self._renew()
        producer = self._producer
        if producer is None:
            raise Retryable("Kafka is not connected yet")
        try:
            with translated(writes={record.topic for record in records}):
                stored = await self._stored(producer, records)
        except BaseException as error:
            if (task := asyncio.current_task()) and task.cancelling():
                raise  # else aiokafka cancelled the record, because the producer was closed meanwhile
            if producer is self._producer:  # else it has been replaced since
                self._failed = producer
            self._failed_at = self._clock()
            self._failing_since = self._failed_at if self._failing_since is None else self._failing_since
            if isinstance(error, ConnectorError) and not isinstance(error, Fenced):
                raise
            raise Retryable(f"Kafka: the producer failed: {error!r}") from error
        self._failing_since = None
        return [int(each.offset) for each in stored]

    async def _stored(self, producer: AIOKafkaProducer, records: Sequence[OutRecord]) -> list[RecordMetadata]:
        async with asyncio.timeout(self._stored_within):  # aiokafka would retry for as long as Kafka is away
            sent = [await on_its_way(producer, record) for record in records]
            return [await sent[0]] if len(sent) == 1 else await asyncio.gather(*sent)  # one needs no `gather`

    async def _renew(self) -> None:
        """Callers share one renewal. It goes on when a caller gives up: a Kafka that hangs may take 30 s to end it."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._replace())
            self._renewal.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(self._renewal)

    async def _replace(self) -> None:
        old = self._failed
        if old is None:
            return  # an earlier renewal has replaced it meanwhile
        self._producer = await self._started()
        self._failed = None
        self.replaced += 1
        log.info("producer_replaced", times=self.replaced)
        task = asyncio.create_task(close(old))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _started(self) -> AIOKafkaProducer:
        return await started(
            AIOKafkaProducer(
                **client_settings(self._kafka),
                enable_idempotence=True,
                max_request_size=LARGEST_REQUEST,
                max_batch_size=LARGEST_BATCH,
            )
        )
