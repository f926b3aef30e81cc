"""Runs what reads whole topics beside the pages: in threads with loops of their own, for a bounded time."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from connector.errors import Retryable

T = TypeVar("T")

WITHIN = 30.0  # seconds: longer than anybody looks at a page that loads
_THREADS = 4
_MOST = 12  # questions that run or wait; more would only wait for their time-out


class Aside:
    """`close` ends what runs."""

    def __init__(self, within: float = WITHIN) -> None:
        self._within = within
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="console")
        self._closed = threading.Event()
        self._count = 0
        self._running: set[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = set()

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]], instead: str) -> T:
        """Runs `work()`. `instead` says what to do when it takes too long.

        Raises:
            Retryable: It takes too long, or too many run already.
            ConnectorError: From the work.
        """
        if self._count >= _MOST:
            raise Retryable("the console reads topics for too many people now; try again in a minute")
        self._count += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._in_thread, work, instead)
        finally:
            self._count -= 1

    def close(self) -> None:
        """Cancels what runs, and takes no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._closed.set()
        for loop, task in tuple(self._running):
            with suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(task.cancel)

    def _in_thread(self, work: Callable[[], Coroutine[Any, Any, T]], instead: str) -> T:
        async def bounded() -> T:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - for mypy: asyncio.run has made it
            entry = asyncio.get_running_loop(), task
            self._running.add(entry)
            try:
                if self._closed.is_set():
                    raise asyncio.CancelledError
                async with asyncio.timeout(self._within):
                    return await work()
            except TimeoutError as error:
                raise Retryable(f"this takes more than {self._within:g} s. {instead}") from error
            finally:
                self._running.discard(entry)

        return asyncio.run(bounded())
