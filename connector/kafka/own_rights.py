"""What Kafka lets us do with topics.

Version 8 of Kafka's metadata says so, and aiokafka 0.14 knows only version 5.
"""

from collections.abc import Collection, Mapping

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from connector.kafka.errors import translated

_BITS = {"READ": 3, "WRITE": 4, "DESCRIBE": 8, "DESCRIBE_CONFIGS": 10}  # Kafka's numbers of the operations
_NOT_TOLD = -(2**31)  # what a broker answers that does not tell


class _Answer(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", String()), ("port", Int32), ("rack", String()))),
        ("cluster_id", String()),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String()),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("topics", Array(String())),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _Request(Request[_Question]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics

    def build(self, question: type[_Question]) -> _Question:
        return question(list(self._topics), False, False, True)


async def allowed(admin: AIOKafkaAdminClient, topics: Collection[str]) -> Mapping[str, Collection[str]]:
    """The operations that Kafka allows us on each topic. Topics about which it tells nothing are left out.

    Raises:
        Retryable, Fatal: As `translated` says.
    """
    try:
        with translated():
            answer = await admin._send_request(_Request(topics))
    except NotImplementedError:  # this broker is too old to tell
        return {}
    found: dict[str, Collection[str]] = {}
    for error, topic, _, _, operations in answer.topics:
        if error == TopicAuthorizationFailedError.errno:
            found[topic] = ()
        elif not error and operations != _NOT_TOLD:
            found[topic] = {name for name, bit in _BITS.items() if operations >> bit & 1}
    return found
