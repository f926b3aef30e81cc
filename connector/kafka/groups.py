"""What Kafka knows about consumer groups: their members, and how far behind they are."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from connector.config import Kafka
from connector.errors import Fatal
from connector.kafka.connection import admin_client, opened, reader_settings
from connector.kafka.errors import translated
from connector.kafka.lag import age, first_written, records, unfinished
from connector.kafka.members import WITHIN, committed, described


@dataclass(frozen=True)
class Group:
    """`lag` counts records that are not finished; `lag_seconds` is the age of the oldest of them, 0 without any.

    Both are None for a group that reads no records.
    """

    members: int
    lag: int | None = None
    lag_seconds: float | None = None


async def groups(
    kafka: Kafka, topics: Mapping[str, Sequence[str]], now: Callable[[], float] = time.time
) -> dict[str, Group]:
    """Each group of `topics`, which gives the topics whose records it reads. All names are without the prefix.

    Raises:
        Fatal: No broker answers, a topic is missing, or a right.
        Retryable: Kafka is away.
    """
    with translated():
        async with (
            asyncio.timeout(WITHIN),
            admin_client(kafka) as admin,
            opened(AIOKafkaConsumer(**reader_settings(kafka))) as reader,
        ):
            return {name: await _group(kafka, name, read, admin, reader, now) for name, read in topics.items()}


async def _group(
    kafka: Kafka,
    name: str,
    topics: Sequence[str],
    admin: AIOKafkaAdminClient,
    reader: AIOKafkaConsumer,
    now: Callable[[], float],
) -> Group:
    group = kafka.topic_prefix + name
    _, found = await described(admin, group)
    done = await committed(admin, group)
    if not topics:
        return Group(len(found))
    with translated():
        places = await _places(admin, [kafka.topic_prefix + topic for topic in topics])
        begins, ends = await reader.beginning_offsets(places), await reader.end_offsets(places)
    offsets = {place: max(begins[place], done.get(place, 0)) for place in places}
    first = unfinished(offsets, ends)
    return Group(len(found), records(first, ends), age(await first_written(kafka, first), now()))


async def _places(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> list[TopicPartition]:
    described = await admin.describe_topics(topics)
    if missing := sorted(topic["topic"] for topic in described if topic["error_code"]):
        raise Fatal(
            f"these topics are missing in Kafka, or hidden from this user: {', '.join(missing)}."
            " Create them with `connector topics apply`, or give the user the right READ on them."
        )
    return [TopicPartition(topic["topic"], part["partition"]) for topic in described for part in topic["partitions"]]
