"""aiokafka clients as this project uses them: idempotent producers, transactions, and the settings that all share."""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from connector.config import Kafka
from connector.errors import Fatal, Retryable
from connector.kafka.cloud_events import OutRecord
from connector.kafka.errors import translated

_REQUEST_TIMEOUT = 20_000  # milliseconds; a broker that needs longer is away
_TRANSACTION_TIMEOUT = 60_000  # milliseconds until Kafka aborts what a killed worker left open and others can read on


def ssl_context(kafka: Kafka) -> ssl.SSLContext | None:
    """None for a protocol without TLS.

    Raises:
        Fatal: A certificate file cannot be read.
    """
    if "SSL" not in kafka.security_protocol:
        return None
    try:
        context = ssl.create_default_context(cafile=kafka.ssl_ca_file)
        if kafka.ssl_cert_file:
            context.load_cert_chain(kafka.ssl_cert_file, kafka.ssl_key_file)
    except OSError as error:
        raise Fatal(f"kafka: a certificate or key file cannot be used: {error}") from error
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
        Fatal: No broker answers.
    """
    admin = AIOKafkaAdminClient(**client_settings(kafka))
    try:
        with translated():
            await admin.start()
    except Retryable as error:
        await admin.close()
        raise Fatal(
            f"no Kafka broker answers at {kafka.bootstrap_servers}: {error}. "
            "Check kafka.bootstrap_servers and that the broker is up."
        ) from error
    try:
        yield admin
    finally:
        await admin.close()


class Publisher:
    """An idempotent producer that many stages share: `send` returns when the record is durable (acks=all)."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connects."""
        self._producer = AIOKafkaProducer(**client_settings(self._kafka), enable_idempotence=True)
        with translated():
            await self._producer.start()

    async def stop(self) -> None:
        """Flushes and disconnects."""
        if self._producer is not None:
            await self._producer.stop()

    async def send(self, record: OutRecord) -> None:
        """Raises Retryable, Rejected or Fatal when the record is not stored."""
        if self._producer is None:
            raise Fatal("the publisher was not started")
        with translated():
            await self._producer.send_and_wait(**record.arguments())


async def transactional_producer(kafka: Kafka, name: str) -> AIOKafkaProducer:
    """A started producer with the transactional id `name` behind the prefix; it fences every earlier one."""
    producer = AIOKafkaProducer(
        **client_settings(kafka),
        transactional_id=kafka.topic_prefix + name,
        transaction_timeout_ms=_TRANSACTION_TIMEOUT,
    )
    with translated():
        await producer.start()
    return producer


async def transaction(producer: AIOKafkaProducer, records: Sequence[OutRecord]) -> None:
    """Writes all of the records, or none.

    Raises:
        Fenced: Another producer of that name was started since.
    """
    with translated():
        async with producer.transaction():
            sent = [await producer.send(**record.arguments()) for record in records]
            for future in sent:
                await future
