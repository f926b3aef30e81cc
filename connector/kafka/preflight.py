"""Checks, before a stage starts, that Kafka gives it what it needs.

If a coordinator is missing, Faust and aiokafka silently ask for it for ever; if a right is missing, they end with
tracebacks (tried on Kafka 4.1). So this module checks first, in limited time, and says in one sentence what is missing.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from aiokafka.protocol.group import HeartbeatRequest

from connector.config import Kafka
from connector.errors import Fatal, Retryable
from connector.kafka.acls import Right
from connector.kafka.connection import (
    admin_client,
    client_settings,
    close,
    opened,
    transactional_producer,
)
from connector.kafka.errors import Fenced, missing_right, translated
from connector.kafka.told import told

_WITHIN = 15.0  # seconds; the election of a coordinator takes a few
_FETCH = 300  # milliseconds that a broker has to refuse a fetch; 100 were too few, as the position comes first


async def require_rights(kafka: Kafka, rights: Collection[Right]) -> None:
    """Returns when Kafka says that we have these rights on topics; it does not tell about other resources.

    Raises:
        Fatal: Rights are missing, and the message names all of them; or no broker answers.
        Retryable: Kafka is away.
    """
    if lacking := await missing(kafka, rights):
        (operation, topics), *others = lacking.items()
        more = "".join(f", and {other} on Topic {', '.join(names)}" for other, names in others)
        raise missing_right(operation, f"Topic {', '.join(topics)}{more}", None)


async def missing(kafka: Kafka, rights: Collection[Right]) -> dict[str, list[str]]:
    """The topics on which we lack a right, by operation. Raises Fatal when no broker answers, Retryable as above."""
    wanted = {right.name: right.operations for right in rights if right.kind == "Topic"}
    async with admin_client(kafka) as admin:
        found = await told(admin, wanted)
    lacking = defaultdict[str, list[str]](list)
    for topic, (_, ours) in found.items():
        for operation in wanted[topic]:
            if ours is not None and operation not in ours:
                lacking[operation].append(topic)
    return dict(lacking)


async def require(kafka: Kafka, group: str, topics: Collection[str]) -> None:
    """Returns when we can join the group and read the topics. `group` and `topics` are full names.

    Raises:
        Fatal: A right is missing; the message says which.
        Retryable: There is no coordinator for the group, or Kafka is away.
    """
    consumer = AIOKafkaConsumer(
        **client_settings(kafka), group_id=group, enable_auto_commit=False, auto_offset_reset="latest"
    )
    try:
        with translated():
            async with asyncio.timeout(_WITHIN), opened(consumer):
                await _ask(consumer, topics)
    except Retryable as error:
        if not isinstance(error.__cause__, TimeoutError):
            raise
        raise Retryable(
            f"Kafka gives no coordinator to the consumer group {group} within {_WITHIN:g} s. If Kafka is up, its"
            " offsets.topic.replication.factor may ask for more brokers than there are."
        ) from error
    except Fatal as error:
        if isinstance(error.__cause__, GroupAuthorizationFailedError):
            raise missing_right("READ", f"Group {group}", error.__cause__) from error
        if isinstance(error.__cause__, TopicAuthorizationFailedError):
            raise missing_right("READ", f"Topic {', '.join(topics)}", error.__cause__) from error
        raise


async def require_transactions(kafka: Kafka, stage: str) -> None:
    """Returns when Kafka gives the stage transactions.

    Raises:
        Fatal: A right is missing.
        Retryable: There is no coordinator for transactions, or Kafka is away.
    """
    try:
        producer = await transactional_producer(kafka, f"{stage}-preflight")
    except Fenced:
        return  # another worker asks at the same moment, and Kafka has answered both
    await close(producer)


async def _ask(consumer: AIOKafkaConsumer, topics: Collection[str]) -> None:
    """Asks for the next record of each partition, as the stage would, and for the group's committed offset."""
    partitions = [
        TopicPartition(topic, partition) for topic in topics for partition in await _partitions(consumer, topic)
    ]
    consumer.assign(partitions)
    for partition in partitions[:1]:
        await consumer.committed(partition)
    await _ask_for_membership(consumer)
    await consumer.getmany(timeout_ms=_FETCH)


async def _ask_for_membership(consumer: AIOKafkaConsumer) -> None:
    """Sends a heartbeat of nobody: it needs the right to join, and changes nothing. `committed` needs DESCRIBE only."""
    coordinator = consumer._coordinator
    answer = await coordinator._send_req(HeartbeatRequest(coordinator.group_id, -1, ""))
    if answer.error_code == GroupAuthorizationFailedError.errno:
        raise GroupAuthorizationFailedError(coordinator.group_id)


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> Collection[int]:
    await consumer._client.add_topic(topic)
    return consumer.partitions_for_topic(topic) or {0}
