"""Reads one partition from its beginning to its end as it is now."""

import time
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from connector.config import Kafka
from connector.errors import Retryable
from connector.kafka.connection import client_settings
from connector.kafka.errors import translated

_NO_PROGRESS = 30.0  # seconds without a record or a move before the broker counts as away
_POLL = 500  # milliseconds


async def read_back(kafka: Kafka, topic: str, partition: int) -> AsyncIterator[ConsumerRecord]:
    """Every committed record of the partition that was written before this call, in order.

    The end is the last stable offset: transaction markers and aborted records take offsets too, so it is the consumer's
    position that tells when everything was read, not the last record's offset.

    Raises:
        Retryable: Kafka is away, or does not hand out records for 30 s.
    """
    place = TopicPartition(topic, partition)
    # Not by seek_to_beginning: the reset to the default, latest, that `assign` begins can win over it.
    consumer = AIOKafkaConsumer(
        **client_settings(kafka),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    with translated():
        await consumer.start()
    try:
        consumer.assign([place])
        with translated():
            end = (await consumer.end_offsets([place]))[place]
        position, moved_at = -1, time.monotonic()
        while True:
            with translated():
                before, position = position, await consumer.position(place)
            if position >= end:
                return
            if position != before:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > _NO_PROGRESS:
                raise Retryable(f"reading {topic}/{partition} back: nothing came for {_NO_PROGRESS:g} s")
            with translated():
                batches = await consumer.getmany(place, timeout_ms=_POLL)
            for record in batches.get(place, ()):
                yield record
    finally:
        await consumer.stop()
