"""Measures how fast capture stores change events, and what that costs."""

import asyncio
import json
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _command
from _builds import THIS_BUILD, earlier_build, in_build
from _changes import ENTITIES
from _processes import cpu_seconds, python
from _topics import topics_deleted
from helpers import topics
from helpers.plain_http import plain_http
from helpers.service import set_up
from rich.table import Table

from connector.config import Kafka
from connector.sandbox.broker import kafka_broker

_HERE = Path(__file__).parent
_RUN = "from connector.cli import main; main()"
_LOOK = 0.1  # seconds between two looks at the count
_WITHIN = 120.0  # seconds for a run


@dataclass(frozen=True)
class Sample:
    at: float
    events: int
    cpu: float


@asynccontextmanager
async def salesforce(count: int, channels: int, rtt: float) -> AsyncIterator[dict[str, str]]:
    async with python(
        _HERE / "_changes.py", str(count), str(channels), str(rtt), environ=in_build(THIS_BUILD)
    ) as process:
        assert process.stdout is not None
        yield json.loads(await process.stdout.readline())
        assert process.stdin is not None
        process.stdin.close()


async def stage(build: Path, servers: str, count: int, channels: int = 1, rtt: float = 0.0) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        environ = await stack.enter_async_context(salesforce(count, channels, rtt))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        entities = ENTITIES[:channels]
        surveys = {
            one.lower().replace("_", ""): {"on": one, "account": "main", "campaign": "1", "email": "x"}
            for one in entities
        }
        names = [f"/data/{one.removesuffix('c') if one.endswith('__c') else one}ChangeEvent" for one in entities]
        setup = await set_up(
            folder,
            servers,
            f"bench-{secrets.token_hex(3)}.",
            channels=names,
            pubsub={"start": "earliest"},
            surveys=surveys,
        )
        await stack.enter_async_context(topics_deleted(setup.kafka))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environ = {**setup.environ, **in_build(build), **environ, "SERVICE_PORT": str(port)}
        run = ["-c", _RUN, "run", setup.file, "--stages", "capture"]
        http = await stack.enter_async_context(plain_http())
        process = await stack.enter_async_context(python(*run, environ=environ))
        samples = []
        async with asyncio.timeout(_WITHIN):
            while True:
                await asyncio.sleep(_LOOK)
                try:
                    page = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
                except OSError:
                    continue
                except Exception:
                    continue
                found = sum(
                    float(l.rpartition(" ")[2])
                    for l in page.splitlines()
                    if l.startswith("connector_change_events_total{")
                )
                if found:
                    samples.append(Sample(time.monotonic(), int(found), cpu_seconds(process) or 0.0))
                if found >= count * channels:
                    break
        first, last = samples[0], samples[-2]
        events = last.events - first.events
        return {"per_second": events / (last.at - first.at), "cpu_per_1000": (last.cpu - first.cpu) / events * 1e3}


async def bare(servers: str | None, count: int) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        environ = await stack.enter_async_context(salesforce(count, 1, 0.0))
        arguments = [_HERE / "_bare_capture.py", str(count)]
        if servers:
            kafka = Kafka(bootstrap_servers=servers, topic_prefix=f"bench-{secrets.token_hex(3)}.")
            await stack.enter_async_context(topics_deleted(kafka))
            topic = await topics.create(kafka, "bare", 6)
            arguments += [servers, topic, topic]
        process = await stack.enter_async_context(python(*arguments, environ={**in_build(THIS_BUILD), **environ}))
        assert process.stdout is not None
        return json.loads(await process.stdout.readline())


async def compare(quick: bool) -> _command.Result:
    count = 20_000
    async with kafka_broker(say=_command.say) as broker:
        for what in sys.stdin.read().split():
            kind, *rest = what.split(",")
            if kind == "double":
                print(kind, await bare(None, count))
            if kind == "bare":
                print(kind, await bare(broker.bootstrap_servers, count))
            if kind == "ours":
                print(
                    what, await stage(THIS_BUILD, broker.bootstrap_servers, int(rest[0]), int(rest[1]), float(rest[2]))
                )
            if kind == "earlier":
                with earlier_build() as build:
                    print(
                        what, await stage(build, broker.bootstrap_servers, int(rest[0]), int(rest[1]), float(rest[2]))
                    )
    return _command.Result({}, Table(), [])


if __name__ == "__main__":
    _command.main(__doc__, lambda quick: asyncio.run(compare(quick)))
