"""One run of capture, of the bare loop, or of the Salesforce double alone, each in processes of its own."""

import asyncio
import json
import secrets
import socket
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
from _builds import THIS_BUILD, connector, in_build
from _changes import ENTITIES
from _processes import cpu_seconds, python
from _surveys import for_both_builds
from _topics import topics_deleted
from aiokafka import AIOKafkaConsumer
from helpers import topics
from helpers.plain_http import plain_http
from helpers.service import set_up

from connector.config import Kafka
from connector.errors import Fatal

_HERE = Path(__file__).parent
_LOOK = 0.4  # seconds between two looks at the metrics; a page of them takes the process some milliseconds
_WITHIN = 150.0  # seconds for a run
_WRITTEN = "connector_change_events_total{"


@dataclass(frozen=True)
class Load:
    """Change events of each channel, and how they come: see `_changes.py`."""

    count: int
    channels: int = 1
    rtt: float = 0.0
    per_second: float = 0.0


@asynccontextmanager
async def running(build: Path, servers: str, load: Load) -> AsyncIterator[tuple[Process, str, Kafka]]:
    """Gives the stage's process, the address of its metrics, and its topics."""
    async with AsyncExitStack() as stack:
        salesforce = await stack.enter_async_context(_salesforce(load))
        entities = ENTITIES[: load.channels]
        setup = await set_up(
            Path(stack.enter_context(tempfile.TemporaryDirectory())),
            servers,
            _prefix(),
            channels=[
                f"/data/{entity.removesuffix('c') if '__' in entity else entity}ChangeEvent" for entity in entities
            ],
            pubsub={"start": "earliest"},
            surveys={
                f"survey-{number}": {"on": entity, "account": "main", "campaign": "1", "email": "x"}
                for number, entity in enumerate(entities)
            },
        )
        for_both_builds(setup)
        await stack.enter_async_context(topics_deleted(setup.kafka))
        port = _free_port()
        environ = {**setup.environ, **in_build(build), **salesforce, "SERVICE_PORT": str(port)}
        run = connector("run", setup.file, "--stages", "capture")
        process = await stack.enter_async_context(python(*run, environ=environ))
        yield process, f"http://127.0.0.1:{port}/metrics", setup.kafka


async def throughput(build: Path, servers: str, load: Load) -> dict[str, float]:
    """Events per second from the first look at which there are any to the last before the end, and what they cost."""
    looks: list[tuple[float, int, float]] = []
    async with running(build, servers, load) as (process, metrics, _), plain_http() as http:
        async with asyncio.timeout(_WITHIN):
            while not looks or looks[-1][1] < load.count * load.channels:
                await asyncio.sleep(_LOOK)
                if events := await _written(http, metrics):
                    looks.append((time.monotonic(), events, cpu_seconds(process) or float("nan")))
    if len(looks) < 3:
        raise Fatal("there were too few events to measure a rate")
    began, before, cpu_before = looks[0]
    ended, after, cpu_after = looks[-2]
    events = after - before
    return {
        "per_second": events / (ended - began),
        "cpu_per_1000": (cpu_after - cpu_before) / events * 1e3,
        "core": (cpu_after - cpu_before) / (ended - began),
    }


async def latency(servers: str, load: Load) -> dict[str, float]:
    """Events per second, and the p99 of the time from a change until a reader of committed records has it."""
    seconds: list[float] = []
    async with running(THIS_BUILD, servers, load) as (_, _, kafka), asyncio.timeout(_WITHIN):
        consumer = AIOKafkaConsumer(
            f"{kafka.topic_prefix}salesforce.cdc.{ENTITIES[0]}",
            bootstrap_servers=servers,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        await consumer.start()
        began = 0.0
        try:
            while len(seconds) < load.count:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    now = time.time()
                    began = began or now
                    seconds += [now - _changed_at(record.headers) for record in records]
        finally:
            await consumer.stop()
        took = time.time() - began
    return {"per_second": load.count / took, "p99_ms": quantiles(seconds, n=100, method="inclusive")[98] * 1e3}


async def bare_loop(servers: str, load: Load) -> dict[str, float]:
    """The same figures for the bare loop."""
    kafka = Kafka(bootstrap_servers=servers, topic_prefix=_prefix())
    async with topics_deleted(kafka):
        topic = await topics.create(kafka, "bare", 6)
        return await _bare(load, servers, topic, topic)


async def double_alone(load: Load) -> dict[str, float]:
    """How fast the double serves a client that does nothing with its events."""
    return await _bare(load)


async def _bare(load: Load, *kafka: str) -> dict[str, float]:
    async with (
        _salesforce(load) as salesforce,
        python(
            _HERE / "_bare_capture.py", str(load.count), *kafka, environ={**in_build(THIS_BUILD), **salesforce}
        ) as process,
    ):
        return await _line(process)


@asynccontextmanager
async def _salesforce(load: Load) -> AsyncIterator[Mapping[str, str]]:
    arguments = json.dumps(vars(load))
    async with python(_HERE / "_changes.py", arguments, environ=in_build(THIS_BUILD)) as process:
        yield await _line(process)


async def _line(process: Process) -> dict[str, Any]:
    if process.stdout is None or not (line := await process.stdout.readline()):
        raise Fatal("a process of the benchmark ended too soon")
    return dict(json.loads(line))


async def _written(http: httpx.AsyncClient, metrics: str) -> int:
    try:
        page = (await http.get(metrics)).text
    except httpx.TransportError:  # it does not listen yet
        return 0
    return sum(int(float(line.rpartition(" ")[2])) for line in page.splitlines() if line.startswith(_WRITTEN))


def _changed_at(headers: Any) -> float:
    return datetime.fromisoformat(dict(headers)["ce_time"].decode()).timestamp()


def _prefix() -> str:
    return f"bench-{secrets.token_hex(3)}."


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
