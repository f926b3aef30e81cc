"""Measures how fast write stores answers in a Salesforce that takes 100 ms a call.

Claims: at least 3,500 records a second and 4.5 times the earlier build, in full calls, with each record's order kept
and no more calls at once than the setting allows. A single answer takes less than 50 ms on top of Salesforce's 100 ms.

The stage runs as its own process with its default settings, on a real broker (KAFKA_BOOTSTRAP_SERVERS, or one that the
script starts). Salesforce is a stand-in in another process, because the double checks every value and is slower than
the stage. First a backlog waits when the stage starts; its rate counts from the first result on `salesforce.writes` to
the last. Then answers come at x1, x10, x100 and x1000 of a gentle rate; the time of one runs from its record to its
result's record.

The floor is a bare loop (aiokafka, httpx, orjson) that stores the same backlog in full calls without any guarantee.
"""

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import quantiles
from typing import Any

import _command
from _builds import THIS_BUILD, connector, earlier_build, in_build
from _feedback import RULES, answers
from _processes import cpu_seconds, python
from _slow_org import DELAY
from _surveys import SURVEYS, for_both_builds
from _topics import topics_deleted
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from helpers import topics
from helpers.plain_http import plain_http
from helpers.service import Setup, set_up
from rich.table import Table

from connector.config import Kafka, Salesforce
from connector.kafka.cloud_events import OutRecord
from connector.records import Feedback, Write, read
from connector.sandbox.broker import kafka_broker

LEAST_PER_SECOND, LEAST_RATIO, MOST_ADDED_MS = 3_500.0, 4.5, 50.0
FULLEST = 190  # of 200: the calls at the beginning and the end of the backlog are not full
MOST_CALLS = Salesforce.model_fields["write_calls"].default
RATE = 3.5  # answers a second at x1: each comes when the call for the one before it has ended
LOADS = (1, 10, 100, 1000)
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Backlog:
    """How a backlog was worked off. `cpu` is in seconds per 1,000 records."""

    per_second: float
    cpu: float | None
    records_per_call: float
    most_calls_at_once: int
    broken_order: int


@dataclass(frozen=True)
class Paced:
    """How answers at a steady rate were stored."""

    load: int
    per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Place:
    """Topics of their own, and a Salesforce of their own."""

    setup: Setup
    org: str

    @property
    def kafka(self) -> Kafka:
        return self.setup.kafka

    async def seen(self) -> dict[str, int]:
        async with plain_http() as http:
            return dict((await http.get(f"{self.org}/seen")).json())


Command = Callable[[Place], tuple[list[str | Path], Mapping[str, str]]]


def stage_of(build: Path) -> Command:
    def command(place: Place) -> tuple[list[str | Path], Mapping[str, str]]:
        run = connector("run", place.setup.file, "--stages", "write")
        return run, {**place.setup.environ, **in_build(build)}

    return command


def bare_loop(place: Place) -> tuple[list[str | Path], Mapping[str, str]]:
    return [_HERE / "_bare_write.py", place.kafka.bootstrap_servers, place.kafka.topic_prefix, place.org], {}


@asynccontextmanager
async def place(bootstrap_servers: str) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        org = await stack.enter_async_context(python(_HERE / "_slow_org.py"))
        address = (await org.stdout.readline()).decode().strip() if org.stdout else ""
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        setup = await set_up(
            folder, bootstrap_servers, f"bench-{secrets.token_hex(3)}.", feedback=RULES, surveys=SURVEYS
        )
        for_both_builds(setup)
        await stack.enter_async_context(topics_deleted(setup.kafka))
        environ = {"SF_LOGIN_URL": address, "SF_CLIENT_ID": "made-up", "SF_CLIENT_SECRET": "made-up"}
        yield Place(replace(setup, environ={**setup.environ, **environ}), address)


async def work_off(bootstrap_servers: str, command: Command, count: int) -> Backlog:
    async with place(bootstrap_servers) as here, _counter(here.kafka) as written:
        await _publish(here.kafka, answers(here.kafka, count))
        arguments, environ = command(here)
        async with python(*arguments, environ=environ) as process:
            first = await _reached(written, 1)
            began, cpu_before = time.monotonic(), cpu_seconds(process)
            await _reached(written, count)
            took, cpu = time.monotonic() - began, cpu_seconds(process)
        seen = await here.seen()
    return Backlog(
        per_second=(count - first) / took,
        cpu=None if cpu is None or cpu_before is None else (cpu - cpu_before) / (count - first) * 1e3,
        records_per_call=seen["records"] / seen["calls"],
        most_calls_at_once=seen["most_at_once"],
        broken_order=seen["out_of_order"] + seen["twice_at_once"],
    )


async def _reached(written: Callable[[], Awaitable[int]], count: int) -> int:
    async with asyncio.timeout(120.0):
        while (found := await written()) < count:  # noqa: ASYNC110 - Kafka tells no one
            await asyncio.sleep(0.02)
    return found


@asynccontextmanager
async def _counter(kafka: Kafka) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Gives a function that counts the results on `salesforce.writes`."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers)
    await consumer.start()
    topic = f"{kafka.topic_prefix}salesforce.writes"
    places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or range(6)]

    async def count() -> int:
        return sum((await consumer.end_offsets(places)).values())

    try:
        yield count
    finally:
        await consumer.stop()


async def _publish(kafka: Kafka, records: Iterable[OutRecord], per_second: float | None = None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all")
    await producer.start()
    try:
        began = time.monotonic()
        for number, record in enumerate(records):
            ahead = number / per_second - (time.monotonic() - began) if per_second else 0.0
            if ahead > 0:
                await asyncio.sleep(ahead)
            await producer.send(**record.arguments())
        await producer.flush()
    finally:
        await producer.stop()


async def at_steady_rates(bootstrap_servers: str, command: Command, seconds: float) -> list[Paced]:
    """Sends answers at each load for so many seconds."""
    spans = {}
    async with place(bootstrap_servers) as here, _counter(here.kafka) as written:
        arguments, environ = command(here)
        async with python(*arguments, environ=environ):
            counts = {0: 10, **{load: int(RATE * load * seconds) for load in LOADS}}  # the first ones are a warm-up
            records = iter(answers(here.kafka, sum(counts.values())))
            done = 0
            for load, count in counts.items():
                await _publish(here.kafka, islice(records, count), RATE * load or None)
                done += count
                await _reached(written, done)
                spans[load] = done
        began = {read(Feedback, r.value).id: r.timestamp for r in await topics.read(here.kafka, "pisano.feedback")}
        found = await topics.read(here.kafka, "salesforce.writes")
    ended = sorted((r.timestamp, read(Write, r.value).feedback) for r in found)
    spent = [(at, at - began[feedback]) for at, feedback in ended]
    return [_paced(load, spent[done - counts[load] : done]) for load, done in spans.items() if load]


def _paced(load: int, spent: Sequence[tuple[int, int]]) -> Paced:
    percentiles = quantiles([took for _, took in spent], n=100, method="inclusive")
    seconds = (spent[-1][0] - spent[0][0]) / 1e3
    return Paced(load, (len(spent) - 1) / seconds, percentiles[49], percentiles[98])


async def compare(quick: bool) -> _command.Result:
    count, rounds, seconds = (3_000, 1, 2.0) if quick else (20_000, 3, 8.0)
    found: dict[str, list[Backlog]] = {"ours": [], "floor": [], "earlier": []}
    async with kafka_broker(say=_command.say) as broker:
        with earlier_build() as build:
            if build is None:
                _command.say("the history does not hold the earlier build, so its ratio is left out")
            commands = {
                "ours": stage_of(THIS_BUILD),
                "floor": bare_loop,
                **({"earlier": stage_of(build)} if build else {}),
            }
            for number in range(rounds):
                for name, command in commands.items():
                    _command.say(f"{name}: round {number + 1} of {rounds} …")
                    few = count // 4 if name == "earlier" else count
                    found[name].append(await work_off(broker.bootstrap_servers, command, few))
        _command.say(f"at steady rates, {seconds:g} s each …")
        series = await at_steady_rates(broker.bootstrap_servers, stage_of(THIS_BUILD), seconds)
    middle = {name: sorted(each, key=lambda b: b.per_second)[len(each) // 2] for name, each in found.items() if each}
    figures: dict[str, Any] = {name: asdict(each) for name, each in middle.items()}
    figures["ours"]["series"] = [asdict(each) for each in series]
    ratios = {name: middle["ours"].per_second / each.per_second for name, each in middle.items() if name != "ours"}
    claims = _claims(middle["ours"], ratios, series[0].p50_ms - DELAY * 1e3, found["ours"])
    contradictions = [f"{each['claim']}: {each['found']:.4g}" for each in claims if not (each["holds"] or quick)]
    return _command.Result(
        {"name": "write", "quick": quick, **figures, "ratios": ratios, "claims": claims},
        _table(middle, ratios, series),
        contradictions,
    )


def _claims(
    ours: Backlog, ratios: Mapping[str, float], added: float, rounds: Sequence[Backlog]
) -> list[dict[str, Any]]:
    most = max(each.most_calls_at_once for each in rounds)
    broken = sum(each.broken_order for each in rounds)
    found = [
        ("records a second", LEAST_PER_SECOND, ours.per_second, ours.per_second >= LEAST_PER_SECOND),
        ("records in a call under load", FULLEST, ours.records_per_call, ours.records_per_call >= FULLEST),
        ("calls at once", MOST_CALLS, most, most <= MOST_CALLS),
        ("records out of their order, or twice under way", 0, broken, broken == 0),
        ("milliseconds added at a gentle rate", MOST_ADDED_MS, added, added < MOST_ADDED_MS),
    ]
    if "earlier" in ratios:
        found.append(("times the earlier build", LEAST_RATIO, ratios["earlier"], ratios["earlier"] >= LEAST_RATIO))
    return [dict(zip(("claim", "target", "found", "holds"), each, strict=True)) for each in found]


def _table(middle: Mapping[str, Backlog], ratios: Mapping[str, float], series: Sequence[Paced]) -> Table:
    paced = "; ".join(
        f"x{each.load}: {each.per_second:,.0f} a second, p50 {each.p50_ms:.0f} ms, p99 {each.p99_ms:.0f} ms"
        for each in series
    )
    table = Table(
        "",
        "records a second",
        "CPU s per 1,000",
        "records a call",
        "calls at once",
        "ours is",
        title="A backlog",
        caption=paced,
    )
    for name, each in middle.items():
        table.add_row(
            name,
            f"{each.per_second:,.0f}",
            "?" if each.cpu is None else f"{each.cpu:.2f}",
            f"{each.records_per_call:.0f}",
            f"{each.most_calls_at_once}",
            f"{ratios[name]:.2f} x" if name in ratios else "",
        )
    return table


if __name__ == "__main__":
    _command.main(__doc__, lambda quick: asyncio.run(compare(quick)))
