"""aiokafka clients as this project uses them: idempotent producers, transactions, and the settings that all share."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, NodeNotReadyError

from connector.config import Kafka
from connector.errors import Fatal, Retryable
from connector.kafka.cloud_events import OutRecord
from connector.kafka.errors import REFUSED, translated

log = structlog.get_logger(__name__)

LARGEST_REQUEST = 3 * 1024 * 1024  # bytes, as the topic of the dead letters takes them; the others refuse less
_REQUEST_TIMEOUT = 20_000  # milliseconds; a broker that needs longer is away
_COUNTED_IN_WITHIN = 10.0  # seconds until a broker that has just started is a part of its cluster; it takes one
_LOOK = 0.1  # seconds between two looks whether it is
_LOOK_TIMEOUT = 3_000  # milliseconds to find out why a broker does not answer
_TRANSACTION_WITHIN = 40.0  # seconds; one takes 30 ms, and aiokafka itself repeats for as long as Kafka is away
STARTED_WITHIN = 25.0  # seconds for a producer to start: above the 20 s of one request
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


async def transactional_producer(kafka: Kafka, name: str) -> AIOKafkaProducer:
    """A started producer with the transactional id `name` behind the prefix; it fences every earlier one.

    Raises:
        Retryable: Kafka is away, or has no coordinator for transactions: aiokafka itself would ask for one for ever.
    """
    producer = AIOKafkaProducer(
        **client_settings(kafka),
        transactional_id=kafka.topic_prefix + name,
        max_request_size=LARGEST_REQUEST,
        transaction_timeout_ms=_TRANSACTION_TIMEOUT,
    )
    try:
        with translated():
            async with asyncio.timeout(STARTED_WITHIN):
                await producer.start()
    except Retryable as error:
        await close(producer)
        if not isinstance(error.__cause__, TimeoutError):
            raise
        raise Retryable(
            f"Kafka gives no transactions to {kafka.topic_prefix}{name} within {STARTED_WITHIN:g} s. If Kafka is up,"
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
            try:
                await asyncio.gather(*[await _sent(producer, record) for record in records])
            except REFUSED:
                await producer.abort_transaction()  # else whoever reads these partitions waits a minute for its end
                raise
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
