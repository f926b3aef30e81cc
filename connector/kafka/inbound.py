"""A record as it comes from a topic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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


def in_record(message: Any) -> InRecord:
    """Makes our record from Faust's message. Faust types its messages loosely."""
    return _in_record(message, message.timestamp)


def consumed(record: ConsumerRecord) -> InRecord:
    """Makes our record from aiokafka's, whose time is in milliseconds."""
    return _in_record(record, record.timestamp / 1000)


def _in_record(message: Any, timestamp: float) -> InRecord:
    headers = message.headers
    return InRecord(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=tuple(headers.items() if isinstance(headers, dict) else headers or ()),
        timestamp=timestamp,
    )
