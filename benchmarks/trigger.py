"""Measures how many change events a second one worker of trigger decides about.

Claims: at least 8,000 a second that no survey wants, and at least 3,000 a second that one survey wants with one lookup.

The stage runs as its own process with its default settings, on a real broker (KAFKA_BOOTSTRAP_SERVERS, or one that the
script starts). A backlog waits when it starts. The rate counts from the first committed offsets to the last ones; they
are committed once a second. Salesforce is a stand-in in another process that answers queries at once. The floor is a
bare Faust agent that reads the same events as JSON and does nothing: Faust allows no more, on this machine and while
it is as busy as it is. The earlier build is measured in the same run.
"""

import asyncio
import secrets
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import _command
from _builds import THIS_BUILD, connector, earlier_build, in_build
from _processes import cpu_seconds, python
from _surveys import SURVEYS, for_both_builds
from _topics import topics_deleted
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from helpers.change_events import as_records, change
from helpers.service import Setup, set_up
from rich.table import Table

from connector.config import Kafka
from connector.sandbox.broker import kafka_broker

UNWANTED, WANTED = 8_000.0, 3_000.0  # events a second
_PARTITIONS = 6
_LOOK = 0.1  # seconds
_WITHIN = 300.0  # seconds for a backlog
_HERE = Path(__file__).parent


async def backlog(kafka: Kafka, count: int, status: str) -> None:
    """Publishes this many changes of cases, each with its own contact."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks=1, linger_ms=20)
    await producer.start()
    try:
        for number in range(count):
            fields = {"Status": status, "ContactId": f"003{number:012d}AAA", "Subject": "made up"}
            event = change(f"500{number:012d}AAA", fields, transaction_key=str(number))
            for record in as_records(kafka, [event]):
                await producer.send(**record.arguments())
        await producer.flush()
    finally:
        await producer.stop()


async def rate(kafka: Kafka, group: str, count: int) -> float:
    """Events a second, from the first committed offsets until all are committed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        first: tuple[float, int] | None = None
        async with asyncio.timeout(_WITHIN):
            while True:
                await asyncio.sleep(_LOOK)
                done, now = await committed(admin, group), time.monotonic()
                if done and first is None:
                    first = now, done
                if first and done >= count:
                    return (done - first[1]) / (now - first[0]) if done > first[1] else float(count)
    finally:
        await admin.close()


async def committed(admin: AIOKafkaAdminClient, group: str) -> int:
    """How many offsets the group has committed, over all partitions."""
    try:
        offsets: dict[TopicPartition, Any] = await admin.list_consumer_group_offsets(group)
    except GroupCoordinatorNotAvailableError:  # Kafka makes the topic of offsets for the first group
        return 0
    return sum(max(0, place.offset) for place in offsets.values())


async def measure(setup: Setup, build: Path | None, count: int, status: str) -> dict[str, float]:
    """The stage of this build, or without one the bare agent, with a backlog of its own topics."""
    kafka = setup.kafka
    await backlog(kafka, count, status)
    topic, group = f"{kafka.topic_prefix}salesforce.cdc.Case", f"{kafka.topic_prefix}trigger"
    if build is None:
        group += "-bare"
        running = python(_HERE / "_bare_trigger.py", kafka.bootstrap_servers, topic, group)
    else:
        arguments = connector("run", setup.file, "--stages", "trigger", "--log-level", "error")
        running = python(*arguments, environ={**in_build(build), **setup.environ})
    async with running as process:
        per_second = await rate(kafka, group, count)
        cpu = cpu_seconds(process)
    return {"per_second": per_second, "cpu_s_per_1000": (cpu or 0.0) / count * 1000}


async def compare(quick: bool) -> _command.Result:
    unwanted, wanted = (60_000, 15_000) if quick else (200_000, 60_000)
    cases = [("unwanted", "New", unwanted), ("wanted", "Closed", wanted)]
    found: dict[str, dict[str, dict[str, float]]] = {"unwanted": {}, "wanted": {}}
    async with AsyncExitStack() as stack:
        earlier = stack.enter_context(earlier_build())
        broker = await stack.enter_async_context(kafka_broker(say=_command.say))
        org = await stack.enter_async_context(python(_HERE / "_quick_org.py"))
        assert org.stdout is not None  # noqa: S101 - it is a pipe
        address = f"http://127.0.0.1:{(await org.stdout.readline()).decode().strip()}"
        builds = {"ours": THIS_BUILD, **({"earlier": earlier} if earlier else {}), "floor": None}
        for case, status, count in cases:
            for name, build in builds.items():
                if case == "wanted" and build is None:
                    continue
                _command.say(f"{case}, {name}: {count} change events …")
                prefix = f"bench-{secrets.token_hex(3)}."
                kafka = Kafka(bootstrap_servers=broker.bootstrap_servers, topic_prefix=prefix)
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                async with topics_deleted(kafka):
                    setup = await _set_up(folder, kafka, address)
                    found[case][name] = await measure(setup, build, count, status)
    claims = [
        _claim("change events a second that no survey wants", UNWANTED, found["unwanted"]["ours"]["per_second"]),
        _claim("change events a second that one survey wants", WANTED, found["wanted"]["ours"]["per_second"]),
    ]
    figures: dict[str, Any] = {
        "name": "trigger",
        "events": {case: count for case, _, count in cases},
        **_by_build(found),
        "ratios": _ratios(found),
        "claims": claims,
    }
    contradictions = [] if quick else [f"{c['claim']}: {c['found']}" for c in claims if not c["holds"]]
    return _command.Result(figures, _table(found, figures["events"]), contradictions)


async def _set_up(folder: Path, kafka: Kafka, salesforce: str) -> Setup:
    setup = await set_up(folder, kafka.bootstrap_servers, kafka.topic_prefix, surveys=SURVEYS, feedback={})
    for_both_builds(setup)
    environ = {**setup.environ, "SF_LOGIN_URL": salesforce}
    setup.file.write_text(setup.file.read_text().replace("salesforce:\n", "salesforce:\n  calls_per_second: 1000\n", 1))
    return Setup(setup.file, environ, setup.config)


def _claim(words: str, target: float, found: float) -> dict[str, Any]:
    return {"claim": words, "target": target, "found": round(found), "holds": found >= target}


def _by_build(found: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
    names = {name for each in found.values() for name in each}
    return {name: {case: each[name] for case, each in found.items() if name in each} for name in sorted(names)}


def _ratios(found: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    return {
        f"{case}_to_{name}": each["ours"]["per_second"] / figures["per_second"]
        for case, each in found.items()
        for name, figures in {**each, "floor": _floor(found)}.items()
        if name != "ours"
    }


def _floor(found: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    return found["unwanted"]["floor"]  # the bare agent does not look at what is in an event


def _table(found: dict[str, dict[str, dict[str, float]]], counts: dict[str, int]) -> Table:
    events = ", ".join(f"{count:,} that are {case}" for case, count in counts.items())
    caption = f"Change events: {events}. Faust alone is the floor."
    table = Table("", "", "events/s", "of the floor", "CPU s/1,000", title="trigger", caption=caption)
    for case, each in found.items():
        for name, figures in each.items():
            share = figures["per_second"] / _floor(found)["per_second"]
            cells = (f"{figures['per_second']:,.0f}", f"{share:.2f}", f"{figures['cpu_s_per_1000']:.3f}")
            table.add_row(case, name, *cells)
    return table


if __name__ == "__main__":
    _command.main(__doc__, lambda quick: asyncio.run(compare(quick)))
