"""Where records wait for a held cell: the topic `connector.parked`.

A parked record is durable there, so the worker may commit the record's own partition past it (rule 1), and the other
cells of the partition go on. The records parked from one source partition for one cell are a lot. The worker that owns
the source partition owns its lots: it reads them back when it gets the partition, works them off in order, and writes
to the same topic how far it got. A crash repeats a part of a lot, so a stage's work must be safe to repeat.

The number of its source partition says where a new lot goes, by the number of partitions that the topic has then. Some
may be added later. So a worker looks for its lots in all of them, and a lot stays in its partition until it is empty.
"""

import asyncio
from collections import deque
from collections.abc import Container, Iterable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.types import TP

from connector.config import Kafka
from connector.kafka.connection import client_settings, opened
from connector.kafka.lot import Lot, Place, Publish
from connector.kafka.read_back import read_back
from connector.retry import until_done

PARKED = "connector.parked"


class _Notes(NamedTuple):
    """What is parked of a lot: of each record its offset on `connector.parked`, and on its own topic. In order."""

    place: Place
    parked: deque[tuple[int, int]]


@dataclass
class _Pass:
    """One pass over the topic, which looks for what is parked of the sources."""

    sources: set[TP]
    task: asyncio.Task[dict[TP, dict[str, Lot]]]
    waiting: int = 0  # how many wait for it


class Parking:
    """The lots of one stage."""

    def __init__(self, kafka: Kafka, stage: str, publish: Publish) -> None:
        self._kafka = kafka
        self._stage = stage
        self._publish = publish
        self._topic = kafka.topic_prefix + PARKED
        self._partitions = 1
        self._next: _Pass | None = None  # it has not begun, so that others may join

    async def lots(self, sources: Iterable[TP]) -> dict[TP, dict[str, Lot]]:
        """Reads from the topic what is parked of these partitions, by cell. Waits out an outage of Kafka.

        Calls at the same moment share one pass over the topic.

        Raises:
            Fatal: Kafka refuses us.
        """
        wanted = {*sources}
        if self._next is None:
            together = set[TP]()
            self._next = _Pass(together, asyncio.create_task(self._read(together)))
        mine = self._next
        mine.sources.update(wanted)
        mine.waiting += 1
        try:
            found = await asyncio.shield(mine.task)
        finally:
            mine.waiting -= 1
            if not mine.waiting:
                mine.task.cancel()
                self._next = None if self._next is mine else self._next
        return {source: found[source] for source in wanted}

    def lot(self, source: TP, cell: str) -> Lot:
        """An empty lot. Call `lots` before this."""
        return self._lot(Place(self._stage, cell, source), source.partition % self._partitions)

    def _lot(self, place: Place, partition: int) -> Lot:
        return Lot(place, TopicPartition(self._topic, partition), self._kafka, self._publish)

    async def _read(self, sources: set[TP]) -> dict[TP, dict[str, Lot]]:
        self._next = None  # who asks from now on has to see what was written meanwhile
        self._partitions = await until_done(partial(partition_count, self._kafka, self._topic))
        readings = (until_done(partial(self._read_notes, number, sources)) for number in range(self._partitions))
        notes = [each for found in await asyncio.gather(*readings) for each in found.items() if each[1].parked]
        lots: dict[TP, dict[str, Lot]] = {source: {} for source in sources}
        for (partition, _), (place, parked) in sorted(notes, key=lambda each: each[1].parked[0][1]):
            lot = self._lot(place, partition)
            lot.before = lots[place.source].get(place.cell)
            lot.count = len(parked)
            for offset, _ in parked:
                lot.found(offset)
            lots[place.source][place.cell] = lot
        return lots

    async def _read_notes(self, partition: int, sources: Container[TP]) -> dict[tuple[int, bytes], _Notes]:
        notes: dict[tuple[int, bytes], _Notes] = {}
        async for record in read_back(self._kafka, self._topic, partition):
            headers = dict(record.headers)
            if headers.get("pk_stage") != self._stage.encode():
                continue
            lot = (partition, record.key)
            if "pk_done" in headers:
                parked = notes[lot].parked if lot in notes else deque()
                while parked and parked[0][0] < int(headers["pk_done"]):
                    parked.popleft()
                continue
            source = TP(headers["pk_topic"].decode(), int(headers["pk_partition"]))
            if source in sources:
                place = Place(self._stage, headers["pk_cell"].decode(), source)
                known = notes.setdefault(lot, _Notes(place, deque()))
                known.parked.append((record.offset, int(headers["pk_offset"])))
        return notes


async def partition_count(kafka: Kafka, topic: str) -> int:
    """How many partitions a topic has, by its full name."""
    async with opened(AIOKafkaConsumer(topic, **client_settings(kafka))) as consumer:
        return len(consumer.partitions_for_topic(topic) or ()) or 1
