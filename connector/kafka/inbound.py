"""A record as it comes from a topic."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import ConsumerRecord

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class InRecord:
    """A record as it lies on its topic. `timestamp` is in seconds since 1970."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: float


def consumed(record: ConsumerRecord) -> InRecord:
    """Makes our record from aiokafka's, whose time is in milliseconds."""
    return InRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
        timestamp=record.timestamp / 1000,
    )
