"""The lots that one worker owns. The worker works them off while the cell's new records queue up behind them."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress

import structlog
from faust.types import TP

from connector.kafka.cell_work import CellWork
from connector.kafka.inbound import InRecord
from connector.kafka.lot import Lot
from connector.kafka.ordered import OrderedAcks
from connector.kafka.parking import Parking
from connector.kafka.skipped import Skipped

log = structlog.get_logger(__name__)

_COMING = 10_000  # records on their way to a partition's lots; above this the stage waits until Kafka has taken them
_MARKED_WITHIN = 2.0  # seconds for a last mark, which takes some 30 ms; without it a part of the lot is repeated
_OLDER_WITHIN = 60.0  # seconds for work under way to end or to be parked; a failure is first retried for 30 s


class Lots:
    """Await `known` before the first record of a partition. After that use `waits`, `lot` and `work_off`.

    No lot is worked off before `skipped` knows on which records operators have given up.

    At most `in_flight` pieces of a lot's work are under way. If the stage `keeps_order`, a lot has its records in the
    order of their offsets, even if work on some of them was under way when the cell was held.
    """

    def __init__(
        self, parking: Parking, in_flight: int, *, keeps_order: bool = True, skipped: Skipped | None = None
    ) -> None:
        self._skipped = skipped
        self._parking = parking
        self._keeps_order = keeps_order
        self._direct: defaultdict[tuple[TP, str], dict[int, None]] = defaultdict(dict)
        self._ended = asyncio.Event()
        self._in_flight = in_flight
        self._lots: dict[TP, dict[str, Lot]] = {}
        self._opening: dict[TP, asyncio.Task[list[Lot]]] = {}

    @property
    def count(self) -> int:
        """How many records are parked, as far as this worker knows."""
        return sum(each.count for lots in self._lots.values() for lot in lots.values() for each in lot.chain())

    def open(self, partition: TP) -> asyncio.Task[list[Lot]]:
        """Begins at once to read back what is parked of a newly assigned partition."""
        self._opening[partition] = asyncio.create_task(self._open(partition))
        return self._opening[partition]

    async def _open(self, partition: TP) -> list[Lot]:
        lots = self._lots[partition] = (await self._parking.lots([partition]))[partition]
        return list(lots.values())

    async def known(self, partition: TP) -> bool:
        """Waits until we know what is parked of the partition, and not too many records are on their way there.

        False when Kafka has given the partition away meanwhile.
        """
        opening = self._opening.get(partition)
        if opening and not opening.done():
            await asyncio.wait({opening})
        while sum(lot.coming for lot in self._lots.get(partition, {}).values()) > _COMING:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return partition in self._lots

    def waits(self, partition: TP, cell: str) -> bool:
        """Whether there are parked records. If so, new ones have to queue up behind them."""
        return cell in self._lots.get(partition, {})

    def lot(self, partition: TP, cell: str) -> tuple[Lot, bool]:
        """The lot, and whether it is new. The caller must see that a new lot is worked off."""
        lots = self._lots[partition]
        is_new = cell not in lots
        if is_new:
            lots[cell] = self._parking.lot(partition, cell)
        return lots[cell], is_new

    def begins(self, partition: TP, cell: str, offset: int) -> None:
        """Takes note that work on a record begins without parking it. Call this in the order of offsets."""
        self._direct[partition, cell][offset] = None

    def ends(self, partition: TP, cell: str, offset: int) -> None:
        """Takes note that this work is done, or its record parked."""
        self._direct[partition, cell].pop(offset, None)
        self._ended.set()

    async def park(self, lot: Lot, record: InRecord) -> None:
        """Parks a record whose work has not begun. Returns when the record is durable in the lot."""
        lot.announce()
        async with lot.in_order:
            if self._keeps_order:
                await self._older_have_ended(lot.place.source, lot.place.cell, record.offset)
            stored = lot.put(record)
        await asyncio.shield(stored)

    async def park_begun(self, lot: Lot, record: InRecord) -> None:
        """Parks a record whose work has begun and could not be done. Later records wait for it."""
        lot.announce()
        stored = lot.put(record)
        self.ends(lot.place.source, lot.place.cell, record.offset)
        await asyncio.shield(stored)

    async def _older_have_ended(self, partition: TP, cell: str, offset: int) -> None:
        under_way = self._direct[partition, cell]
        with suppress(TimeoutError):
            async with asyncio.timeout(_OLDER_WITHIN):
                while under_way and next(iter(under_way)) < offset:
                    self._ended.clear()
                    await self._ended.wait()

    def forget(self, partition: TP) -> None:
        """Another worker has the partition now."""
        self._lots.pop(partition, None)
        for place in [place for place in self._direct if place[0] == partition]:
            del self._direct[place]
        if opening := self._opening.pop(partition, None):
            opening.cancel()

    async def work_off(self, lot: Lot, work: CellWork) -> None:
        """Works the lot off in order, until it is empty. After that the cell's new records are no longer parked."""
        if self._skipped:
            await self._skipped.known.wait()
        for each in lot.chain():
            try:
                await self._work_off(each, work)
            finally:
                await _marked(each)

    async def _work_off(self, lot: Lot, work: CellWork) -> None:
        room = asyncio.Semaphore(self._in_flight)
        acks = OrderedAcks()
        async with asyncio.TaskGroup() as tasks:
            async for offset, record in lot.records():
                await room.acquire()
                acks.add(offset)
                given_up = self._skipped.at(lot.partition, offset, record) if self._skipped else _never
                task = tasks.create_task(_one(lot, offset, record, work, acks, room, given_up))
                if work.cell(lot.place.cell).holder:
                    await asyncio.wait({task})  # one record probes the cell; the others stay on the topic
            lots = self._lots.get(lot.place.source, {})
            if lots.get(lot.place.cell) is lot:  # an older lot of the chain is not there
                del lots[lot.place.cell]


async def _marked(lot: Lot) -> None:
    """Writes how far the lot is when its work ends early. Its own task, because the one that ends may be cancelled."""
    marking = asyncio.create_task(lot.mark())
    try:
        await asyncio.wait({marking}, timeout=_MARKED_WITHIN)
    finally:
        marking.cancel()
    (failed,) = await asyncio.gather(marking, return_exceptions=True)
    if failed is not None:
        cell, why = f"{lot.place.stage}/{lot.place.cell}", str(failed) or "Kafka does not answer"
        log.warning("parked_records_repeat", cell=cell, partition=lot.partition, reason=why)


def _never() -> bool:
    return False


async def _one(
    lot: Lot,
    offset: int,
    record: InRecord,
    work: CellWork,
    acks: OrderedAcks,
    room: asyncio.Semaphore,
    given_up: Callable[[], bool],
) -> None:
    cell = lot.place.cell
    try:
        await work.finish(record, cell, work.part(record, cell), given_up)
        acks.done(offset)
        if acks.position is not None:
            await lot.done(acks.position)
    finally:
        room.release()
