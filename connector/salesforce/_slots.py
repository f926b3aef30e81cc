"""How many calls may be under way at once."""

import asyncio
from collections.abc import Callable


class Slots:
    """`most` places for calls. `free` says how many are left. Each time that one is given back, `freed` is called."""

    def __init__(self, most: int, freed: Callable[[], None]) -> None:
        self.free = most
        self._tell = freed
        self._freed = asyncio.Event()

    def take(self) -> None:
        """Takes a place that is free."""
        self.free -= 1

    def give(self) -> None:
        """Gives a place back."""
        self.free += 1
        self._freed.set()
        self._tell()

    async def wait(self) -> None:
        """Takes a place as soon as one is free."""
        while self.free <= 0:
            self._freed.clear()
            await self._freed.wait()
        self.take()
