"""The spool: a record that Kafka does not take now waits on the disk. A task sends the records to Kafka in order."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from connector.errors import ConnectorError, Rejected, Retryable
from connector.kafka.cloud_events import OutRecord
from connector.observe.metrics import Metrics
from connector.spool._file import Damaged, Full, SpoolFile

log = structlog.get_logger(__name__)

_LOOK = 1.0  # seconds between looks at an idle file: another process may have added records
_FIRST_PAUSE = 1.0  # seconds; Kafka has just failed
_LONGEST_PAUSE = 15.0  # seconds: we notice the end of an outage soon, and do not press a Kafka that starts
_TAKEN_WITHIN = 30.0  # seconds: more than the 20 s of Kafka's client, so we never resend a record that is under way
_OPENED_WITHIN = 30.0  # seconds; the check of a full file takes some, and the port opens only after it
_OTHERS_OPEN = 0.1  # seconds until we open a file again that another process has just opened
_OPENED_AGAIN = 60.0  # seconds until we try again to open a file for which the disk has no room
_FULL_FOR = 60.0  # seconds that we call the spool full; then only another record can show whether it is
_DISK_WITHIN = 2.0  # seconds for a commit, which takes milliseconds; a look, Kafka's 5 s and a commit are 9 s

Publish = Callable[[OutRecord], Awaitable[object]]
Refused = Callable[[OutRecord, Rejected], OutRecord]
T = TypeVar("T")


class Spool:
    """Call `start`, then `add` and `is_empty`, and `stop` at the end. Without a usable file the spool is off, and logs
    that once.

    One thread makes all calls to the file, in order. `refused(record, error)` makes the dead letter of a drained record
    that Kafka refuses. `taken_within`: seconds that Kafka has to take a drained record.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        publish: Publish,
        *,
        refused: Refused,
        metrics: Metrics,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        taken_within: float = _TAKEN_WITHIN,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._publish = publish
        self._refused = refused
        self._metrics = metrics
        self._sleep = sleep
        self._taken_within = taken_within
        self._file: SpoolFile | None = None
        metrics.spool_max_bytes.set(max_bytes)
        self._thread = ThreadPoolExecutor(1, "spool")
        self._drainer: asyncio.Task[None] | None = None
        self._letter: tuple[int, OutRecord] | None = None
        self._empty_at: bytes | None = None  # the file's mark before we last saw it empty
        self._late: asyncio.Future[Any] | None = None  # a call to the file that took too long
        self._full_until = 0.0  # by the loop's clock
        self._taken: int | None = None  # the number of a record that Kafka has taken and that is still in the file

    @property
    def is_on(self) -> bool:
        """Whether there is a file that takes records."""
        return self._file is not None

    @property
    def takes(self) -> bool:
        """Whether it takes records, as far as we know: a full one may have room again after a minute."""
        return self.is_on and asyncio.get_running_loop().time() >= self._full_until

    async def start(self) -> None:
        """Opens the file and drains what an earlier process left there. Never raises if the file cannot be used.

        While a full disk has no room for what SQLite needs, it is tried again: records may wait in the file.
        """
        if self._max_bytes == 0:
            return
        if not self._folder.is_dir():
            log.warning("spool_off", reason=f"there is no folder {self._folder}", effect=_EFFECT)
            return
        if await self._opened() is not False:
            self._drainer = asyncio.create_task(self._drain(), name="spool")

    async def _opened(self) -> bool | None:
        """Whether the file can be used; None for not yet, because the disk is full."""
        try:
            async with asyncio.timeout(_OPENED_WITHIN):
                while not await self._opened_alone():
                    await self._sleep(_OTHERS_OPEN)
        except Full as error:
            log.warning("spool_off", reason=str(error), effect=_EFFECT, next_try_in=_OPENED_AGAIN)
            return None
        except (OSError, sqlite3.Error) as error:  # a TimeoutError is an OSError
            self._say_off(error)
            return False
        return True

    async def _opened_alone(self) -> bool:
        """False when another process opens it, too: SQLite does not always wait for that."""
        try:
            self._file = await self._call(lambda: SpoolFile(self._folder, self._max_bytes))
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
        return self.is_on

    async def stop(self) -> None:
        """Stops draining. Records that wait stay in the file for the next start. A disk that hangs has 2 s."""
        if self._drainer is not None:
            self._drainer.cancel()
            await asyncio.gather(self._drainer, return_exceptions=True)
        file, self._file = self._file, None
        if file is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_DISK_WITHIN):
                    await self._call(file.close)
        self._thread.shutdown(wait=False)

    async def is_empty(self) -> bool:
        """Whether a new record may go to Kafka directly. True when the spool is off."""
        if (file := self._file) is None or (mark := file.mark) == self._empty_at:
            return True
        try:
            is_empty = await self._guarded(file.is_empty)
        except Retryable:
            return True  # the disk is slow or busy: Kafka may still answer
        if is_empty:
            self._empty_at = mark
        return is_empty

    async def add(self, record: OutRecord) -> None:
        """Returns when the record is on the disk. Raises Retryable when the spool is off, full or too slow."""
        if (file := self._file) is None:
            raise Retryable("there is no spool")

        def add() -> None:
            file.add(record)
            self._show(file)

        try:
            await self._guarded(add)
        except Full as error:
            self._full_until = asyncio.get_running_loop().time() + _FULL_FOR
            raise Retryable(f"the spool is full: {error}") from error
        self._full_until = 0.0
        self._metrics.spool_taken.inc()

    async def _drain(self) -> None:
        opened: bool | None = self.is_on or None
        while opened is None:
            await self._sleep(_OPENED_AGAIN)
            opened = await self._opened()
        pause = _FIRST_PAUSE
        while (file := self._file) is not None:
            try:
                went_on = await self._drain_one(file)
            except (ConnectorError, TimeoutError) as error:
                log.warning("spool_waits", reason=str(error) or "Kafka did not answer in time", next_try_in=pause)
                await self._sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            except Exception:  # an error of ours: waiting records must not have to wait for the next start
                log.exception("spool_drain_failed")
                await self._sleep(_LONGEST_PAUSE)
                continue
            pause = _FIRST_PAUSE
            if not went_on:
                await self._sleep(_LOOK)

    async def _drain_one(self, file: SpoolFile) -> bool:
        """Drains one record: this keeps the order, and a kill repeats at most one. False if there is nothing to do."""
        await self._guarded(lambda: self._show(file))
        await self._remove_taken(file)
        try:
            found = await self._guarded(file.first) if await self._guarded(file.may_drain) else None
        except Damaged as error:
            log.warning("spool_record_set_aside", number=error.number, reason=str(error), folder=str(self._folder))
            await self._guarded(partial(file.set_aside, error.number, str(error)))
            return True
        if found is None:
            return False
        number, record = found
        try:
            await self._publish_in_time(record)
        except Rejected as error:
            reason = str(error)
            if not await self._bury(number, record, error):
                await self._guarded(lambda: file.set_aside(number, reason))
                return True
        self._taken = number
        await self._remove_taken(file)
        return True

    async def _remove_taken(self, file: SpoolFile) -> None:
        """A full disk takes no deletion either. The record must not go to Kafka again because of that."""
        if (number := self._taken) is not None:
            await self._guarded(lambda: file.remove(number))
            self._taken, self._full_until = None, 0.0
            self._metrics.spool_drained.inc()

    async def _bury(self, number: int, record: OutRecord, error: Rejected) -> bool:
        """Sends the record's dead letter to Kafka. False if Kafka refuses that too."""
        try:
            if self._letter is None or self._letter[0] != number:  # make it only once, because making it counts it
                self._letter = number, self._refused(record, error)
            await self._publish_in_time(self._letter[1])
        except Rejected as again:
            log.warning("spool_record_set_aside", topic=record.topic, reason=str(again), folder=str(self._folder))
            return False
        return True

    async def _publish_in_time(self, record: OutRecord) -> None:
        async with asyncio.timeout(self._taken_within):
            await self._publish(record)

    def _show(self, file: SpoolFile) -> None:
        total = file.total()
        self._metrics.spooled.set(total.records)
        self._metrics.spool_bytes.set(total.bytes)

    async def _guarded(self, work: Callable[[], T]) -> T:
        """Makes a call to the file. Every error of the file becomes a Retryable; a lasting one turns the spool off.

        While the disk has not answered a late call, no other call is made: they would wait for the thread without end.
        """
        if self._late is not None and not self._late.done():
            raise Retryable("the spool's disk has not answered yet")
        call = self._call(work)
        call.add_done_callback(lambda done: done.cancelled() or done.exception())  # else asyncio logs a late error
        try:
            async with asyncio.timeout(_DISK_WITHIN):
                return await asyncio.shield(call)
        except TimeoutError as error:
            self._late = call
            raise Retryable(f"the spool's disk did not answer within {_DISK_WITHIN:g} s") from error
        except (OSError, sqlite3.Error, ValueError) as error:
            if getattr(error, "sqlite_errorcode", 0) not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL}:
                self._give_up(error)
            raise Retryable(f"the spool cannot be used: {error}") from error

    def _call(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _give_up(self, error: Exception) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._say_off(error)
            self._thread.submit(file.close)  # then another process may drain

    def _say_off(self, error: Exception) -> None:
        log.error(
            "spool_off",
            reason=f"{self._folder / 'spool.db'} cannot be used: {error}",
            effect=_EFFECT,
            advice="repair it or move it away, then restart; its records are not in Kafka yet",
        )


_EFFECT = "while Kafka is away, webhooks are answered with 503"
