"""Measures how many webhooks a second receive takes: a 2xx only when Kafka has the record on all replicas.

Claims: at least as many as Bento 1.10, with a lower p99, and 3 times the earlier build. Two processes on one port take
1.7 times as many as one; on fewer than 4 cores the second one has no core of its own, and nothing is claimed.

The stage runs as its own process on a real broker (KAFKA_BOOTSTRAP_SERVERS, or one that the script starts). One program
sends it webhooks of 210 bytes over 64 connections with the secret. The same program sends the same webhooks to Bento
(Go; `peers/bento/`), to a bare aiohttp and aiokafka server, and to the earlier build. They take turns, and the median
of each counts. After each turn the script counts the records on the topic: there must be one for each 200.

The sender and the broker need cores too. Compare the ratios, and the CPU time that a server takes for 1,000 webhooks:
that of two processes should be that of one.
"""

import asyncio
import json
import os
import secrets
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any

import _command
from _builds import THIS_BUILD, earlier_build
from _intake_peers import PATH, Peer, bare, bento, built_bento, listens, ours
from _processes import cpu_seconds, program, python
from _surveys import SURVEYS, for_both_builds
from _topics import topics_deleted
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic
from helpers.service import WEBHOOK_SECRET, Setup, set_up
from rich.table import Table

from connector.config import Kafka
from connector.kafka.connection import admin_client
from connector.sandbox.broker import kafka_broker

CONNECTIONS = 64
LEAST_OF_EARLIER, LEAST_OF_BENTO, LEAST_OF_ONE = 3.0, 1.0, 1.7
_CORES = 4  # for the sender, the broker and two processes
_PARTITIONS = 6
_WARM_UP = 1_000  # webhooks
_SETTLE = 3.0  # seconds to connect to Kafka after the port is open
_HERE = Path(__file__).parent

Figures = dict[str, float]


async def measure(kafka: Kafka, peer: Peer, count: int) -> Figures:
    """Starts a peer and sends it `count` webhooks."""
    async with program(peer.program, *peer.arguments, environ=peer.environ) as process:
        await listens(peer.port)
        await asyncio.sleep(_SETTLE)
        await send(peer, _WARM_UP)
        stored, cpu = await _stored(kafka, peer.topic), cpu_seconds(process) or 0.0
        found = await send(peer, count)
        found["cpu_s_per_1000"] = ((cpu_seconds(process) or 0.0) - cpu) / count * 1000
        missing = count - found.pop("not_taken") - (await _stored(kafka, peer.topic) - stored)
        if missing:
            raise AssertionError(f"{missing:g} webhooks were answered with a 200 and are not on {peer.topic}")
    return found


async def send(peer: Peer, count: int) -> Figures:
    load = {"address": f"http://127.0.0.1:{peer.port}", "path": PATH, "secret": WEBHOOK_SECRET, "count": count}
    async with python(_HERE / "_webhooks.py", json.dumps({**load, "connections": CONNECTIONS})) as sender:
        output, _ = await sender.communicate()
    return dict(json.loads(output))


async def _stored(kafka: Kafka, topic: str) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(topic, number) for number in range(_PARTITIONS)])
        return int(sum(ends.values()))
    finally:
        await consumer.stop()


async def _topic(kafka: Kafka, name: str) -> str:
    async with admin_client(kafka) as admin:
        await admin.create_topics([NewTopic(kafka.topic_prefix + name, _PARTITIONS, 1)])
    return kafka.topic_prefix + name


async def compare(quick: bool) -> _command.Result:
    count, rounds = (5_000, 1) if quick else (30_000, 3)
    runs: dict[str, list[Figures]] = {}
    async with AsyncExitStack() as stack:
        earlier = stack.enter_context(earlier_build())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = await stack.enter_async_context(kafka_broker(say=_command.say))
        prefix = f"bench-{secrets.token_hex(3)}."
        kafka = Kafka(bootstrap_servers=broker.bootstrap_servers, topic_prefix=prefix)
        await stack.enter_async_context(topics_deleted(kafka))
        setup = await set_up_receive(folder, kafka)
        peers = {"ours": ours(setup, THIS_BUILD), "two": ours(setup, THIS_BUILD, "--processes", "2")}
        peers["floor"] = bare(kafka.bootstrap_servers, await _topic(kafka, "bare"))
        if earlier:
            peers["earlier"] = ours(setup, earlier)
        if go := built_bento(folder, 100.0 if quick else 600.0):  # the first build fetches 300 modules
            peers["bento"] = bento(go, kafka.bootstrap_servers, await _topic(kafka, "bento"))
        for number in range(rounds):
            for name, peer in peers.items():
                _command.say(f"round {number + 1} of {rounds}: {name}, {count} webhooks …")
                runs.setdefault(name, []).append(await measure(kafka, peer, count))
    found: dict[str, Figures] = {name: _medians(each) for name, each in runs.items()}
    ratios = {
        f"{what}_of_{name}": found["ours"][key] / figures[key]
        for name, figures in found.items()
        if name != "ours"
        for what, key in (("speed", "per_second"), ("p99", "p99_ms"), ("cpu", "cpu_s_per_1000"))
    }
    ratios["two_to_one"] = found["two"]["per_second"] / found["ours"]["per_second"]
    claims = _claims(ratios)
    figures: dict[str, Any] = {"name": "intake", "webhooks": count, **found, "ratios": ratios, "claims": claims}
    broken = [] if quick else [f"{claim['claim']}: {claim['found']}" for claim in claims if not claim["holds"]]
    return _command.Result(figures, _table(found, count), broken)


async def set_up_receive(folder: Path, kafka: Kafka) -> Setup:
    """A configuration that both builds read."""
    spool = folder / "spool"
    spool.mkdir()
    service = {"host": "127.0.0.1", "port": "${SERVICE_PORT}", "spool": {"folder": str(spool)}}
    setup = await set_up(folder, kafka.bootstrap_servers, kafka.topic_prefix, surveys=SURVEYS, service=service)
    for_both_builds(setup)
    return setup


def _medians(each: list[Figures]) -> Figures:
    return {name: median(one[name] for one in each) for name in each[0]}


def _claims(ratios: Figures) -> list[dict[str, Any]]:
    wanted = {
        "speed_of_bento": ("times the webhooks of Bento", LEAST_OF_BENTO, 1),
        "p99_of_bento": ("p99 to Bento's at most", 1.0, -1),
        "speed_of_earlier": ("times the earlier build", LEAST_OF_EARLIER, 1),
    }
    if (os.cpu_count() or 1) >= _CORES:
        wanted["two_to_one"] = ("two processes take times the webhooks of one", LEAST_OF_ONE, 1)
    return [
        {
            "claim": claim,
            "target": target,
            "found": round(ratios[name], 2),
            "holds": sign * (ratios[name] - target) >= 0,
        }
        for name, (claim, target, sign) in wanted.items()
        if name in ratios
    ]


def _table(found: dict[str, Figures], count: int) -> Table:
    caption = f"{count} webhooks over {CONNECTIONS} connections"
    table = Table(
        "", "webhooks/s", "p50", "p99", "CPU s/1,000", "ours is", title="Webhooks into Kafka", caption=caption
    )
    for name, figures in found.items():
        table.add_row(
            name,
            f"{figures['per_second']:,.0f}",
            f"{figures['p50_ms']:.1f} ms",
            f"{figures['p99_ms']:.1f} ms",
            f"{figures['cpu_s_per_1000']:.3f}",
            "" if name == "ours" else f"{found['ours']['per_second'] / figures['per_second']:.2f} of it",
        )
    return table


if __name__ == "__main__":
    _command.main(__doc__, lambda quick: asyncio.run(compare(quick)))
