"""Measures how fast write stores answers in a Salesforce that takes 100 ms a call.

Claims: at least 3,500 records a second and 4.5 times the earlier build, in full calls, with each record's order kept and
no more calls at once than the setting allows; and at a gentle rate, less than 50 ms on top of Salesforce's 100 ms.

The stage runs as its own process with its default settings, on a real broker (KAFKA_BOOTSTRAP_SERVERS, or one that the
script starts). Salesforce is a stand-in in another process: the double checks every value, which takes longer than the
stage. First a backlog waits when the stage starts; its rate counts from the first result on `salesforce.writes` to the
last. Then answers come at ×1, ×10 and ×100 of a rate; the time of one runs from its record to its result's record.

The floor is a bare loop (aiokafka, httpx, orjson) that stores the same backlog without any guarantee but full calls.
"""

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import _command
from _builds import THIS_BUILD, earlier_build, in_build
from _processes import cpu_seconds, python
from _topics import topics_deleted
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from helpers import topics
from helpers.plain_http import plain_http
from helpers.service import Setup, set_up
from rich.table import Table

from connector.config import Kafka
from connector.kafka.cloud_events import OutRecord, to_record
from connector.records import Feedback, Write, digest, read
from connector.sandbox.broker import kafka_broker

LEAST_PER_SECOND, LEAST_RATIO, FULLEST, MOST_ADDED_MS = 3_500.0, 4.5, 200, 50.0
RATE = 35.0  # answers a second at ×1
LOADS = (1, 10, 100)
_KEYS = 10_000  # records that the answers are about
_HERE = Path(__file__).parent
_RUN = "from connector.cli import main; main()"
_RULES = {
    "response": {
        "upsert": "Survey_Response__c",
        "by": {"Pisano_Id__c": "{{ body.key }}"},
        "fields": {
            "Score__c": "{{ body.number }}",
            "Email__c": "{{ body.email }}",
            "Source__c": "{{ body.source_platform }}",
            "Comment__c": "{{ body.comment | url_decode }}",
        },
    },
    "detractor": {
        "when": "body.number != blank and body.number < 0",
        "update": "Case",
        "by": {"Id": "{{ body.sf_ref_id }}"},
        "fields": {"Status": "Reopened"},
    },
}


def answers(kafka: Kafka, count: int) -> list[OutRecord]:
    """Answers about records drawn at random, numbered in their order."""
    draw = Random(count)
    return [_answer(kafka, f"key-{draw.randrange(_KEYS)}", number) for number in range(count)]


def _answer(kafka: Kafka, key: str, number: int) -> OutRecord:
    body = {
        "key": key,
        "number": number,
        "sf_ref_id": "5005g0000000001AAA",
        "email": f"customer-{number}@example.com",
        "source_platform": "email",
        "comment": "The%20hotline%20was%20kind%2C%20but%20slow.",
        "nps_score": 9,
    }
    feedback = Feedback(id=digest(key, str(number)), account="main", received_at=datetime.now(UTC), body=body)
    return to_record(
        kafka.topic_prefix + "pisano.feedback",
        key,
        feedback,
        ce_type="pisano.feedback",
        ce_source="/accounts/main",
        ce_id=feedback.id,
        ce_time=feedback.received_at,
    )


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
        run = ["-P", "-c", _RUN, "run", place.setup.file, "--stages", "write"]
        return run, {**place.setup.environ, **in_build(build)}

    return command


def bare_loop(place: Place) -> tuple[list[str | Path], Mapping[str, str]]:
    return [_HERE / "_bare_write.py", place.kafka.bootstrap_servers, place.kafka.topic_prefix, place.org], {}


@asynccontextmanager
async def place(bootstrap_servers: str) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        org = await stack.enter_async_context(python(_HERE / "_slow_org.py"))
        assert org.stdout is not None
        address = (await org.stdout.readline()).decode().strip()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        setup = await set_up(folder, bootstrap_servers, f"bench-{secrets.token_hex(3)}.", feedback=_RULES)
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


async def _reached(written: Callable[[], Any], count: int) -> int:
    async with asyncio.timeout(120.0):
        while (found := await written()) < count:
            await asyncio.sleep(0.02)
    return int(found)


@asynccontextmanager
async def _counter(kafka: Kafka) -> AsyncIterator[Callable[[], Any]]:
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
    found = []
    async with place(bootstrap_servers) as here, _counter(here.kafka) as written:
        arguments, environ = command(here)
        async with python(*arguments, environ=environ):
            await _publish(here.kafka, answers(here.kafka, 10))
            done = await _reached(written, 10)  # a warm-up: it fetches the token and the description
            for load in LOADS:
                count = int(RATE * load * seconds)
                await _publish(here.kafka, answers(here.kafka, count), RATE * load)
                done = await _reached(written, done + count)
        began = {read(Feedback, r.value).id: r.timestamp for r in await topics.read(here.kafka, "pisano.feedback")}
        ended = [
            (read(Write, r.value).feedback, r.timestamp) for r in await topics.read(here.kafka, "salesforce.writes")
        ]
    del began, ended
    return found


async def compare(quick: bool) -> _command.Result:
    count = 10_000
    async with kafka_broker(say=_command.say) as broker:
        ours = await work_off(broker.bootstrap_servers, stage_of(THIS_BUILD), count)
        print(ours)
        with earlier_build() as build:
            if build:
                print(await work_off(broker.bootstrap_servers, stage_of(build), 8000))
        print(await work_off(broker.bootstrap_servers, bare_loop, count))
    return _command.Result({}, Table(), [])


if __name__ == "__main__":
    _command.main(__doc__, lambda quick: asyncio.run(compare(quick)))
