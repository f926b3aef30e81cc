"""aiokafka clients as this project uses them: idempotent producers, transactions, and the settings that all share."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, NodeNotReadyError, TransactionalIdAuthorizationFailed
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from connector.config import Kafka
from connector.errors import Fatal, Retryable
from connector.kafka.cloud_events import OutRecord
from connector.kafka.errors import REFUSED, missing_right, translated
from connector.kafka.fenced import overhear_waiters
from connector.kafka.login import refusal, ssl_context, token_provider
from connector.kafka.uninterrupted import uninterrupted

LARGEST_REQUEST = 3 * 1024 * 1024  # bytes: the limit of the dead letters' topic; other topics' limits are not higher
_PARTITIONER = DefaultPartitioner()  # the producers' own, so a key keeps its partition
# Bytes for one partition. With aiokafka's 16 KB, hundreds of records take dozens of requests, and each request wakes
# whatever waits for room in a batch: 1,000 waiting senders took a quarter of the CPU time.
LARGEST_BATCH = 262_144
_REQUEST_TIMEOUT = 20_000  # milliseconds; a broker that needs longer is away
_COUNTED_IN_WITHIN = 10.0  # seconds for a broker that has just started to join its cluster; it takes one second
_LOOK = 0.1  # seconds between two checks whether it has joined
_LOOK_TIMEOUT = 3_000  # milliseconds to find out why a broker does not answer
_TRANSACTION_WITHIN = 40.0  # seconds; one takes 30 ms, but aiokafka itself would retry for as long as Kafka is away
_STARTED_WITHIN = 25.0  # seconds for a producer to start: above the 20 s of one request
_CLOSE_WITHIN = 5.0  # seconds; a broken connection answers nothing, so a longer wait is useless
_TRANSACTION_TIMEOUT = 60_000  # milliseconds until Kafka aborts a killed worker's open transaction; then others read on


def client_settings(kafka: Kafka) -> dict[str, Any]:
    """The settings of every aiokafka client.

    Raises:
        Fatal: A certificate or key file cannot be used.
    """
    return {
        "bootstrap_servers": kafka.bootstrap_servers,
        "request_timeout_ms": _REQUEST_TIMEOUT,
        "security_protocol": kafka.security_protocol,
        "ssl_context": ssl_context(kafka),
        "sasl_mechanism": kafka.sasl_mechanism or "PLAIN",
        "sasl_plain_username": kafka.sasl_username,
        "sasl_plain_password": kafka.sasl_password.get_secret_value() if kafka.sasl_password else None,
        "sasl_oauth_token_provider": token_provider(kafka),
    }


def reader_settings(kafka: Kafka) -> dict[str, Any]:
    """The settings of a consumer that reads what is committed, from the first record on, and commits no offset."""
    return {
        **client_settings(kafka),
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "isolation_level": "read_committed",
    }


@asynccontextmanager
async def admin_client(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client.

    Raises:
        Fatal: No broker answers, at the start or to a later request.
    """
    admin = AIOKafkaAdminClient(**client_settings(kafka))
    try:
        with translated():
            await open_client(admin)
            async with asyncio.timeout(_COUNTED_IN_WITHIN):
                while not await _knows_a_broker(admin):
                    await uninterrupted(admin.close(), _CLOSE_WITHIN)
                    admin = AIOKafkaAdminClient(**client_settings(kafka))
                    await open_client(admin)
        yield admin
    except Retryable as error:
        raise Fatal(
            f"no Kafka broker answers at {kafka.bootstrap_servers}: {await _why(kafka) or error}. "
            "Check kafka.bootstrap_servers, that the broker is up, and that security_protocol and the SASL and TLS "
            "settings are those of its listener."
        ) from error
    finally:
        await uninterrupted(admin.close(), _CLOSE_WITHIN)


async def open_client(client: AIOKafkaAdminClient | AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Starts it. aiokafka 0.14 leaves its first connection open if its start is cancelled."""
    await uninterrupted(client.start(), _CLOSE_WITHIN)


@asynccontextmanager
async def opened(consumer: AIOKafkaConsumer) -> AsyncIterator[AIOKafkaConsumer]:
    """Starts a consumer, and stops it at the end. The start raises as `translated` says."""
    try:
        with translated():
            await open_client(consumer)
        yield consumer
    finally:
        await uninterrupted(consumer.stop(), _CLOSE_WITHIN)


async def _knows_a_broker(admin: AIOKafkaAdminClient) -> bool:
    """False when the client asked a broker that has not joined the cluster yet: such a client never asks again."""
    try:
        return bool((await admin.describe_cluster())["brokers"])
    except NodeNotReadyError:
        await asyncio.sleep(_LOOK)
        return False


async def _why(kafka: Kafka) -> str:
    """Why the first broker does not talk to us, which aiokafka only logs; empty when it does talk."""
    host, _, port = kafka.bootstrap_servers.split(",")[0].rpartition(":")
    settings = client_settings(kafka) | {"request_timeout_ms": _LOOK_TIMEOUT}
    del settings["bootstrap_servers"]
    try:
        connection = await create_conn(host.strip("[]"), int(port), **settings)
    except (OSError, KafkaError) as error:
        return str(error) or type(error).__name__
    try:
        return await refusal(connection) if kafka.sasl_oauth else ""
    finally:
        connection.close()


async def transactional_producer(kafka: Kafka, name: str) -> AIOKafkaProducer:
    """A started producer. Its transactional id is the prefix and `name`, and it fences every earlier one with that id.

    Raises:
        Retryable: Kafka is away, or has no coordinator for transactions: aiokafka itself would ask for one for ever.
        Fatal: The user may not use this transactional id.
    """
    producer = AIOKafkaProducer(
        **client_settings(kafka),
        transactional_id=kafka.topic_prefix + name,
        max_request_size=LARGEST_REQUEST,
        max_batch_size=LARGEST_BATCH,
        transaction_timeout_ms=_TRANSACTION_TIMEOUT,
    )
    try:
        return await started(producer)
    except Fatal as error:
        if not isinstance(error.__cause__, TransactionalIdAuthorizationFailed):
            raise
        raise missing_right("WRITE", f"TransactionalId {kafka.topic_prefix}{name}", error.__cause__) from error
    except Retryable as error:
        if not isinstance(error.__cause__, TimeoutError):
            raise
        raise Retryable(
            f"Kafka gives no transactions to {kafka.topic_prefix}{name} within {_STARTED_WITHIN:g} s. If Kafka is up,"
            " its transaction.state.log.replication.factor or min.isr may ask for more brokers than there are."
        ) from error


async def started(producer: AIOKafkaProducer) -> AIOKafkaProducer:
    """Starts a producer, or closes it if that fails.

    Raises:
        Fatal, Retryable, Fenced: As `translated` says; Retryable also when it takes longer than 25 s.
    """
    try:
        with translated():
            async with asyncio.timeout(_STARTED_WITHIN):
                await open_client(producer)
    except BaseException:
        await close(producer)
        raise
    return producer


async def transaction(producer: AIOKafkaProducer, records: Sequence[OutRecord]) -> list[int]:
    """Writes all of the records, or none. Returns their offsets.

    After any error the producer is useless: `close` it and start another. Then read the topics to learn whether the
    records are there: Kafka's answer to a commit can get lost like any other.

    Raises:
        Fenced: Another producer with the same name has started since.
        Retryable: Kafka is away, or took longer than 40 s.
        Fatal: The user may not write to a topic; the message says which.
    """
    with translated(writes={record.topic for record in records}):
        async with asyncio.timeout(_TRANSACTION_WITHIN):
            await producer.begin_transaction()
            try:
                offsets = await _in_batches(producer, records)
            except REFUSED:
                await producer.abort_transaction()  # else readers of these partitions wait a minute for its end
                raise
            await producer.commit_transaction()
    return offsets


async def _in_batches(producer: AIOKafkaProducer, records: Sequence[OutRecord]) -> list[int]:
    """Sends records in few batches, for a third of the cost. The partitions are the same."""
    sent: list[tuple[list[int], asyncio.Future[RecordMetadata]]] = []  # which records, and where the first one is
    batches: dict[tuple[str, int], tuple[BatchBuilder, list[int]]] = {}
    partitions = {topic: sorted(await producer.partitions_for(topic)) for topic in {each.topic for each in records}}

    async def send(topic: str, partition: int) -> None:
        batch, numbers = batches.pop((topic, partition))
        sent.append((numbers, _overheard(await producer.send_batch(batch, topic, partition=partition))))

    for number, record in enumerate(records):
        partition = record.partition
        if partition is None:
            partition = _PARTITIONER(record.key, partitions[record.topic], partitions[record.topic])
        place = record.topic, partition
        content = {"timestamp": None, "key": record.key, "value": record.value, "headers": record.headers}
        batch, numbers = batches.setdefault(place, (producer.create_batch(), []))
        if batch.append(**content) is None:  # it is full
            await send(*place)
            batch, numbers = batches[place] = producer.create_batch(), []
            batch.append(**content)
        numbers.append(number)
    for place in list(batches):
        await send(*place)
    firsts = await asyncio.gather(*(first for _, first in sent))
    offsets = {
        number: first.offset + behind
        for (numbers, _), first in zip(sent, firsts, strict=True)
        for behind, number in enumerate(numbers)
    }
    return [offsets[number] for number in range(len(records))]


async def on_its_way(producer: AIOKafkaProducer, record: OutRecord) -> asyncio.Future[Any]:
    """Sends a record."""
    return _overheard(await producer.send(**record.arguments()))


def _overheard(future: asyncio.Future[Any]) -> asyncio.Future[Any]:
    """If another record fails first, nobody reads this one's error, so asyncio would log it."""
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


async def close(producer: AIOKafkaProducer) -> None:
    """Stops a producer, in 5 s at most. If it leaves a transaction open, the next producer of its name aborts that."""
    await uninterrupted(_close(producer), _CLOSE_WITHIN)


async def _close(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_CLOSE_WITHIN):
            await uninterrupted(producer.stop(), 0)
    except (TimeoutError, KafkaError, AssertionError):  # the last comes when a failed batch has ended the sender
        if task := producer._sender.sender_task:  # `stop` ends it and its connections only after a full flush
            task.cancel()
            await asyncio.wait([task], timeout=_LOOK)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK):
                await uninterrupted(producer.client.close(), 0)
    finally:
        overhear_waiters(producer)
