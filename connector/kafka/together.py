"""Writes what several callers give in the same moment in one transaction: one takes 10 to 30 ms whatever it holds."""

import asyncio
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer

from connector.errors import Retryable
from connector.kafka.cloud_events import OutRecord
from connector.kafka.connection import transaction

_AT_ONCE = 500  # records of one transaction

Note = Callable[[Sequence[int]], None]


class _Job:
    """What one caller wants to be written."""

    def __init__(self, records: Sequence[OutRecord], note: Note) -> None:
        self.records = records
        self.note = note
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """Raises `error` in the caller, unless the records are written."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # read here, because the caller may have been cancelled


class Together:
    """The transactions of one producer, one after the other."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._jobs: list[_Job] = []
        self._writing: asyncio.Task[None] | None = None
        self._lost: Exception | None = None

    async def write(self, records: Sequence[OutRecord], note: Note) -> None:
        """Returns when all of the records are written, after a call of `note` with their offsets.

        If the caller is cancelled before the transaction began, they are not written.

        Raises:
            Fenced, Retryable: As `transaction` says; from then on every call fails. The records may be there or not.
        """
        job = _Job(records, note)
        self._jobs.append(job)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        try:
            await asyncio.shield(job.done)
        except asyncio.CancelledError:
            if job in self._jobs:
                self._jobs.remove(job)
            raise

    async def end(self) -> None:
        """Gives up what is not written yet."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _write_all(self) -> None:
        jobs: list[_Job] = []
        try:
            while self._jobs:
                jobs = self._next_jobs()
                if self._lost is None:
                    await self._write(jobs)
                else:  # after a failed or cancelled transaction the producer takes no other
                    _fail(jobs, self._lost)
        finally:
            self._writing = None
            _fail([*jobs, *self._jobs], Retryable("its producer is closed"))  # when this task was cancelled

    def _next_jobs(self) -> list[_Job]:
        jobs, records = [self._jobs.pop(0)], 0
        while self._jobs and records + len(self._jobs[0].records) <= _AT_ONCE:
            records += len(self._jobs[0].records)
            jobs.append(self._jobs.pop(0))
        return jobs

    async def _write(self, jobs: Sequence[_Job]) -> None:
        self._lost = Retryable("an earlier transaction was given up")
        try:
            offsets = await transaction(self._producer, [record for job in jobs for record in job.records])
        except Exception as error:  # noqa: BLE001 - each caller raises it
            self._lost = Retryable(f"an earlier transaction failed: {error}")
            _fail(jobs, error)
            return
        self._lost = None
        for job in jobs:
            job.note(offsets[: len(job.records)])
            offsets = offsets[len(job.records) :]
            job.done.set_result(None)


def _fail(jobs: Sequence[_Job], error: Exception) -> None:
    for job in jobs:
        job.fail(error)
