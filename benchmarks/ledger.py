"""Measures how long a worker needs to read an account's ledger back, and how much memory the ledger then takes.

The ledger holds 100,000, 1,000,000 and 10,000,000 settled invitations (with --quick a hundredth of that), as
compaction leaves them: a settlement for each, and one call for every ten. Each reader is a process of its own, so the
memory is what opening the ledger adds to it at most.

The memory of contact protection takes part, as it does in a sender: it knows whom each change has invited.

In the same run, a bare aiokafka consumer reads the same partition without looking at the records: the floor. The
earlier build cannot read it: it refuses settlements with the fields that came since.
"""

import asyncio
import json
import secrets
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import _command
from _builds import THIS_BUILD, earlier_build, in_build
from _topics import topics_deleted
from aiokafka import AIOKafkaProducer
from helpers import topics
from rich.table import Table

from connector.config import Kafka
from connector.kafka.cloud_events import attributes, schema_id
from connector.records import Attempt, Outcome, Settlement
from connector.sandbox.broker import kafka_broker
from connector.values import exact

PER_CALL = 10  # invitations
BATCH = 512 * 1024  # bytes
IN_FLIGHT = 4  # batches; more make the producer no faster
WITHIN = 400  # seconds for one reader

LOADS = {"quick": (1_000, 10_000, 100_000), "full": (100_000, 1_000_000, 10_000_000)}
LARGEST_FOR_EARLIER = 0  # it refuses settlements with the fields that came since, so it is not measured
TARGETS = {1_000_000: (6.0, 100.0), 10_000_000: (45.0, 900.0)}  # by invitations: seconds, MB

_ID = b"0" * 32  # stands for the id of an invitation or a call
_PERSON = "1" * 32
_RECORD = tuple[bytes, bytes, list[tuple[str, bytes]]]

_READER = """
import asyncio, json, sys, time
from datetime import UTC, datetime
from aiokafka import AIOKafkaConsumer, TopicPartition
from connector.config import Kafka, ProtectAll, Survey
from connector.kafka.ledger import ATTEMPTS, Ledger
from connector.protection import ContactProtection

def memory(which):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(which)) / 1e3

async def ledger(kafka):
    survey = {"on": "Case", "account": "main", "campaign": "4711", "email": "{{ record.Email }}"}
    protection = ContactProtection({"closed-case": Survey.model_validate(survey)}, ProtectAll())
    await (await Ledger.open(kafka, "main", 0, datetime.now(UTC), protection.known("main").memory)).close()

async def floor(kafka):
    place = TopicPartition(kafka.topic_prefix + ATTEMPTS, 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest", enable_auto_commit=False,
        isolation_level="read_committed",
    )
    await consumer.start()
    consumer.assign([place])
    end = None
    while end is None or await consumer.position(place) < end:
        await consumer.getmany(place, timeout_ms=100)
        end = end or consumer.highwater(place)
    await consumer.stop()

what, servers, prefix = sys.argv[1:]
before, began, cpu = memory("VmRSS"), time.monotonic(), time.process_time()
asyncio.run({"ledger": ledger, "floor": floor}[what](Kafka(bootstrap_servers=servers, topic_prefix=prefix)))
seconds, cpu = time.monotonic() - began, time.process_time() - cpu
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "mb": memory("VmHWM") - before}))
"""


def _prepared(entry: Attempt | Settlement, key: str, name: str) -> _RECORD:
    headers = attributes(
        ce_type=f"pisano.{name}",
        ce_source="/accounts/main",
        ce_id=key,
        ce_time=datetime.now(UTC),
        dataschema=schema_id(type(entry)),
        datacontenttype="application/json",
    )
    headers.append(("traceparent", b"00-" + b"5" * 32 + b"-" + b"5" * 16 + b"-01"))
    return f"main/{key}".encode(), exact.dumps(entry.model_dump()), headers


def _records(count: int) -> Iterator[_RECORD]:
    """What compaction leaves of `count` settled invitations. Only the ids differ, so that making them is quick."""
    id_, now = _ID.decode(), datetime.now(UTC)
    call = Attempt(
        id=id_,
        account="main",
        call="email_sharings",
        campaign="4711",
        invitations=tuple(uuid.uuid4().hex for _ in range(PER_CALL)),
        state="settled",
        result="accepted",
        begun_at=datetime(2026, 1, 1, tzinfo=UTC),
        settled_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    settlement = Settlement(
        invitation=id_,
        account="main",
        survey="closed-case",
        record_id="500xx000000bzXgAAI",
        outcome=Outcome.SENT,
        persons=(_ID.decode(), _PERSON),
        happened_at=datetime(2026, 1, 1, tzinfo=UTC),
        answer='{"message":"accepted"}',
        attempt=uuid.uuid4().hex,
        at=now,
    )
    calls = _prepared(call, f"call/{id_}", "attempt.settled")
    settlements = _prepared(settlement, id_, "invitation.sent")
    for number in range(count):
        if number % PER_CALL == 0:
            yield _with_id(calls)
        yield _with_id(settlements)


def _with_id(record: _RECORD) -> _RECORD:
    id_ = secrets.token_hex(16).encode()
    key, value, headers = record
    return key.replace(_ID, id_), value.replace(_ID, id_), [(name, each.replace(_ID, id_)) for name, each in headers]


async def _fill(kafka: Kafka, count: int) -> None:
    topic = await topics.create(kafka, "pisano.attempts")
    await topics.create(kafka, "pisano.waiting")
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, max_batch_size=BATCH)
    await producer.start()
    try:
        batch, on_their_way = producer.create_batch(), list[Any]()
        for key, value, headers in _records(count):
            fields = {"key": key, "value": value, "headers": headers, "timestamp": int(time.time() * 1e3)}
            if batch.append(**fields) is None:  # full
                on_their_way.append(await producer.send_batch(batch, topic, partition=0))
                if len(on_their_way) > IN_FLIGHT:
                    await on_their_way.pop(0)
                batch = producer.create_batch()
                batch.append(**fields)
        on_their_way.append(await producer.send_batch(batch, topic, partition=0))
        await asyncio.gather(*on_their_way)
    finally:
        await producer.stop()


async def _read(what: str, kafka: Kafka, count: int, environment: Mapping[str, str]) -> dict[str, float]:
    _command.say(f"{what}: reading {count:,} settled invitations …")
    ended = await asyncio.to_thread(
        subprocess.run,
        [
            sys.executable,
            "-P",  # the build comes from PYTHONPATH, not from the folder that this runs in
            "-c",
            _READER,
            "floor" if what == "floor" else "ledger",
            kafka.bootstrap_servers,
            kafka.topic_prefix,
        ],
        env=environment,
        stdout=subprocess.PIPE,
        timeout=WITHIN,
        check=True,
    )
    found: dict[str, float] = json.loads(ended.stdout)
    return {
        "load": count,
        "per_second": count / found["seconds"],
        "cpu_seconds_per_1000": found["cpu_seconds"] / count * 1e3,
        **found,
    }


async def _compare(servers: str, count: int, earlier: Path | None) -> dict[str, dict[str, float]]:
    kafka = Kafka(bootstrap_servers=servers, topic_prefix=f"bench-{secrets.token_hex(3)}.")
    async with topics_deleted(kafka):
        _command.say(f"writing {count:,} settlements …")
        await _fill(kafka, count)
        builds = {"ours": THIS_BUILD, "floor": THIS_BUILD}
        if earlier and count <= LARGEST_FOR_EARLIER:
            builds["earlier"] = earlier
        return {what: await _read(what, kafka, count, in_build(build)) for what, build in builds.items()}


async def measure(quick: bool) -> _command.Result:
    loads = LOADS["quick" if quick else "full"]
    async with kafka_broker(say=_command.say) as broker:
        with earlier_build() as earlier:
            found = [await _compare(broker.bootstrap_servers, count, earlier) for count in loads]
    figures = {
        "name": "ledger",
        **{what: {"series": [each[what] for each in found if what in each]} for what in ("ours", "floor", "earlier")},
        "ratios": _ratios(found),
        "claims": [claim for each in found for claim in _claims(each["ours"])],
    }
    failed = [f"{claim['claim']}: {claim['found']}" for claim in figures["claims"] if not claim["holds"]]
    return _command.Result(figures, _table(found), [] if quick else failed)


def _ratios(found: list[dict[str, dict[str, float]]]) -> dict[str, float]:
    """Of the largest load that both read."""
    ratios = {}
    for what in ("floor", "earlier"):
        both = [each for each in found if what in each]
        if both:
            ratios[f"times the speed of {what}"] = both[-1][what]["seconds"] / both[-1]["ours"]["seconds"]
    return ratios


def _claims(ours: dict[str, float]) -> list[dict[str, Any]]:
    if ours["load"] not in TARGETS:
        return []
    seconds, mb = TARGETS[int(ours["load"])]
    return [
        {
            "claim": f"{ours['load']:,} settled invitations are read back",
            "target": f"< {seconds:g} s, < {mb:g} MB",
            "found": f"{ours['seconds']:.1f} s, {ours['mb']:.0f} MB",
            "holds": ours["seconds"] < seconds and ours["mb"] < mb,
        }
    ]


def _table(found: list[dict[str, dict[str, float]]]) -> Table:
    table = Table("settled invitations", "", "time", "memory", "CPU s per 1,000", title="Reading a ledger back")
    for each in found:
        for what, figures in each.items():
            table.add_row(
                f"{figures['load']:,}",
                what,
                f"{figures['seconds']:.2f} s",
                f"{figures['mb']:.0f} MB",
                f"{figures['cpu_seconds_per_1000']:.4f}",
            )
    return table


if __name__ == "__main__":
    _command.main(__doc__, lambda quick: asyncio.run(measure(quick)))
