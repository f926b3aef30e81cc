"""Lets the start or the stop of a client come to its end although the caller is cancelled, once or again and again."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

_CUT_WITHIN = 0.1  # seconds that it gets once it is cancelled itself


async def uninterrupted(work: Awaitable[None], within: float) -> None:
    """Awaits `work`. However often the caller is cancelled, `work` has `within` seconds more to end, then it is cut.

    Without this a cancellation leaves connections open, or aiokafka 0.14 swallows it, and the caller lives on.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await _ended(task, within)
        task.cancel()
        await _ended(task, _CUT_WITHIN)
        raise


async def _ended(task: asyncio.Future[None], within: float) -> None:
    """Waits at most `within` seconds, whatever cancels the caller. Nobody else reads the task's error."""
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    clock = asyncio.get_running_loop().time
    deadline = clock() + within
    while not task.done() and (left := deadline - clock()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task}, timeout=left)
