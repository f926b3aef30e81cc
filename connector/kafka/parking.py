"""Where records wait for a held cell: the topic `connector.parked`.

A parked record is durable there, so the worker may commit the record's own partition past it (rule 1), and the other
cells of the partition go on. The records parked from one source partition for one cell are a lot. The worker that owns
the source partition owns its lots: it reads them back when it gets the partition, works them off in order, and writes
to the same topic how far it got. A crash repeats a part of a lot, so a stage's work must be safe to repeat.
"""

import asyncio
from collections.abc import Iterable
from functools import partial

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from faust.types import TP

from connector.config import Kafka
from connector.kafka.connection import client_settings, opened
from connector.kafka.lot import Lot, Place, Publish
from connector.kafka.read_back import read_back
from connector.retry import until_done

PARKED = "connector.parked"


class Parking:
    """The lots of one stage."""

    def __init__(self, kafka: Kafka, stage: str, publish: Publish) -> None:
        self._kafka = kafka
        self._stage = stage
        self._publish = publish
        self._topic = kafka.topic_prefix + PARKED
        self._partitions: int | None = None
        self._counting = asyncio.Lock()  # partitions are opened at the same time, and one of them asks Kafka

    async def lots(self, sources: Iterable[TP]) -> dict[TP, dict[str, Lot]]:
        """Reads from the topic what is parked of these partitions, by cell. Waits out an outage of Kafka.

        Raises:
            Fatal: Kafka refuses us.
        """
        by_parked: dict[int, set[TP]] = {}
        async with self._counting:
            if self._partitions is None:
                self._partitions = await until_done(partial(partition_count, self._kafka, self._topic))
        for source in sources:
            by_parked.setdefault(source.partition % (self._partitions or 1), set()).add(source)
        found: dict[TP, dict[str, Lot]] = {source: {} for each in by_parked.values() for source in each}
        await asyncio.gather(*(self._read(partition, found) for partition in by_parked))
        return found

    def lot(self, source: TP, cell: str) -> Lot:
        """An empty lot. Call `lots` before this."""
        partition = TopicPartition(self._topic, source.partition % (self._partitions or 1))
        return Lot(Place(self._stage, cell, source), partition, self._kafka, self._publish)

    async def _read(self, partition: int, found: dict[TP, dict[str, Lot]]) -> None:
        parked = await until_done(partial(self._read_notes, partition))
        for offsets in parked.values():
            for offset, place in offsets.items():
                if place.source in found:
                    lots = found[place.source]
                    lot = lots.setdefault(place.cell, self.lot(place.source, place.cell))
                    lot.found(offset)
                    lot.count += 1

    async def _read_notes(self, partition: int) -> dict[bytes, dict[int, Place]]:
        parked: dict[bytes, dict[int, Place]] = {}
        async for record in read_back(self._kafka, self._topic, partition):
            self._take_note(record, parked)
        return parked

    def _take_note(self, record: ConsumerRecord, parked: dict[bytes, dict[int, Place]]) -> None:
        headers = dict(record.headers)
        if headers.get("pk_stage") != self._stage.encode():
            return
        offsets = parked.setdefault(record.key, {})
        if "pk_done" in headers:
            position = int(headers["pk_done"])
            parked[record.key] = {offset: place for offset, place in offsets.items() if offset >= position}
        else:
            source = TP(headers["pk_topic"].decode(), int(headers["pk_partition"]))
            offsets[record.offset] = Place(self._stage, headers["pk_cell"].decode(), source)


async def partition_count(kafka: Kafka, topic: str) -> int:
    """How many partitions a topic has, by its full name."""
    async with opened(AIOKafkaConsumer(topic, **client_settings(kafka))) as consumer:
        return len(consumer.partitions_for_topic(topic) or ()) or 1
