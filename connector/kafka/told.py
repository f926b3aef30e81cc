"""What Kafka tells about topics, and aiokafka 0.14 does not ask for: their ids, and what we may do with them.

Version 12 of Kafka's metadata has both, and aiokafka knows only version 5.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

from connector.kafka.errors import translated

_ID = (("id_high", Int64), ("id_low", Int64))
_NO_ID = (0, 0)
_BITS = {"READ": 3, "WRITE": 4, "DESCRIBE": 8, "DESCRIBE_CONFIGS": 10}  # Kafka's numbers of the operations
_NOT_TOLD = -(2**31)  # the rights that a broker without an authorizer answers


class Told(NamedTuple):
    """A topic's id, and the operations that Kafka allows us on it. None is what it does not tell."""

    id: tuple[int, int] | None
    rights: Collection[str] | None


class _Answer(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString()),
                *_ID,
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("topics", CompactArray(*_ID, ("topic", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _Request(Request[_Question]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics

    def build(self, question: type[_Question]) -> _Question:
        return question([(*_NO_ID, topic, {}) for topic in self._topics], False, True, {})


async def told(admin: AIOKafkaAdminClient, topics: Collection[str]) -> Mapping[str, Told]:
    """What Kafka tells about topics. Those that it cannot tell about, such as missing ones, are left out.

    Raises:
        Retryable, Fatal: As `translated` says.
    """
    try:
        with translated():
            answer = await admin._send_request(_Request(topics))
    except NotImplementedError:  # a broker before Kafka 3.0
        return {}
    found: dict[str, Told] = {}
    for error, topic, *id_, _, _, operations, _ in answer.topics:
        if error == TopicAuthorizationFailedError.errno:
            found[topic] = Told(None, ())
        elif not error:
            rights = {name for name, bit in _BITS.items() if operations >> bit & 1}
            high, low = id_
            found[topic] = Told(
                (high, low) if (high, low) != _NO_ID else None, rights if operations != _NOT_TOLD else None
            )
    return found
