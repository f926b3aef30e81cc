"""How much of each cell's work is in memory at once."""

import asyncio
from collections import defaultdict

from faust.types import TP

from connector.kafka.cell_work import CellWork
from connector.kafka.lots import Lots

_ROOM_WITHIN = 1.0  # seconds that we wait for a place in a full room; a working stage frees one within milliseconds


class Rooms:
    """Each cell's room has places for `size` pieces of work. Without `lots`, `take` waits for a place without limit."""

    def __init__(self, size: int, work: CellWork, lots: Lots | None) -> None:
        self._rooms: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(size))
        self._work = work
        self._lots = lots

    async def take(self, partition: TP, cell: str) -> bool:
        """Takes a place in the cell's room. False when the caller must park the work."""
        room = self._rooms[cell]
        if self._lots is None:
            return await room.acquire()
        if self._lots.waits(partition, cell) or self._work.cell(cell).holder:
            return False
        if not room.locked():
            return await room.acquire()
        try:
            async with asyncio.timeout(_ROOM_WITHIN):
                return await room.acquire()
        except TimeoutError:
            return False

    def leave(self, cell: str) -> None:
        """Gives a place back."""
        self._rooms[cell].release()
