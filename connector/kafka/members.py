"""Who is in a consumer group now, and which partitions each member has."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    for_code,
)

from connector.config import Kafka
from connector.kafka.connection import admin_client
from connector.kafka.errors import missing_right, translated

T = TypeVar("T")

WITHIN = 20.0  # seconds for Kafka's answer; a broker that needs longer is away
_LOOK = 0.2  # seconds between two questions for a coordinator that is not there yet
_NO_COORDINATOR_YET = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)
_AT_REST = {"Stable", "Empty", "Dead"}


@dataclass(frozen=True)
class Members:
    """`count` members have the partitions in `owned`, by topic and number.

    `is_changing`: the group shares out its partitions at this moment, so nobody knows who will have them.
    """

    count: int
    owned: Collection[tuple[str, int]] = ()
    is_changing: bool = False


async def members(kafka: Kafka, stage: str) -> Members:
    """The members of the stage's group.

    Raises:
        Fatal: No broker answers, or a right is missing.
        Retryable: Kafka is away.
    """
    group = kafka.topic_prefix + stage
    with translated():
        async with asyncio.timeout(WITHIN), admin_client(kafka) as admin:
            state, found = await described(admin, group)
    if state not in _AT_REST:
        return Members(len(found), is_changing=True)
    return Members(len(found), {place for member in found for place in _owned(member)})


async def described(admin: AIOKafkaAdminClient, group: str) -> tuple[str, Sequence[Any]]:
    """The state of a group, and its members as Kafka describes them.

    Raises:
        Fatal: The right to describe the group is missing. All else are Kafka's own errors.
    """

    async def ask() -> tuple[str, Sequence[Any]]:
        (answer,) = await admin.describe_consumer_groups([group])
        error, _, state, _, _, found, *_ = answer.groups[0]
        if error:
            raise for_code(error)(group)
        return state, found

    return await _answered(group, ask)


async def committed(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, int]:
    """The offsets that a group has committed, -1 where it has none. Raises what `described` does."""
    offsets = await _answered(group, lambda: admin.list_consumer_group_offsets(group))
    return {place: entry.offset for place, entry in offsets.items()}


async def finished(kafka: Kafka, stages: Sequence[str]) -> dict[str, dict[tuple[str, int], int]]:
    """By stage, topic and partition the offset that its group has committed: what comes before is finished (rule 1).

    Raises:
        Fatal: No broker answers, or a right is missing.
        Retryable: Kafka is away.
    """
    found: dict[str, dict[tuple[str, int], int]] = {}
    async with admin_client(kafka) as admin:
        for stage in stages:
            with translated():
                async with asyncio.timeout(WITHIN):
                    offsets = await committed(admin, kafka.topic_prefix + stage)
            found[stage] = {(place.topic, place.partition): offset for place, offset in offsets.items()}
    return found


async def _answered(group: str, ask: Callable[[], Awaitable[T]]) -> T:
    """Asks until the group has a coordinator: a cluster that never had a group needs a moment to make one."""
    while True:
        try:
            return await ask()
        except _NO_COORDINATOR_YET:
            await asyncio.sleep(_LOOK)
        except GroupAuthorizationFailedError as error:
            raise missing_right("DESCRIBE", f"Group {group}", error) from error


def _owned(member: Sequence[Any]) -> list[tuple[str, int]]:
    """The partitions of a member. Kafka's answer has its assignment behind id, client, host and subscription."""
    assignment = next(part for part in reversed(member) if isinstance(part, bytes))
    if not assignment:
        return []
    decoded = ConsumerProtocolMemberAssignment.decode(assignment)
    return [(place.topic, place.partition) for place in decoded.partitions()]
