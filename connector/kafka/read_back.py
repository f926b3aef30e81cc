"""Reads one partition from its beginning to its end as it is now."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from connector.config import Kafka
from connector.kafka.connection import opened, reader_settings
from connector.kafka.errors import nothing_came, translated

_NO_PROGRESS = 30.0  # seconds without a record or a new position before the broker counts as away
_POLL = 100  # milliseconds
# Records. aiokafka makes a dozen objects of each; if many live at once, Python's collector runs all the time.
_AT_ONCE = 50
_FETCH = 2 * 1024 * 1024  # bytes; for each fetch we wait for the broker once
_WAIT = 50  # milliseconds that the broker waits for more records; short, so that we soon know the end


async def read_back(kafka: Kafka, topic: str, partition: int) -> AsyncIterator[ConsumerRecord]:
    """Every committed record of the partition that was written before this call, in order; see `read_back_lots`."""
    async for lot in read_back_lots(kafka, topic, partition):
        for record in lot:
            yield record


async def read_back_lots(kafka: Kafka, topic: str, partition: int) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """The same, some records at once: for millions of records, a turn of the event loop's machinery each is too much.

    Waits until every transaction there is committed or aborted: until then Kafka hides what comes after an open one.
    Transaction markers and aborted records take offsets too, so the consumer's position tells when everything was
    read, not the last record's offset.

    Raises:
        Retryable: Kafka is away, or does not hand out records for 30 s.
    """
    place = TopicPartition(topic, partition)
    # We do not use seek_to_beginning: `assign` starts a reset to the default, latest, which can override it.
    settings = {**reader_settings(kafka), "fetch_max_wait_ms": _WAIT, "max_partition_fetch_bytes": _FETCH}
    async with opened(AIOKafkaConsumer(**settings)) as consumer:
        consumer.assign([place])
        end, position, moved_at = None, -1, time.monotonic()
        while end is None or position < end:
            with translated():
                batches = await consumer.getmany(place, timeout_ms=_POLL, max_records=_AT_ONCE)
            if batches:
                yield batches[place]
            if end is None:
                end = consumer.highwater(place)
            with translated():
                async with asyncio.timeout(_NO_PROGRESS):  # aiokafka waits for ever for a topic that does not exist
                    before, position = position, await consumer.position(place)
            if position != before:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > _NO_PROGRESS:
                raise nothing_came(f"{topic}/{partition}")
