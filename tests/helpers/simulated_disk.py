"""The disk of the spool in simulated time: it is slow, full or broken. The SQLite file on it is a real one.

A process that dies or freezes makes no more calls to its file. All that a call has synced stays.
"""

import asyncio
import sqlite3
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from connector.spool import _file, _spool
from connector.spool._file import SpoolFile
from helpers.processes import name_of_this

_SYNC = "PRAGMA synchronous = FULL"
_WRITES = ("INSERT", "UPDATE", "DELETE")


class SimulatedDisk:
    """`slow`: most seconds that a call takes. A `full` disk takes no writes, a `broken` one takes no call at all.

    `most_waiting` is the most calls that waited for a process's thread, `most_bytes` the most that the file held;
    `not_synced` counts the records that would be lost in a power failure.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.slow = 0.01
        self.full = self.broken = False
        self.most_waiting = self.most_bytes = self.not_synced = 0
        self._files: defaultdict[str, list[SpoolFile]] = defaultdict(list)

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(_spool, "ThreadPoolExecutor", lambda *_: _Thread(self))
        patch.setattr(_spool, "SpoolFile", self._open)
        patch.setattr(_file.sqlite3, "connect", partial(sqlite3.connect, factory=partial(_Connection, self)))

    def mend(self) -> None:
        self.slow, self.full, self.broken = 0.01, False, False

    def unlock(self, process: str) -> None:
        """What the operating system does when a process dies."""
        for file in self._files[process]:
            if file._lock:
                file._lock.close()

    def close(self) -> None:
        for files in self._files.values():
            for file in files:
                file.close()

    def carry_out(self, statement: str) -> None:
        """Raises what SQLite raises when the disk does not take this statement."""
        if self.broken:
            raise _error("disk I/O error", sqlite3.SQLITE_IOERR)
        if self.full and statement.startswith(_WRITES):
            raise _error("database or disk is full", sqlite3.SQLITE_FULL)

    def _open(self, folder: Path, max_bytes: int) -> SpoolFile:
        file = SpoolFile(folder, max_bytes)
        self._files[name_of_this()].append(file)
        return file


class _Connection(sqlite3.Connection):
    def __init__(self, disk: SimulatedDisk, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        super().execute("PRAGMA synchronous = OFF")  # the test needs none: its processes only seem to die
        self._disk = disk
        self._syncs = False

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        self._disk.carry_out(statement)
        if statement == _SYNC:
            self._syncs, statement = True, "PRAGMA synchronous"
        done = super().execute(statement, *parameters)
        if statement.startswith("INSERT INTO records"):
            self._disk.not_synced += not self._syncs
            (held,) = super().execute("SELECT bytes FROM total").fetchone()
            self._disk.most_bytes = max(self._disk.most_bytes, held)
        return done


class _Thread:
    """A ThreadPoolExecutor with one thread, which takes simulated time."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._running: asyncio.Task[None] | None = None

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._calls.append((future, call))
        self._disk.most_waiting = max(self._disk.most_waiting, len(self._calls))
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._run())
        return future

    def shutdown(self, wait: bool) -> None:
        """Does nothing: what was submitted is carried out."""

    async def _run(self) -> None:
        while self._calls:
            await asyncio.sleep(self._disk.random.uniform(0, self._disk.slow))
            future, call = self._calls.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except Exception as error:  # noqa: BLE001 - the caller gets it
                    future.set_exception(error)


def _error(message: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error
