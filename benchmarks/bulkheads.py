"""Throughput and p99 of the healthy surveys, accounts and rules while one of three is held.

Claim: with one of three surveys (accounts, rules) held, the other two keep at least 0.95 of their throughput, and their
p99 is at most 1.2 times as long, compared with the same stage in the same run with nothing held. The stage runs in this
process on a real broker (KAFKA_BOOTSTRAP_SERVERS, or one that the script starts) against our doubles. The script first
publishes many records at once, to measure the throughput, and then records at a gentle rate, to measure the p99. Rounds
with and without a held third alternate. The throughput ratio compares the medians of the rounds; the p99 ratio compares
the p99 of all rounds together.
"""

import asyncio
import gc
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

import _command
from _topics import topics_deleted
from aiokafka import AIOKafkaConsumer
from helpers.bulkheads import HEALTHY, HELD, NAMES, answer, change_event, invited, three_of_each
from helpers.service import held, running_app
from helpers.waiting import until
from rich.table import Table

from connector.config import Kafka
from connector.kafka.cloud_events import OutRecord
from connector.kafka.ledger import read_entry
from connector.kafka.publisher import Publisher
from connector.records import Feedback, Invitation, Settlement, Write, read
from connector.sandbox.broker import kafka_broker
from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble
from connector.wiring import App

LEAST_THROUGHPUT, LONGEST_P99 = 0.95, 1.2
Made = tuple[OutRecord, list[str]]  # a record, and the names of the healthy work that it causes


@dataclass(frozen=True)
class Stage:
    """`make(kafka, number, contact)` gives the input; `done` names the work that a record on `output` completes."""

    name: str
    make: Callable[[Kafka, int, str], Sequence[Made]]
    output: str
    done: Callable[[bytes], str | None]
    burst: int  # how many numbers are published at once
    gentle: int  # how many numbers are published one by one
    rate: float  # numbers a second when one by one: far below what the stage can do


def _to_trigger(kafka: Kafka, number: int, contact: str) -> list[Made]:
    record = change_event(kafka, number, contact)
    return [(record, [f"{survey} {record.key.decode()}" for survey in HEALTHY])]


def _invited(value: bytes) -> str:
    invitation = read(Invitation, value)
    return f"{invitation.survey} {invitation.record_id}"


def _to_send(kafka: Kafka, number: int, _: str) -> list[Made]:
    records = {name: invited(kafka, number, name) for name in NAMES}
    return [
        (record, [read(Invitation, record.value or b"").id] if name in HEALTHY else [])
        for name, record in records.items()
    ]


def _sent(value: bytes) -> str | None:
    entry = read_entry(value)
    return entry.invitation if isinstance(entry, Settlement) else None


def _to_write(kafka: Kafka, number: int, _: str) -> list[Made]:
    record = answer(kafka, number)
    feedback = read(Feedback, record.value or b"").id
    return [(record, [f"{rule} {feedback}" for rule in HEALTHY])]


def _written(value: bytes) -> str:
    write = read(Write, value)
    return f"{write.rule} {write.feedback}"


STAGES = (
    Stage("trigger", _to_trigger, "pisano.invitations", _invited, burst=3000, gentle=400, rate=40.0),
    Stage("send", _to_send, "pisano.attempts", _sent, burst=400, gentle=150, rate=10.0),
    Stage("write", _to_write, "salesforce.writes", _written, burst=3000, gentle=400, rate=40.0),
)


@dataclass
class Seen:
    """The times when each piece of healthy work began and was done, in seconds."""

    began: dict[str, float] = field(default_factory=dict)
    done: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Round:
    """Pieces of healthy work per second, and the seconds that each piece took at the gentle rate."""

    per_second: float
    waits: list[float]


async def one_round(stage: Stage, bootstrap_servers: str, share: float, *, at_fault: bool) -> Round:
    """Runs the stage in this process, with its own topics and doubles. `share`: part of the full number of records."""
    async with AsyncExitStack() as stack:
        salesforce = await stack.enter_async_context(SalesforceDouble())
        contact = salesforce.create("Contact", {"LastName": "Byron", "Email": "ada@example.com"})
        pisanos = {name: await stack.enter_async_context(PisanoDouble(windows=[(1_000_000, 1.0)])) for name in NAMES}
        setup = await three_of_each(
            Path(stack.enter_context(tempfile.TemporaryDirectory())),
            bootstrap_servers,
            f"bench-{secrets.token_hex(3)}.",
            salesforce=salesforce,
            pisanos=pisanos,
            at_fault=[stage.name] if at_fault else [],
        )
        await stack.enter_async_context(topics_deleted(setup.kafka))
        publisher = Publisher(setup.kafka)
        await publisher.start()
        stack.push_async_callback(publisher.stop)
        seen = await stack.enter_async_context(_watched(setup.kafka, stage))
        app = await stack.enter_async_context(running_app(setup.config, [stage.name]))
        counts = (1, int(share * stage.burst), int(share * stage.gentle))
        numbers = iter(range(sum(counts)))
        first, burst, gentle = ([stage.make(setup.kafka, next(numbers), contact) for _ in range(n)] for n in counts)
        await _feed(publisher, first, seen)
        if at_fault:
            await until(lambda: _is_held(app, HELD[stage.name]))
        names = await _feed(publisher, burst, seen)
        took = max(seen.done[name] for name in names) - min(seen.began[name] for name in names)
        waits = [
            seen.done[name] - seen.began[name] for name in await _feed(publisher, gentle, seen, pause=1 / stage.rate)
        ]
        return Round(len(names) / took, waits)


async def _feed(publisher: Publisher, made: Sequence[Sequence[Made]], seen: Seen, pause: float = 0.0) -> list[str]:
    """Publishes all at once or one by one, waits until the healthy work is done, and returns the names of that work."""
    gc.collect()
    gc.freeze()  # the doubles and the records to come live in this process; collecting them is not the stage's work
    names: list[str] = []
    stored: list[asyncio.Task[int]] = []
    for each in made:
        await asyncio.sleep(pause)
        for record, causes in each:
            names += causes
            seen.began.update(dict.fromkeys(causes, time.time()))
            stored.append(asyncio.create_task(publisher.send(record)))
    await asyncio.gather(*stored)
    await until(lambda: seen.done.keys() >= set(names))
    return names


@asynccontextmanager
async def _watched(kafka: Kafka, stage: Stage) -> AsyncIterator[Seen]:
    """Notes the timestamp of each record that the stage writes."""
    seen = Seen()
    consumer = AIOKafkaConsumer(
        kafka.topic_prefix + stage.output,
        bootstrap_servers=kafka.bootstrap_servers,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )

    async def watch() -> None:
        async for record in consumer:
            if name := stage.done(record.value):
                seen.done.setdefault(name, record.timestamp / 1e3)

    await consumer.start()
    watching = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        watching.cancel()
        await consumer.stop()


async def _is_held(app: App, cell: str) -> bool:
    return cell in await held(app)


async def compare(quick: bool) -> _command.Result:
    share, rounds = (0.05, 1) if quick else (1.0, 3)
    table = Table("", "a second", "with a third held", "ratio", "p99", "with a third held", "ratio")
    figures: dict[str, dict[str, float]] = {}
    contradictions: list[str] = []
    async with kafka_broker(say=_command.say) as broker:
        for stage in STAGES:
            free, beside = [], []
            for number in range(rounds):
                _command.say(f"{stage.name}: round {number + 1} of {rounds} …")
                free.append(await one_round(stage, broker.bootstrap_servers, share, at_fault=False))
                beside.append(await one_round(stage, broker.bootstrap_servers, share, at_fault=True))
            found = figures[stage.name] = _compared(free, beside)
            table.add_row(
                stage.name,
                *(f"{found[name]:,.0f}" for name in ("per_second", "per_second_beside")),
                f"{found['throughput_ratio']:.2f}",
                *(f"{found[name]:.0f} ms" for name in ("p99_ms", "p99_ms_beside")),
                f"{found['p99_ratio']:.2f}",
            )
            if not quick:  # a quick run has too few records to judge the claim
                contradictions += _contradictions(stage.name, found)
    return _command.Result({"rounds": rounds, "quick": quick, **figures}, table, contradictions)


def _compared(free: Sequence[Round], beside: Sequence[Round]) -> dict[str, float]:
    throughput, throughput_beside = (median(each.per_second for each in some) for some in (free, beside))
    p99, p99_beside = (_p99_ms([wait for each in some for wait in each.waits]) for some in (free, beside))
    return {
        "per_second": throughput,
        "per_second_beside": throughput_beside,
        "throughput_ratio": throughput_beside / throughput,
        "p99_ms": p99,
        "p99_ms_beside": p99_beside,
        "p99_ratio": p99_beside / p99,
    }


def _p99_ms(waits: Sequence[float]) -> float:
    return quantiles(waits, n=100, method="inclusive")[98] * 1e3


def _contradictions(stage: str, found: dict[str, float]) -> list[str]:
    contradictions = []
    if found["throughput_ratio"] < LEAST_THROUGHPUT:
        contradictions.append(f"{stage} has {found['throughput_ratio']:.2f} of its throughput beside a held third")
    if found["p99_ratio"] > LONGEST_P99:
        contradictions.append(f"{stage} has {found['p99_ratio']:.2f} times its p99 beside a held third")
    return contradictions


if __name__ == "__main__":
    _command.main(__doc__, lambda quick: asyncio.run(compare(quick)))
