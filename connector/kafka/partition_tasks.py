"""Tasks that belong to a partition: they end with it, and every failure is reported."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from faust.types import TP

Tasks = defaultdict[TP, set[asyncio.Task[None]]]


class PartitionTasks:
    """Calls `fail` with the error that a task raises, unless the task was cancelled."""

    def __init__(self, fail: Callable[[BaseException], None]) -> None:
        self._fail = fail
        self._tasks: Tasks = defaultdict(set)
        self._background: Tasks = defaultdict(set)  # may go on for as long as a cell is held

    @property
    def partitions(self) -> list[TP]:
        """The partitions that have had a task since they were assigned."""
        return list({*self._tasks, *self._background})

    def spawn(self, partition: TP, work: Coroutine[Any, Any, None], *, in_background: bool = False) -> None:
        """Starts a task. `ended` does not wait for one in the background."""
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        tasks = (self._background if in_background else self._tasks)[partition]
        tasks.add(task)

        def ended(_: object) -> None:
            tasks.discard(task)
            work.close()  # a task that is cancelled before its start never awaits it

        task.add_done_callback(ended)

    async def ended(self, within: float) -> None:
        """Waits until all tasks but those in the background have ended, for `within` seconds at most."""
        if pending := [task for tasks in self._tasks.values() for task in tasks]:
            await asyncio.wait(pending, timeout=within)

    async def cancel(self, partitions: Iterable[TP]) -> None:
        """Ends all tasks of the partitions."""
        kept = (self._tasks, self._background)
        tasks = [task for partition in partitions for each in kept for task in each.pop(partition, ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - any error must end the worker rather than vanish
            self._fail(error)
