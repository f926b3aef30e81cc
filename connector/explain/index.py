"""Keeps facts in SQLite and finds them by their ids.

A fact is found by a token: the first 64 bits of a hash of the fact's kind, the id's kind and the id. Facts and the
position up to which a partition was read are stored in one transaction, so each record is there once.

Tokens come in no order. To sort each into a large table at once would write a page of 4 KiB for it, 30 KB for a record.
So a new index first only collects them, and sorts them when it has read all topics.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Self

import orjson

from connector.config import Config
from connector.explain import _file
from connector.explain._file import NotThisIndex
from connector.explain.fact import Fact, Kind
from connector.explain.facts import Facts

_OFFSET_BITS = 40  # of a fact's number; no partition has a million million records
_FORGET = 1_000  # facts that are deleted in one transaction
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -(2**63), 2**63 - 1

__all__ = ["Index", "NotThisIndex", "Partition", "Searched"]

Partition = tuple[str, int]  # a topic and a partition


class Searched(NamedTuple):
    """How many facts an index holds, and the times of the first and the last."""

    facts: int
    first: datetime | None
    last: datetime | None


class Index:
    """Make one with `create`, `open` or `temporary`, and `close` it. One thread at a time may use it.

    `facts` makes the facts that belong in it.

    Raises:
        Fatal: From every method, when the file cannot be used.
    """

    def __init__(self, connection: sqlite3.Connection, config: Config, name: str) -> None:
        self._connection = connection
        self._name = name
        with self._translated():
            self.facts = Facts(config, _file.hashes(connection, config))
            places = connection.execute("SELECT topic, partition, id FROM place")
            self.is_whole = _file.is_whole(connection)
            self._places: dict[Partition, int] = {(topic, partition): id_ for topic, partition, id_ in places}

    @classmethod
    def create(cls, path: Path, config: Config) -> Self:
        """Opens the file to write to it. A file of another version or configuration is replaced by an empty one."""
        return cls(_file.to_write(path, config), config, str(path))

    @classmethod
    def open(cls, path: Path, config: Config) -> Self:
        """Opens a file that another process may be writing to, only to read it.

        Raises:
            NotThisIndex: It is still being built, or was made by another version or for another configuration.
        """
        return cls(_file.to_read(path, config), config, str(path))

    @classmethod
    def temporary(cls, config: Config) -> Self:
        """An empty index that nobody else sees."""
        return cls(_file.temporary(config), config, "the temporary index")

    def close(self) -> None:
        """Closes the file."""
        with self._translated():
            self._connection.close()

    def positions(self) -> dict[Partition, int]:
        """Up to which offset each partition was read."""
        with self._translated():
            rows = self._connection.execute("SELECT topic, partition, position FROM place")
            return {(topic, partition): position for topic, partition, position in rows}

    def searched(self) -> Searched:
        """What there is to search in."""
        with self._translated():
            (count,) = self._connection.execute("SELECT coalesce(sum(facts), 0) FROM place").fetchone()
            times = [time for place in self._places.values() for time in self._ends_of(place)]
        return Searched(count, _time(min(times)) if times else None, _time(max(times)) if times else None)

    def add(self, facts: Iterable[Fact], positions: Mapping[Partition, int]) -> None:
        """Stores facts, and the positions after them, or nothing. A fact that is there already stays as it is."""
        by_place: defaultdict[Partition, list[Fact]] = defaultdict(list)
        for fact in facts:
            by_place[fact.topic, fact.partition].append(fact)
        with self._translated(), self._connection as connection:
            for partition in (*by_place, *positions):
                self._require_place(partition)
            for partition, its in by_place.items():
                rows = [(self._number(fact), _micros(fact.at), _data(fact)) for fact in its]
                added = connection.executemany("INSERT OR IGNORE INTO fact VALUES (?, ?, ?)", rows).rowcount
                connection.execute("UPDATE place SET facts = facts + ? WHERE id = ?", (added, self._places[partition]))
            tokens = [row for its in by_place.values() for fact in its for row in self._tokens(fact)]
            table = "token" if self.is_whole else "unsorted"
            connection.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?)", tokens)  # noqa: S608 - ours
            reached = [(position, self._places[partition]) for partition, position in positions.items()]
            connection.executemany("UPDATE place SET position = ? WHERE id = ?", reached)

    def sort(self) -> None:
        """Makes a new index whole: from now on its facts are found. A minute for a million invitations."""
        with self._translated(), self._connection as connection:
            connection.execute("INSERT OR IGNORE INTO token SELECT * FROM unsorted ORDER BY token, at, fact")
            connection.execute("DELETE FROM unsorted")
            connection.execute("UPDATE made SET is_whole = 1")
        self.is_whole = True

    def interrupt(self) -> None:
        """Ends what another thread is doing here: it gets the error Fatal, and has done nothing."""
        self._connection.interrupt()

    def forget(self, partition: Partition, before: int) -> None:
        """Deletes the facts of a partition whose offsets are below `before`: Kafka has deleted their records."""
        if (place := self._places.get(partition)) is None:
            return
        low = place << _OFFSET_BITS
        while True:
            with self._translated(), self._connection as connection:
                found = self._read("WHERE number >= ? AND number < ? LIMIT ?", (low, low + before, _FORGET))
                if not found:
                    return
                tokens = [row for fact in found for row in self._tokens(fact)] if self.is_whole else []
                connection.executemany("DELETE FROM token WHERE token = ? AND at = ? AND fact = ?", tokens)
                connection.executemany("DELETE FROM fact WHERE number = ?", [(self._number(fact),) for fact in found])
                connection.execute("UPDATE place SET facts = facts - ? WHERE id = ?", (len(found), place))

    def find(
        self,
        kind: Kind,
        id_kind: str,
        id_: str,
        *,
        most: int,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[Fact]:
        """Facts of a kind that have this id, the newest first, `most` of them at most."""
        low, high = _FIRST if since is None else _micros(since), _LAST if until is None else _micros(until)
        numbers = "SELECT fact FROM token WHERE token = ? AND at BETWEEN ? AND ? ORDER BY at DESC LIMIT ?"
        with self._translated():
            found = self._read(f"WHERE number IN ({numbers})", (_token(kind, id_kind, id_), low, high, most))
        found = [fact for fact in found if id_ in fact.ids.get(id_kind, ())]  # two hashes of 64 bits may be equal
        return sorted(found, key=lambda fact: fact.order, reverse=True)

    def _read(self, where: str, values: tuple[int, ...]) -> list[Fact]:
        # The join, not `_places`: another process may have added the partition since the file was opened.
        columns = "SELECT topic, partition, number, at, data FROM fact JOIN place"
        rows = self._connection.execute(f"{columns} ON id = number >> {_OFFSET_BITS} {where}", values).fetchall()
        return [_fact((topic, partition), number, at, data) for topic, partition, number, at, data in rows]

    def _tokens(self, fact: Fact) -> Iterator[tuple[int, int, int]]:
        number, at = self._number(fact), _micros(fact.at)
        for id_kind, ids in fact.ids.items():
            for id_ in ids:
                yield _token(fact.kind, id_kind, id_), at, number

    def _number(self, fact: Fact) -> int:
        return (self._places[fact.topic, fact.partition] << _OFFSET_BITS) + fact.offset

    def _require_place(self, partition: Partition) -> None:
        if partition not in self._places:
            made = self._connection.execute(
                "INSERT INTO place (topic, partition, position) VALUES (?, ?, 0)", partition
            )
            self._places[partition] = made.lastrowid or 0

    def _ends_of(self, place: int) -> Iterator[int]:
        """The times of the first and the last fact of a place."""
        bounds = place << _OFFSET_BITS, (place + 1) << _OFFSET_BITS
        for direction in ("ASC", "DESC"):
            where = f"WHERE number >= ? AND number < ? ORDER BY number {direction} LIMIT 1"
            for (at,) in self._connection.execute(f"SELECT at FROM fact {where}", bounds):  # noqa: S608 - ours
                yield at

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with _file.translated(self._name):
            yield


def _token(kind: Kind, id_kind: str, id_: str) -> int:
    digest = blake2b(f"{kind}\0{id_kind}\0{id_}".encode(errors="surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), signed=True)


def _data(fact: Fact) -> bytes:
    return orjson.dumps([fact.kind, fact.code, fact.ids, fact.details])


def _fact(partition: Partition, number: int, at: int, data: bytes) -> Fact:
    kind, code, ids, details = orjson.loads(data)
    offset = number & ((1 << _OFFSET_BITS) - 1)
    return Fact(
        Kind(kind), *partition, offset, _time(at), code, {name: tuple(its) for name, its in ids.items()}, details
    )


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _time(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
