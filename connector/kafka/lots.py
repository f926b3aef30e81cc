"""The lots that one worker owns, and how they are worked off while the cell's new records queue up behind them."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from faust.types import TP

from connector.kafka.cell_work import CellWork
from connector.kafka.inbound import InRecord
from connector.kafka.ordered import OrderedAcks
from connector.kafka.parking import Lot, Parking

_COMING = 10_000  # records on their way to a lot; past it the stage waits for Kafka to take them
_OLDER_WITHIN = 60.0  # seconds for work under way to end or to be parked; a failure is waited out for 30 s


class Lots:
    """`known` before the first record of a partition; from then on `waits`, `lot` and `work_off`.

    `in_flight` pieces of a lot's work are under way at most. Where a stage `keeps_order`, a lot has its records in the
    order of their offsets, also when some of them were under way when the cell was held.
    """

    def __init__(self, parking: Parking, in_flight: int, *, keeps_order: bool = True) -> None:
        self._parking = parking
        self._keeps_order = keeps_order
        self._direct: defaultdict[tuple[TP, str], dict[int, None]] = defaultdict(dict)
        self._ended = asyncio.Event()
        self._in_flight = in_flight
        self._lots: dict[TP, dict[str, Lot]] = {}
        self._opening: dict[TP, asyncio.Future[dict[TP, dict[str, Lot]]]] = {}

    @property
    def count(self) -> int:
        """How many records are parked, as far as this worker knows."""
        return sum(lot.count for lots in self._lots.values() for lot in lots.values())

    def open(self, partition: TP) -> Coroutine[Any, Any, list[Lot]]:
        """Begins at once to read back what is parked of a partition that has been assigned."""
        opening = self._opening[partition] = asyncio.ensure_future(self._parking.lots([partition]))
        return self._opened(partition, opening)

    async def _opened(self, partition: TP, opening: asyncio.Future[dict[TP, dict[str, Lot]]]) -> list[Lot]:
        self._lots[partition] = (await opening)[partition]
        return list(self._lots[partition].values())

    async def known(self, partition: TP) -> bool:
        """Returns when it is known what is parked of the partition, and not too much is on its way there.

        False when the partition has been given away meanwhile.
        """
        while (opening := self._opening.get(partition)) and partition not in self._lots:
            if opening.done() and (opening.cancelled() or opening.exception()):
                return False
            await asyncio.wait({opening})
            await asyncio.sleep(0)  # so that `_opened` takes what was found
        while sum(lot.coming for lot in self._lots.get(partition, {}).values()) > _COMING:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return partition in self._lots

    def waits(self, partition: TP, cell: str) -> bool:
        """Whether there are parked records, behind which new ones have to queue up."""
        return cell in self._lots.get(partition, {})

    def lot(self, partition: TP, cell: str) -> tuple[Lot, bool]:
        """The lot, and whether it is new: then somebody has to work it off."""
        lots = self._lots[partition]
        is_new = cell not in lots
        if is_new:
            lots[cell] = self._parking.lot(partition, cell)
        return lots[cell], is_new

    def begins(self, partition: TP, cell: str, offset: int) -> None:
        """The work of a record begins without having been parked. To be called in the order of offsets."""
        self._direct[partition, cell][offset] = None

    def ends(self, partition: TP, cell: str, offset: int) -> None:
        """It is done, or parked."""
        self._direct[partition, cell].pop(offset, None)
        self._ended.set()

    async def park(self, lot: Lot, record: InRecord) -> None:
        """Parks a record whose work has not begun. Returns when it is durable there."""
        lot.announce()
        async with lot.in_order:
            if self._keeps_order:
                await self._older_have_ended(lot.place.source, lot.place.cell, record.offset)
            stored = lot.put(record)
        await asyncio.shield(stored)

    async def park_begun(self, lot: Lot, record: InRecord) -> None:
        """Parks a record whose work has begun and could not be done: those that came later wait for it."""
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
        """The partition is another worker's."""
        self._lots.pop(partition, None)
        for place in [place for place in self._direct if place[0] == partition]:
            del self._direct[place]
        if opening := self._opening.pop(partition, None):
            opening.cancel()

    async def work_off(self, lot: Lot, work: CellWork) -> None:
        """Works the lot off in order, until it is empty; from then on the cell's records are not parked any more."""
        room = asyncio.Semaphore(self._in_flight)
        acks = OrderedAcks()
        async with asyncio.TaskGroup() as tasks:
            async for offset, record in lot.records():
                await room.acquire()
                acks.add(offset)
                tasks.create_task(_one(lot, offset, record, work, acks, room))
            self._lots.get(lot.place.source, {}).pop(lot.place.cell, None)


async def _one(
    lot: Lot, offset: int, record: InRecord, work: CellWork, acks: OrderedAcks, room: asyncio.Semaphore
) -> None:
    cell = lot.place.cell
    try:
        await work.finish(record, cell, work.part(record, cell))
        acks.done(offset)
        if acks.position is not None:
            await lot.done(acks.position)
    finally:
        room.release()
