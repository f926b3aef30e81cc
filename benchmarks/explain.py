"""Measures how fast the trace index is built, how large it gets, and how long a question to it takes.

The index holds 1,000,000 invitations (with --quick 5,000), each with its change event and outcome. Ten share a call,
and every fifth is answered, which makes two writes and a change event of our own: 4 records an invitation. The records
go through the code of the stage `index`, a thousand at once, without Kafka. Each question opens the file anew, as
`connector explain` does, and is about a customer who answered: by address, record, invitation, attempt, feedback or
trace.

In the same run, the floor: bare SQLite takes as many rows of the same sizes in as many transactions, makes an index of
them at the end, and selects one row by its primary key.
"""

import random
import re
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import _command
from helpers.config_files import MINIMAL, read
from helpers.made_up_topics import START, MadeUpTopics, case_id
from rich.table import Table

from connector.config import Config
from connector.explain import Index, tell, wanted
from connector.kafka.inbound import InRecord
from connector.records import digest

LOADS = {"quick": 5_000, "full": 1_000_000}
PER_CALL = 10  # invitations
ANSWERED = 5  # one invitation of so many
AT_ONCE = 1_000  # records of a transaction
QUESTIONS = 120  # of each kind
TARGET = 1.0  # seconds for a question
KINDS = ("address", "record", "invitation", "attempt", "feedback", "trace")


class Customers:
    """Makes the records of one call's customers, and the same with other ids: that is quicker than from models."""

    def __init__(self, config: Config) -> None:
        topics, invitations = MadeUpTopics(config), dict[str, str]()
        self._records: list[InRecord] = []
        emails = [f"customer-{number}@acme.com" for number in range(PER_CALL)]
        for number, email in enumerate(emails):
            self._records.append(topics.change(case_id(number), START))
            id_, record = topics.invitation(self._records[-1], case_id(number), email, START)
            self._records.append(record)
            invitations[id_] = case_id(number)
        self._records += topics.call(digest("call"), invitations, START)
        for number in range(0, PER_CALL, ANSWERED):
            self._records += topics.answer(case_id(number), emails[number], START)
        with closing(Index.temporary(config)) as index:
            facts = [fact for record in self._records if (fact := index.facts.of(record))]
        ids = {
            id_ for fact in facts for kind, its in fact.ids.items() for id_ in its if kind not in {"person", "event"}
        }
        self._id = re.compile("|".join(map(re.escape, {*ids, *emails})).encode())
        self._first = {kind: next(fact.ids[kind][0] for fact in facts if kind in fact.ids) for kind in KINDS[1:]}
        self._first["address"] = emails[0]
        self._lengths = {record.topic: 1 + record.offset for record in self._records}

    def records(self) -> Iterator[InRecord]:
        """The records of one call's customers after the other, for ever."""
        for call in count():
            for record in self._records:
                headers = tuple((name, self._with_others(value, call)) for name, value in record.headers)
                key, value = (self._with_others(part or b"", call) for part in (record.key, record.value))
                offset = record.offset + call * self._lengths[record.topic]
                yield replace(record, offset=offset, key=key, value=value, headers=headers)

    def question(self, kind: str, call: int) -> str:
        """What names the first customer of a call."""
        return self._with_others(self._first[kind].encode(), call).decode()

    def _with_others(self, text: bytes, call: int) -> bytes:
        return self._id.sub(lambda found: _other(found[0], call), text)


def _other(id_: bytes, call: int) -> bytes:
    if b"@" in id_:
        return b"%d.%b" % (call, id_)
    if len(id_) == 15:  # a record
        return id_[:5] + b"%010d" % (int(id_[5:]) + call * PER_CALL)
    return digest(id_.decode(), str(call)).encode()


def build(file: Path, config: Config, customers: Customers, invitations: int) -> dict[str, float]:
    """Builds the index. The time does not count the making of the records."""
    calls, seconds, made = invitations // PER_CALL, 0.0, 0
    records = islice(customers.records(), calls * len(customers._records))
    with closing(Index.create(file, config)) as index:
        while lot := list(islice(records, AT_ONCE)):
            began = time.perf_counter()
            ends = {(record.topic, record.partition): record.offset + 1 for record in lot}
            index.add([fact for record in lot if (fact := index.facts.of(record))], ends)
            seconds += time.perf_counter() - began
            if (made + len(lot)) // 500_000 > made // 500_000:
                _command.say(f"{made + len(lot):,} records …")
            made += len(lot)
        began = time.perf_counter()
        index.sort()
        sorted_in = time.perf_counter() - began
    seconds += sorted_in
    size = file.stat().st_size
    per = {"per_second": made / seconds, "bytes_per_invitation": size / invitations}
    return {
        "load": invitations,
        "records": made,
        "seconds": seconds,
        "sort_seconds": sorted_in,
        "mb": size / 1e6,
        **per,
    }


def ask(file: Path, config: Config, customers: Customers, invitations: int) -> dict[str, dict[str, float]]:
    """How long questions take, by kind."""
    found: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        times = []
        for _ in range(QUESTIONS):
            what = wanted(customers.question(kind, random.randrange(invitations // PER_CALL)))
            began = time.perf_counter()
            with closing(Index.open(file, config)) as index:
                story = tell(index, what.all_ids(index.facts))
            times.append(time.perf_counter() - began)
            if not story.facts:
                raise AssertionError(f"the index knows nothing of a {kind}")
        found[kind] = _percentiles(times)
    return found


def floor(file: Path, bare: Path) -> dict[str, float]:
    """Bare SQLite: as many rows as in the index, of the same sizes, and a row by its primary key."""
    pragmas = ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -65536", "wal_autocheckpoint = 16384")
    with closing(sqlite3.connect(file)) as made, closing(sqlite3.connect(bare)) as connection:
        tokens, facts = (made.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("token", "fact"))  # noqa: S608
        connection.execute("CREATE TABLE fact (number INTEGER PRIMARY KEY, at INTEGER, data BLOB)")
        connection.execute("CREATE TABLE token (token INTEGER, at INTEGER, fact INTEGER)")
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
        rows, seconds = made.execute("SELECT number, at, data FROM fact ORDER BY number"), 0.0
        while lot := rows.fetchmany(AT_ONCE):
            its = [(random.getrandbits(62), at, number) for number, at, _ in lot for _ in range(round(tokens / facts))]
            began = time.perf_counter()
            with connection:
                connection.executemany("INSERT INTO fact VALUES (?, ?, ?)", lot)
                connection.executemany("INSERT INTO token VALUES (?, ?, ?)", its)
            seconds += time.perf_counter() - began
        began = time.perf_counter()
        connection.execute("CREATE INDEX tokens ON token (token, at, fact)")
        seconds += time.perf_counter() - began
        numbers = [number for (number,) in connection.execute("SELECT number FROM fact ORDER BY random() LIMIT 1000")]
    times = []
    for number in numbers:
        began = time.perf_counter()
        with closing(sqlite3.connect(bare)) as connection:
            connection.execute("SELECT data FROM fact WHERE number = ?", (number,)).fetchone()
        times.append(time.perf_counter() - began)
    return {"records": facts, "seconds": seconds, "per_second": facts / seconds, "mb": bare.stat().st_size / 1e6} | (
        _percentiles(times)
    )


def measure(quick: bool) -> _command.Result:
    invitations = LOADS["quick" if quick else "full"]
    with tempfile.TemporaryDirectory() as folder:
        config, file = read(Path(folder), MINIMAL), Path(folder) / "index.sqlite"
        customers = Customers(config)
        built = build(file, config, customers, invitations)
        questions = ask(file, config, customers, invitations)
        least = floor(file, Path(folder) / "bare.sqlite")
    slowest = max(each["p99_ms"] for each in questions.values())
    claim = {
        "claim": f"a question to an index of {invitations:,} invitations",
        "target": f"< {TARGET:g} s",
        "found": f"p99 {slowest:.1f} ms",
        "holds": slowest < TARGET * 1e3,
    }
    figures = {
        "name": "explain",
        "ours": {**built, "questions": questions, "p99_ms": slowest},
        "floor": least,
        "ratios": {
            "times the time of bare inserts": built["seconds"] / least["seconds"],
            "times the p99 of a bare select": slowest / least["p99_ms"],
        },
        "claims": [claim],
    }
    return _command.Result(
        figures, _table(built, questions, least), [] if claim["holds"] else [f"{claim['claim']}: {claim['found']}"]
    )


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "p50_ms": statistics.median(seconds) * 1e3,
        "p99_ms": statistics.quantiles(seconds, n=100, method="inclusive")[-1] * 1e3,
    }


def _table(built: dict[str, float], questions: dict[str, dict[str, float]], least: dict[str, float]) -> Table:
    table = Table("", "ours", "bare SQLite", title=f"A trace index of {built['load']:,.0f} invitations")
    rows: list[tuple[str, str, Any]] = [("records a second", "per_second", ",.0f"), ("MB", "mb", ",.0f")]
    for name, key, form in rows:
        table.add_row(name, format(built[key], form), format(least[key], form))
    bare = f"{least['p50_ms']:.2f} / {least['p99_ms']:.2f}"
    for kind, each in questions.items():
        table.add_row(f"question by {kind}, p50 / p99 ms", f"{each['p50_ms']:.2f} / {each['p99_ms']:.2f}", bare)
    return table


if __name__ == "__main__":
    _command.main(__doc__, measure)
