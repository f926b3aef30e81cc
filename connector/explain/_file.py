"""The SQLite file of an index: made, opened, and recognised as one of this version and configuration."""

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connector.config import Config, Phones
from connector.errors import ConnectorError, Fatal
from connector.protection import Hashes

_VERSION = 3  # raise it when facts, tokens or tables change: the file is then built again
_BUSY = 10.0  # seconds to wait for a lock that another process holds; a transaction takes milliseconds
_CACHE = 65_536  # KiB; tokens are spread over the whole file
_WAL_PAGES = 16_384  # 64 MiB between two checkpoints: the tokens of many transactions are on the same pages
_NO_INDEX = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_TABLES = """
CREATE TABLE made (salt TEXT NOT NULL, fingerprint TEXT NOT NULL, is_whole INTEGER NOT NULL);
CREATE TABLE place (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    position INTEGER NOT NULL, facts INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, partition)
);
CREATE TABLE fact (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE token (
    token INTEGER NOT NULL, at INTEGER NOT NULL, fact INTEGER NOT NULL, PRIMARY KEY (token, at, fact)
) WITHOUT ROWID;
CREATE TABLE unsorted (token INTEGER NOT NULL, at INTEGER NOT NULL, fact INTEGER NOT NULL);
"""


class NotThisIndex(ConnectorError):
    """The file was made by another version or for another configuration."""


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turns SQLite's errors into ours."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if getattr(error, "sqlite_errorcode", None) in _NO_INDEX:
            raise NotThisIndex(f"{name} is damaged, or no index") from error
        raise Fatal(f"the index {name} cannot be used: {error}. Check the disk and the rights of the file.") from error


def to_write(path: Path, config: Config) -> sqlite3.Connection:
    """Opens the file. A file of another version or configuration is replaced by an empty one."""
    if not path.parent.is_dir():
        raise Fatal(f"there is no folder {path.parent} for the index. Create it, or change service.index.")
    with translated(str(path)):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    try:
        return _to_write(path, config)
    except NotThisIndex:
        for suffix in ("-wal", "-shm", ""):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        return to_write(path, config)


def to_read(path: Path, config: Config) -> sqlite3.Connection:
    """Opens a file that another process may be writing to. Raises NotThisIndex, also while it is being built."""
    with translated(str(path)):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY)
        connection = _checked(connection, path, config)
        if is_whole(connection):
            return connection
        connection.close()
    raise NotThisIndex(f"{path} is being built")


def temporary(config: Config) -> sqlite3.Connection:
    """A database that nobody else sees. SQLite keeps it in memory while it is small, and on the disk beyond."""
    connection = sqlite3.connect("")
    for pragma in ("journal_mode = OFF", f"cache_size = -{_CACHE}"):
        connection.execute(f"PRAGMA {pragma}")
    _make(connection, config)
    return connection


def is_whole(connection: sqlite3.Connection) -> bool:
    """Whether the index has read all topics once, so that its tokens are sorted."""
    ((found,),) = connection.execute("SELECT is_whole FROM made")
    return bool(found)


def hashes(connection: sqlite3.Connection, config: Config) -> Hashes:
    """Hides persons, with `protect.hash_key` and a key of the file's own."""
    ((salt,),) = connection.execute("SELECT salt FROM made")
    return _hashes(config, salt)


def _to_write(path: Path, config: Config) -> sqlite3.Connection:
    with translated(str(path)):
        connection = sqlite3.connect(path, timeout=_BUSY, check_same_thread=False)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", f"cache_size = -{_CACHE}"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
            if version == 0 and tables == (0,):
                _make(connection, config)
        except BaseException:
            connection.close()
            raise
        return _checked(connection, path, config)


def _checked(connection: sqlite3.Connection, path: Path, config: Config) -> sqlite3.Connection:
    try:
        same = _is_same(connection, config)
    except BaseException:
        connection.close()
        raise
    if same:
        return connection
    connection.close()
    raise NotThisIndex(f"{path} was made by another version or for another configuration")


def _is_same(connection: sqlite3.Connection, config: Config) -> bool:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != _VERSION:
        return False
    salt, fingerprint = connection.execute("SELECT salt, fingerprint FROM made").fetchone()
    return bool(fingerprint == _fingerprint(config, salt))


def _make(connection: sqlite3.Connection, config: Config) -> None:
    salt = secrets.token_hex(32)
    connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION};")
    connection.execute("INSERT INTO made VALUES (?, ?, 0)", (salt, _fingerprint(config, salt)))
    connection.commit()


def _hashes(config: Config, salt: str) -> Hashes:
    secret = config.protect.hash_key
    return Hashes(salt + (secret.get_secret_value() if secret else ""))


def _fingerprint(config: Config, salt: str) -> str:
    """Changes with all that decides what a record's fact and tokens are."""
    phones = sorted((name, account.phones) for name, account in config.pisano.items() if account.phones != Phones())
    settings = (_VERSION, config.kafka.topic_prefix, config.salesforce.client_name, config.protect.answered_by, phones)
    return _hashes(config, salt).of(repr(settings))
