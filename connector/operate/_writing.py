"""Writes what operators decide to the topics."""

from collections.abc import Sequence

from connector.config import Kafka
from connector.kafka.cloud_events import OutRecord
from connector.kafka.publisher import Publisher

_AT_ONCE = 1_000  # records that are written together


async def written(kafka: Kafka, records: Sequence[OutRecord]) -> None:
    """Returns when the records are durable. Raises what `Publisher` raises."""
    publisher = Publisher(kafka)
    await publisher.start()
    try:
        for start in range(0, len(records), _AT_ONCE):
            await publisher.send_all(records[start : start + _AT_ONCE])
    finally:
        await publisher.stop()
