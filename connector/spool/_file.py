"""The spool's file: an SQLite database that keeps records in order. `add` commits and syncs each before it returns.

All calls block, and one thread at a time makes them. Several processes may share one file: SQLite keeps their writes
apart, and only the process that holds the lock drains. The file must be on a disk of this machine: SQLite's WAL needs
shared memory, which a network share does not have.
"""

import base64
import errno
import fcntl
import mmap
import os
import secrets
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from connector.kafka.cloud_events import OutRecord

_VERSION = 1  # of the tables; another version belongs to another release, and we do not touch the file
_BUSY_WITHIN = 1.0  # seconds that SQLite waits for another process's write, which takes milliseconds
_MARK = 8  # bytes, at random: two marks are never equal
_OVERHEAD = 100  # bytes that a row takes in addition to its parts
_LEFT_FREE = 16 * 1024 * 1024  # bytes of the disk: to take a record out of a full one, SQLite has to write first
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}  # the latter is for the memory that processes share

_TABLES = """
CREATE TABLE records (
    id INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL, bytes INTEGER NOT NULL, refused TEXT
);
CREATE TABLE total (records INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO total VALUES (0, 0);
CREATE TRIGGER added AFTER INSERT ON records BEGIN
    UPDATE total SET records = records + 1, bytes = bytes + new.bytes;
END;
CREATE TRIGGER removed AFTER DELETE ON records BEGIN
    UPDATE total SET records = records - 1, bytes = bytes - old.bytes;
END;
"""


class Full(Exception):
    """There is no room for this record: `max_bytes` is reached, or the disk is full but for 16 MiB."""


class Damaged(Exception):
    """The record with this number cannot be read any more."""

    def __init__(self, number: int, error: Exception) -> None:
        super().__init__(f"the record {number} cannot be read: {error}")
        self.number = number


@dataclass(frozen=True)
class Total:
    """What the file holds, including the records of other processes."""

    records: int
    bytes: int


class SpoolFile:
    """An open spool. `max_bytes` limits the records in it, those of all processes together.

    Raises:
        Full: The disk has no room for what SQLite needs.
        OSError, sqlite3.Error: The file cannot be opened, is damaged, or belongs to another release.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.path = folder / "spool.db"
        self._max_bytes = max_bytes
        self._lock: IO[bytes] | None = None
        self._lock_path = folder / "spool.lock"
        with _room():
            self._open(folder)

    def _open(self, folder: Path) -> None:
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))  # only our own user may read answers
        with (folder / "spool.mark").open("a+b") as mark:
            if sys.platform == "darwin":  # which has no such call
                mark.truncate(_MARK)
            else:
                os.posix_fallocate(mark.fileno(), 0, _MARK)  # else writing to `_mark` on a full disk ends us: SIGBUS
            self._mark = mmap.mmap(mark.fileno(), _MARK)
        self._db = sqlite3.connect(self.path, timeout=_BUSY_WITHIN, isolation_level=None, check_same_thread=False)
        try:
            self._set_up()
        except BaseException:
            self._db.close()
            raise

    def _set_up(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # a commit reaches the disk, not only the kernel
        (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(f"it is damaged: {found}")
        self._db.execute("BEGIN IMMEDIATE")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _statements(_TABLES):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
        self._db.execute("COMMIT")
        if version not in {0, _VERSION}:
            raise sqlite3.DatabaseError(f"its version is {version}, and this release knows {_VERSION}")

    @property
    def mark(self) -> bytes:
        """Changes with each record that any process adds, before its `add` returns. This alone does not block.

        A file that was empty after the mark was read is empty as long as the mark is the same.
        """
        return self._mark[:]

    def add(self, record: OutRecord) -> None:
        """Returns once the record is on the disk. Raises Full."""
        disk = os.statvfs(self.path)
        if disk.f_bavail * disk.f_frsize < _LEFT_FREE:
            raise Full("the disk is full")
        row = _to_row(record)
        size = len(row) + _OVERHEAD
        with _room(), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            if self.total().bytes + size > self._max_bytes:
                raise Full(f"it holds {self._max_bytes} bytes at most")
            self._db.execute("INSERT INTO records (record, bytes) VALUES (?, ?)", (row, size))
        self._mark[:] = secrets.token_bytes(_MARK)

    def first(self) -> tuple[int, OutRecord] | None:
        """The oldest record that was not set aside, with its number. Raises Damaged."""
        found = self._db.execute("SELECT id, record FROM records WHERE refused IS NULL ORDER BY id LIMIT 1").fetchone()
        try:
            return None if found is None else (found[0], _from_row(found[1]))
        except (ValueError, TypeError) as error:
            raise Damaged(found[0], error) from error

    def remove(self, number: int) -> None:
        """Deletes a record that is now in Kafka."""
        self._db.execute("DELETE FROM records WHERE id = ?", (number,))

    def set_aside(self, number: int, reason: str) -> None:
        """Keeps a record in the file for a person: Kafka takes it on no topic, or it is damaged. Later ones go on."""
        self._db.execute("UPDATE records SET refused = ? WHERE id = ?", (reason, number))

    def is_empty(self) -> bool:
        return self._db.execute("SELECT 1 FROM records WHERE refused IS NULL LIMIT 1").fetchone() is None

    def total(self) -> Total:
        return Total(*self._db.execute("SELECT records, bytes FROM total").fetchone())

    def may_drain(self) -> bool:
        """Whether this process drains the file. Once it does, it keeps that right until it ends, in whatever way."""
        if self._lock is None:
            lock = self._lock_path.open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
            else:
                self._lock = lock
        return self._lock is not None

    def close(self) -> None:
        self._db.close()
        self._mark.close()
        if self._lock is not None:
            self._lock.close()


@contextmanager
def _room() -> Iterator[None]:
    """Turns the errors of a full disk into Full."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        is_full = getattr(error, "sqlite_errorcode", None) in _NO_ROOM or getattr(error, "errno", None) == errno.ENOSPC
        if is_full:
            raise Full("the disk is full") from error
        raise


def _statements(script: str) -> list[str]:
    """The statements one by one, because `executescript` would commit the open transaction."""
    found, rest = [], ""
    for line in script.splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            found.append(rest)
            rest = ""
    return found


def _to_row(record: OutRecord) -> bytes:
    headers = [(name, _text(value)) for name, value in record.headers]
    return orjson.dumps([record.topic, _text(record.key), _text(record.value), headers, record.partition])


def _from_row(row: bytes) -> OutRecord:
    topic, key, value, headers, partition = orjson.loads(row)
    return OutRecord(
        topic, _bytes(key), _bytes(value), [(name, _bytes(text) or b"") for name, text in headers], partition
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
