"""Notices a topic that was deleted and created anew: its name is the same, but Kafka gives it another id.

Kafka's clients go by the name. They would read on in the middle of the new topic, and take its empty memory for ours.
Version 12 of Kafka's metadata tells the ids, and aiokafka 0.14 knows only version 5.
"""

from collections.abc import Collection

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

from connector.config import Kafka
from connector.errors import Fatal
from connector.kafka.connection import admin_client
from connector.kafka.errors import translated

_ID = (("id_high", Int64), ("id_low", Int64))
_NONE = (0, 0)


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
        return question([(*_NONE, topic, {}) for topic in self._topics], False, False, {})


class TopicIds:
    """Remembers the id of each topic from the first look on."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._first: dict[str, tuple[int, int]] = {}

    async def require_the_same(self, topics: Collection[str]) -> None:
        """Checks that topics are still those of the first look. `topics` are full names.

        Raises:
            Fatal: One was created anew, or no broker answers.
        """
        async with admin_client(self._kafka) as admin:
            try:
                with translated():
                    answer = await admin._send_request(_Request(topics))
            except NotImplementedError:  # a broker before Kafka 3.0 does not tell
                return
        anew = []
        for error, topic, *rest in answer.topics:
            found = tuple(rest[:2])
            if not error and found != _NONE and self._first.setdefault(topic, found) != found:
                anew.append(topic)
        if anew:
            raise Fatal(
                f"{', '.join(sorted(anew))} was deleted and created anew while the service ran. What nobody had read is"
                " lost, and what we noted there is forgotten. Stop the service, do what docs/cluster.md says for this"
                " topic, and start the service again."
            )
