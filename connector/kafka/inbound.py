"""A record as it comes from a topic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
    headers = message.headers
    return InRecord(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=tuple(headers.items() if isinstance(headers, dict) else headers or ()),
        timestamp=message.timestamp,
    )
