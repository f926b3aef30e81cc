"""Who is in a consumer group now, and which partitions each member has."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import GroupAuthorizationFailedError, for_code

from connector.config import Kafka
from connector.errors import Retryable
from connector.kafka.connection import admin_client
from connector.kafka.errors import missing_right, translated

_WITHIN = 20.0  # seconds for Kafka's answer; a broker that needs longer is away
_LOOK = 0.2  # seconds until we ask again
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
    said: Exception | str = "no answer"
    try:
        async with asyncio.timeout(_WITHIN), admin_client(kafka) as admin:
            while True:
                try:
                    with translated():
                        (answer,) = await admin.describe_consumer_groups([group])
                    break
                except Retryable as error:  # a cluster without any group yet makes a coordinator first
                    said = error
                    await asyncio.sleep(_LOOK)
    except TimeoutError:
        raise Retryable(f"Kafka does not describe the group {group} within {_WITHIN:g} s: {said}") from None
    code, _, state, _, _, found, *_ = answer.groups[0]
    if code == GroupAuthorizationFailedError.errno:
        raise missing_right("DESCRIBE", f"Group {group}", GroupAuthorizationFailedError(group))
    with translated():
        if code:
            raise for_code(code)(group)
    if state not in _AT_REST:
        return Members(len(found), is_changing=True)
    return Members(len(found), {place for member in found for place in _owned(member)})


def _owned(member: tuple[object, ...]) -> list[tuple[str, int]]:
    """The partitions of a member. Kafka's answer has its assignment behind id, client, host and subscription."""
    assignment = next(part for part in reversed(member) if isinstance(part, bytes))
    if not assignment:
        return []
    decoded = ConsumerProtocolMemberAssignment.decode(assignment)
    return [(place.topic, place.partition) for place in decoded.partitions()]
