"""The spool without Kafka: keeps order, has a size limit, is shared by processes, turns off instead of crashing."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
from helpers.waiting import until

from connector.errors import Fatal, Rejected, Retryable
from connector.kafka.cloud_events import OutRecord
from connector.observe.metrics import Metrics
from connector.spool import Spool, _file, _spool
from connector.spool._file import SpoolFile
from connector.stages.receive import Receive

MANY = 1 << 20  # bytes


def record(number: int, size: int = 1) -> OutRecord:
    return OutRecord("pisano.feedback", b"key", b"%d" % number * size, [("ce_id", b"\xff%d" % number)], None)


class Kafka:
    """Takes records while `error` is None; does not answer while `answers` is false."""

    def __init__(self) -> None:
        self.taken: list[OutRecord] = []
        self.error: Exception | None = Retryable("away")
        self.refuses: set[OutRecord | bytes | None] = set()
        self.answers = True
        self.tries = 0

    async def publish(self, record: OutRecord) -> None:
        self.tries += 1
        if not self.answers:
            await asyncio.Event().wait()
        if self.error:
            raise self.error
        if record.value in self.refuses:
            raise Rejected("too large")
        self.taken.append(record)


def spool(folder: Path, kafka: Kafka, pauses: list[float] | None = None, **options: Any) -> Spool:
    async def sleep(seconds: float) -> None:
        if pauses is not None:
            pauses.append(seconds)
        await asyncio.sleep(0.01)

    def refused(record: OutRecord, _: Rejected) -> OutRecord:
        return OutRecord("deadletters", None, b"letter:" + (record.value or b""), [])

    options = {"max_bytes": MANY, "metrics": Metrics(), **options}
    return Spool(folder, publish=kafka.publish, refused=refused, sleep=sleep, **options)


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


async def test_what_waits_goes_to_kafka_in_its_order_as_it_was_and_pauses_grow_meanwhile(
    tmp_path: Path, kafka: Kafka
) -> None:
    pauses: list[float] = []
    metrics = Metrics()
    waiting = spool(tmp_path, kafka, pauses, metrics=metrics)
    await waiting.start()
    for number in range(20):
        await waiting.add(record(number))
    assert metrics.registry.get_sample_value("connector_spooled") == 20
    kafka.error = Fatal("no rights")  # a person must fix it, and the spool waits for that too
    await until(lambda: 15.0 in pauses)
    growing = [pause for pause in pauses[pauses.index(2.0) :] if pause > 1]
    assert growing[:3] == [2.0, 4.0, 8.0]
    assert max(growing) == 15.0
    kafka.error = None
    await until(lambda: len(kafka.taken) == 20)
    assert kafka.taken == [record(number) for number in range(20)]
    await until(lambda: metrics.registry.get_sample_value("connector_spool_bytes") == 0)
    assert await waiting.is_empty()
    await waiting.stop()


async def test_a_kafka_that_connects_and_never_answers_does_not_hold_the_drainer_for_ever(
    tmp_path: Path, kafka: Kafka
) -> None:
    kafka.answers = False
    waiting = spool(tmp_path, kafka, taken_within=0.05)
    await waiting.start()
    await waiting.add(record(1))
    await until(lambda: kafka.tries > 2)
    kafka.answers, kafka.error = True, None
    await until(lambda: kafka.taken == [record(1)])
    await waiting.stop()


async def test_the_next_start_drains_what_an_earlier_one_left(tmp_path: Path, kafka: Kafka) -> None:
    file = SpoolFile(tmp_path, MANY)
    for number in range(3):
        file.add(record(number))
    file.close()
    kafka.error = None
    waiting = spool(tmp_path, kafka)
    await waiting.start()
    await until(lambda: len(kafka.taken) == 3)
    assert kafka.taken == [record(number) for number in range(3)]
    await waiting.stop()
    assert oct((tmp_path / "spool.db").stat().st_mode)[-3:] == "600"


async def test_of_two_on_one_folder_one_drains_and_the_other_takes_over(tmp_path: Path, kafka: Kafka) -> None:
    other_kafka = Kafka()
    one, other = spool(tmp_path, kafka), spool(tmp_path, other_kafka)
    await one.start()
    await until((tmp_path / "spool.lock").exists)
    await other.start()
    other_kafka.error = None
    assert await one.is_empty()  # and it remembers that until anybody adds a record
    await other.add(record(1))
    assert not await one.is_empty()
    await until(lambda: kafka.tries > 1)
    assert other_kafka.tries == 0
    await one.stop()
    await until(lambda: other_kafka.taken == [record(1)])
    await other.stop()


async def test_a_full_spool_refuses_and_takes_again_when_there_is_room(tmp_path: Path, kafka: Kafka) -> None:
    waiting = spool(tmp_path, kafka, max_bytes=2_000)
    await waiting.start()
    await waiting.add(record(1, 500))
    with pytest.raises(Retryable, match="full"):
        await waiting.add(record(2, 1500))
    kafka.error = None
    await until(waiting.is_empty)
    await waiting.add(record(3, 500))
    await waiting.stop()


async def test_a_full_disk_refuses_and_does_not_end_the_spool(tmp_path: Path, kafka: Kafka) -> None:
    waiting = spool(tmp_path, kafka)
    await waiting.start()
    await waiting.add(record(1))
    file = waiting._file
    assert file is not None

    def pages(most: int) -> Callable[[], object]:
        return lambda: file._db.execute(f"PRAGMA max_page_count = {most}").fetchone()

    loop = asyncio.get_running_loop()
    await loop.run_in_executor(waiting._thread, pages(1))  # SQLite then fails as on a full disk
    with pytest.raises(Retryable, match="the disk is full"):
        await waiting.add(record(2, 100_000))
    await loop.run_in_executor(waiting._thread, pages(10_000))
    await waiting.add(record(3))
    kafka.error = None
    await until(lambda: kafka.taken == [record(1), record(3)])
    await waiting.stop()


async def test_the_spool_leaves_room_on_its_disk_to_take_records_out_again(
    tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spool that had filled its disk could delete nothing, so it never drained, not even after a restart."""
    waiting, disk = spool(tmp_path, kafka), os.statvfs(tmp_path)
    await waiting.start()
    await waiting.add(record(1))
    nearly_full = os.statvfs_result((*disk[:4], 15 * 1024 * 1024 // disk.f_frsize, *disk[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _: nearly_full)
    with pytest.raises(Retryable, match="the disk is full"):
        await waiting.add(record(2))
    kafka.error = None
    await until(lambda: kafka.taken == [record(1)])
    await waiting.stop()


async def test_what_is_too_large_for_kafka_is_refused_at_once_and_never_kept(tmp_path: Path, kafka: Kafka) -> None:
    kafka.error = Rejected("too large")
    metrics = Metrics()
    waiting = spool(tmp_path, kafka, metrics=metrics)
    await waiting.start()
    receive = Receive({}, kafka.publish, "t", dead_letter=lambda *_: record(0), metrics=metrics, spool=waiting)
    with pytest.raises(Rejected):
        await receive._publish_or_spool(record(1))
    assert await waiting.is_empty()
    assert metrics.registry.get_sample_value("connector_spool_taken_total") == 0
    await waiting.stop()


async def test_what_kafka_refuses_becomes_a_dead_letter_and_those_behind_go_on(tmp_path: Path, kafka: Kafka) -> None:
    """If Kafka refuses the dead letter too, the record stays in the file for a person."""
    metrics = Metrics()
    waiting = spool(tmp_path, kafka, metrics=metrics)
    await waiting.start()
    for number in (1, 2, 3):
        await waiting.add(record(number))
    kafka.refuses = {b"1", b"2", b"letter:2"}
    kafka.error = None
    await until(waiting.is_empty)
    assert [taken.value for taken in kafka.taken] == [b"letter:1", b"3"]
    await until(lambda: metrics.registry.get_sample_value("connector_spooled") == 1)
    await waiting.stop()


async def test_what_kafka_has_taken_goes_there_once_though_a_full_disk_cannot_delete_it(
    tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, tries = spool(tmp_path, kafka), 0
    await waiting.start()
    await waiting.add(record(1))
    assert waiting._file is not None
    remove = waiting._file.remove

    def fails(number: int) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        remove(number)

    monkeypatch.setattr(waiting._file, "remove", fails)
    kafka.error = None
    await until(waiting.is_empty)
    assert kafka.taken == [record(1)]
    await waiting.stop()


async def test_a_spool_without_room_does_not_refuse_what_kafka_takes(tmp_path: Path, kafka: Kafka) -> None:
    waiting, healthy, metrics = spool(tmp_path, kafka, max_bytes=1_000), Kafka(), Metrics()
    await waiting.start()
    await waiting.add(record(1, 400))
    receive = Receive({}, healthy.publish, "t", dead_letter=lambda *_: record(0), metrics=metrics, spool=waiting)
    with pytest.raises(Retryable, match=r"the spool is full: .*; away"):
        await receive._publish_or_spool(record(2, 400))
    healthy.error = None
    await receive._publish_or_spool(record(3, 400))
    assert healthy.taken == [record(3, 400)]
    await waiting.stop()


async def test_calls_to_a_disk_that_does_not_answer_do_not_pile_up(
    tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    waiting = spool(tmp_path, kafka)
    await waiting.start()
    monkeypatch.setattr(_spool, "_DISK_WITHIN", 0.05)
    waiting._thread.submit(answers.wait)
    assert await waiting.is_empty()  # not known, but Kafka may take the record
    calls = waiting._thread._work_queue.qsize()
    for number in range(20):
        with pytest.raises(Retryable, match="has not answered yet"):
            await waiting.add(record(number))
    assert waiting._thread._work_queue.qsize() <= calls
    answers.set()
    monkeypatch.undo()
    kafka.error = None

    async def takes_again() -> bool:
        with suppress(Retryable):
            await waiting.add(record(1))
        return bool(kafka.taken)

    await until(takes_again)
    await waiting.stop()


async def test_a_disk_that_hangs_does_not_hold_up_the_start(
    tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(_spool, "SpoolFile", lambda *_: answers.wait())
    monkeypatch.setattr(_spool, "_OPENED_WITHIN", 0.05)
    waiting = spool(tmp_path, kafka)
    await waiting.start()
    assert not waiting.is_on
    answers.set()
    await waiting.stop()


@pytest.mark.parametrize("garbage", [b"\xff\x00", b"7", b'["pisano.feedback"]', b'["t", 1, 2, [], null]'])
async def test_a_record_that_cannot_be_read_is_set_aside_and_those_behind_go_on(
    tmp_path: Path, kafka: Kafka, garbage: bytes
) -> None:
    """It turned the spool off, or held up all behind it, at every start again."""
    file = SpoolFile(tmp_path, MANY)
    for number in (1, 2, 3):
        file.add(record(number))
    file._db.execute("UPDATE records SET record = ? WHERE id = 2", (garbage,))
    file.close()
    kafka.error = None
    waiting = spool(tmp_path, kafka)
    with structlog.testing.capture_logs() as logged:
        await waiting.start()
        await until(lambda: kafka.taken == [record(1), record(3)])
    assert [line["number"] for line in logged if line["event"] == "spool_record_set_aside"] == [2]
    await waiting.stop()


async def test_a_file_that_another_process_opens_at_the_same_moment_is_opened_a_moment_later(
    tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several processes on a new folder, one could run without a spool from then on."""
    monkeypatch.setattr(_file, "_BUSY_WITHIN", 0.01)
    other = sqlite3.connect(tmp_path / "spool.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    asyncio.get_running_loop().call_later(0.2, other.close)
    waiting = spool(tmp_path, kafka)
    await waiting.start()
    assert waiting.is_on
    await waiting.stop()


async def test_what_waits_in_a_file_is_drained_when_a_full_disk_has_room_again(
    tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start SQLite needs room for the memory that processes share, and has an error of its own for that."""
    file, connect, is_full, pauses = SpoolFile(tmp_path, MANY), sqlite3.connect, True, list[float]()
    file.add(record(1))
    file.close()
    kafka.error = None

    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
        if not is_full:
            return connect(*arguments, **options)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
        raise error

    monkeypatch.setattr(_file.sqlite3, "connect", connected)
    waiting = spool(tmp_path, kafka, pauses)
    with structlog.testing.capture_logs() as logged:
        await waiting.start()
        await until(lambda: len(pauses) > 1)
        assert await waiting.is_empty()  # not known, but Kafka may take a record
        is_full = False
        await until(lambda: kafka.taken == [record(1)])
    assert {line["reason"] for line in logged if line["event"] == "spool_off"} == {"the disk is full"}
    await waiting.stop()


def test_the_mark_has_its_place_on_the_disk_before_the_disk_is_full(tmp_path: Path) -> None:
    """To write to memory that has no place on a full disk ends the process, with SIGBUS."""
    SpoolFile(tmp_path, MANY).close()
    assert (tmp_path / "spool.mark").stat().st_blocks > 0


async def test_a_disk_that_hangs_does_not_hold_up_the_end(
    tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After SIGTERM the process never ended."""
    answers = threading.Event()
    waiting = spool(tmp_path, kafka)
    await waiting.start()
    monkeypatch.setattr(_spool, "_DISK_WITHIN", 0.05)
    waiting._thread.submit(answers.wait)
    try:
        async with asyncio.timeout(20):
            await waiting.stop()
    finally:
        answers.set()


def _nonsense(folder: Path) -> None:
    (folder / "spool.db").write_bytes(b"this is no database" * 1000)


def _a_folder(folder: Path) -> None:
    (folder / "spool.db").mkdir()


def _newer(folder: Path) -> None:
    file = SpoolFile(folder, MANY)
    file._db.execute("PRAGMA user_version = 99")
    file.close()


def _gone(folder: Path) -> None:
    folder.rmdir()


@pytest.mark.parametrize("spoil", [_nonsense, _a_folder, _newer, _gone])
async def test_a_file_that_cannot_be_used_is_one_line_and_no_crash(
    spoil: Callable[[Path], None], tmp_path: Path, kafka: Kafka
) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    spoil(folder)
    waiting = spool(folder, kafka)
    with structlog.testing.capture_logs() as logged:
        await waiting.start()
        assert await waiting.is_empty()
        with pytest.raises(Retryable):
            await waiting.add(record(1))
    assert [line["event"] for line in logged] == ["spool_off"]
    await waiting.stop()


async def test_a_file_that_breaks_later_ends_the_spool_and_not_the_service(tmp_path: Path, kafka: Kafka) -> None:
    waiting = spool(tmp_path, kafka)
    await waiting.start()
    await waiting.add(record(1))
    assert waiting._file is not None
    await asyncio.get_running_loop().run_in_executor(waiting._thread, waiting._file._db.close)
    with structlog.testing.capture_logs() as logged:
        with pytest.raises(Retryable):
            await waiting.add(record(2))
        assert await waiting.is_empty()
    assert [line["event"] for line in logged if line["log_level"] == "error"] == ["spool_off"]
    await waiting.stop()
