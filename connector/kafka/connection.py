"""aiokafka clients as this project uses them: idempotent producers, transactions, and the settings that all share."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, NodeNotReadyError

from connector.config import Kafka
from connector.errors import ConnectorError, Fatal, Retryable
from connector.kafka.cloud_events import OutRecord
from connector.kafka.errors import Fenced, translated

log = structlog.get_logger(__name__)

_LARGEST_REQUEST = 3 * 1024 * 1024  # bytes, as the topic of the dead letters takes them; the others refuse less
_REQUEST_TIMEOUT = 20_000  # milliseconds; a broker that needs longer is away
_COUNTED_IN_WITHIN = 10.0  # seconds until a broker that has just started is a part of its cluster; it takes one
_LOOK = 0.1  # seconds between two looks whether it is
_LOOK_TIMEOUT = 3_000  # milliseconds to find out why a broker does not answer
_TRANSACTION_WITHIN = 40.0  # seconds; one takes 30 ms, and aiokafka itself repeats for as long as Kafka is away
_ANSWERS_WITHIN = 2.0  # seconds; whoever asks whether we are ready does not wait much longer
_STARTED_WITHIN = 25.0  # seconds for a producer to start: above the 20 s of one request
_STORED_WITHIN = 60.0  # seconds for a record; a new leader is there within 30
_FAILS_FOR = 60.0  # seconds without a stored record after which we do not count as connected, though Kafka answers
_CLOSE_WITHIN = 5.0  # seconds; a broken connection has nothing to say
_TRANSACTION_TIMEOUT = 60_000  # milliseconds until Kafka aborts what a killed worker left open and others can read on


def ssl_context(kafka: Kafka) -> ssl.SSLContext | None:
    """None for a protocol without TLS.

    Raises:
        Fatal: A certificate or key file cannot be read, or the key wants a passphrase.
    """
    if "SSL" not in kafka.security_protocol:
        return None
    try:
        context = ssl.create_default_context(cafile=kafka.ssl_ca_file)
        if kafka.ssl_cert_file:
            context.load_cert_chain(kafka.ssl_cert_file, kafka.ssl_key_file, password="")  # else OpenSSL asks for one
    except OSError as error:
        files = ", ".join(filter(None, (kafka.ssl_ca_file, kafka.ssl_cert_file, kafka.ssl_key_file)))
        raise Fatal(
            f"kafka: a certificate or key file cannot be used ({files}): {error}. They are PEM, without a passphrase."
        ) from error
    return context


def client_settings(kafka: Kafka) -> dict[str, Any]:
    """What every aiokafka client is given."""
    return {
        "bootstrap_servers": kafka.bootstrap_servers,
        "request_timeout_ms": _REQUEST_TIMEOUT,
        "security_protocol": kafka.security_protocol,
        "ssl_context": ssl_context(kafka),
        "sasl_mechanism": kafka.sasl_mechanism or "PLAIN",
        "sasl_plain_username": kafka.sasl_username,
        "sasl_plain_password": kafka.sasl_password.get_secret_value() if kafka.sasl_password else None,
    }


@asynccontextmanager
async def admin_client(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client.

    Raises:
        Fatal: No broker answers, be it at the start or when it is asked something.
    """
    admin = AIOKafkaAdminClient(**client_settings(kafka))
    try:
        with translated():
            await admin.start()
            async with asyncio.timeout(_COUNTED_IN_WITHIN):
                while not await _knows_a_broker(admin):
                    await admin.close()
                    admin = AIOKafkaAdminClient(**client_settings(kafka))
                    await admin.start()
        yield admin
    except Retryable as error:
        raise Fatal(
            f"no Kafka broker answers at {kafka.bootstrap_servers}: {await _why(kafka) or error}. "
            "Check kafka.bootstrap_servers, that the broker is up, and that security_protocol and the SASL and TLS "
            "settings are those of its listener."
        ) from error
    finally:
        await admin.close()


async def _knows_a_broker(admin: AIOKafkaAdminClient) -> bool:
    """False for a client that asked a broker which the cluster has not counted in yet: it never asks again."""
    try:
        return bool((await admin.describe_cluster())["brokers"])
    except NodeNotReadyError:
        await asyncio.sleep(_LOOK)
        return False


async def _why(kafka: Kafka) -> str:
    """What keeps the first broker from talking to us, which aiokafka only logs; empty when nothing does."""
    host, _, port = kafka.bootstrap_servers.split(",")[0].rpartition(":")
    settings = client_settings(kafka) | {"request_timeout_ms": _LOOK_TIMEOUT}
    del settings["bootstrap_servers"]
    try:
        connection = await create_conn(host.strip("[]"), int(port), **settings)
    except (OSError, KafkaError) as error:
        return str(error) or type(error).__name__
    connection.close()
    return ""


class Publisher:
    """An idempotent producer that many stages share: `send` returns when the record is durable (acks=all).

    A producer that has failed once may fail for good: it has counted a record that Kafka never got, and Kafka refuses
    all later ones as out of order (aiokafka 0.14). So after any failure it is replaced before the next record.
    `replaced` is how often that was. `clock` is in seconds.
    """

    def __init__(self, kafka: Kafka, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.replaced = 0
        self._kafka = kafka
        self._clock = clock
        self._producer: AIOKafkaProducer | None = None
        self._failed: AIOKafkaProducer | None = None  # the one that is to be replaced
        self._failing_since: float | None = None
        self._one_renewal = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connects. From then on it takes records."""
        self._producer = await self._started()

    async def stop(self) -> None:
        """Flushes and disconnects. What Kafka has not taken by then, nobody was told to be stored."""
        producer, self._producer = self._producer, None
        await asyncio.gather(*self._closing, *([close(producer)] if producer else []))

    async def answers(self) -> bool:
        """Whether Kafka answers now, within 2 s, and takes records. However often it is asked, one request is made."""
        if self._producer is None:
            return False
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN):
                if self._failing_since is not None and self._clock() - self._failing_since >= _FAILS_FOR:
                    await self._renew()  # nobody may be sending any more
                    self._failing_since = None
                return bool(await self._producer.client.force_metadata_update())
        except (TimeoutError, ConnectorError):
            return False

    async def send(self, record: OutRecord) -> int:
        """Gives the record's offset. Raises Retryable, Rejected or Fatal when it is not stored."""
        if self._failed is not None:
            await self._renew()
        producer = self._producer
        if producer is None:
            raise Retryable("Kafka is not connected yet")
        try:
            with translated():
                async with asyncio.timeout(_STORED_WITHIN):  # aiokafka itself repeats for as long as Kafka is away
                    offset = int((await producer.send_and_wait(**record.arguments())).offset)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._failed = producer
            self._failing_since = self._clock() if self._failing_since is None else self._failing_since
            if isinstance(error, ConnectorError) and not isinstance(error, Fenced):
                raise
            raise Retryable(f"Kafka: the producer failed: {error!r}") from error
        self._failing_since = None
        return offset

    async def _renew(self) -> None:
        async with self._one_renewal:
            old = self._failed
            if old is None:
                return  # somebody else has replaced it meanwhile
            self._producer = await self._started()
            self._failed = None
            self.replaced += 1
            log.info("producer_replaced", times=self.replaced)
            task = asyncio.create_task(close(old))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _started(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **client_settings(self._kafka), enable_idempotence=True, max_request_size=_LARGEST_REQUEST
        )
        try:
            with translated():
                async with asyncio.timeout(_STARTED_WITHIN):
                    await producer.start()
        except BaseException:
            await close(producer)
            raise
        return producer


async def transactional_producer(kafka: Kafka, name: str) -> AIOKafkaProducer:
    """A started producer with the transactional id `name` behind the prefix; it fences every earlier one.

    Raises:
        Retryable: Kafka is away, or has no coordinator for transactions: aiokafka itself would ask for one for ever.
    """
    producer = AIOKafkaProducer(
        **client_settings(kafka),
        transactional_id=kafka.topic_prefix + name,
        max_request_size=_LARGEST_REQUEST,
        transaction_timeout_ms=_TRANSACTION_TIMEOUT,
    )
    try:
        with translated():
            async with asyncio.timeout(_STARTED_WITHIN):
                await producer.start()
    except Retryable as error:
        await close(producer)
        if not isinstance(error.__cause__, TimeoutError):
            raise
        raise Retryable(
            f"Kafka gives no transactions to {kafka.topic_prefix}{name} within {_STARTED_WITHIN:g} s. If Kafka is up,"
            " its transaction.state.log.replication.factor or min.isr may ask for more brokers than there are."
        ) from error
    except BaseException:
        await close(producer)
        raise
    return producer


async def transaction(producer: AIOKafkaProducer, records: Sequence[OutRecord]) -> None:
    """Writes all of the records, or none.

    After any error the producer is of no use: `close` it and start another. Whether the records are there is then to be
    read from the topics, for the answer to a commit can be lost like any other.

    Raises:
        Fenced: Another producer of that name was started since.
        Retryable: Kafka is away, or took longer than 40 s.
    """
    with translated():
        async with asyncio.timeout(_TRANSACTION_WITHIN):
            await producer.begin_transaction()
            await asyncio.gather(*[await _sent(producer, record) for record in records])
            await producer.commit_transaction()


async def _sent(producer: AIOKafkaProducer, record: OutRecord) -> asyncio.Future[Any]:
    """A record on its way. Where another one fails first, nobody asks for this one's error, which asyncio would log."""
    future: asyncio.Future[Any] = await producer.send(**record.arguments())
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


async def close(producer: AIOKafkaProducer) -> None:
    """Stops a producer, in 5 s at most. A transaction that it leaves open, the next one of its name aborts."""
    try:
        async with asyncio.timeout(_CLOSE_WITHIN):
            await producer.stop()
    except (TimeoutError, KafkaError, AssertionError):  # the last: of a sender that a failed batch has ended
        if task := producer._sender.sender_task:  # `stop` ends it and its connections only when all is flushed
            task.cancel()
            await asyncio.wait([task], timeout=_LOOK)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK):
                await producer.client.close()
