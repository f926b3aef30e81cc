"""Measures what waiting invitations cost those that are due now, and how much memory they take.

Claim: with 200,000 invitations that wait, an invitation that is due now reaches Pisano within 2 times the p99 of an
empty queue, and each waiting one takes less than 150 bytes of memory. With --quick 20,000 wait, and the memory is not
claimed: what reading itself takes weighs more than they do. The script writes the waiting
invitations to `pisano.waiting`, starts the stage `send` in this process against a real broker (KAFKA_BOOTSTRAP_SERVERS,
or one that the script starts) and our double of Pisano, and then publishes invitations that are due at a gentle rate.
The memory is measured in a process of its own, which reads the waiting invitations back and does nothing else.
"""

import asyncio
import json
import secrets
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any

import _command
from _topics import topics_deleted
from aiokafka import AIOKafkaProducer
from helpers import topics
from helpers.invitations import CAMPAIGN, KEYS, as_records, invitation
from helpers.service import Setup, running_app, set_up
from helpers.waiting import until
from rich.table import Table

from connector.kafka.inbound import InRecord
from connector.kafka.parking import partition_count
from connector.kafka.shared_work import partition_of
from connector.kafka.waiting import WAITING, Waiting
from connector.records import Invitation, Protection
from connector.sandbox.broker import kafka_broker
from connector.sandbox.doubles.pisano import PisanoDouble

LONGEST_P99, MOST_BYTES = 2.0, 150.0
LOADS = {"quick": (20_000, 60), "full": (200_000, 600)}  # waiting invitations, and invitations that are due
RATE = 10.0  # invitations that are due per second: each has its call, which takes a twentieth of one
STARTED_WITHIN = 300.0  # seconds to read the waiting ones back
BATCH = 512 * 1024  # bytes

_ACCOUNT: dict[str, Any] = {"limits": ["100000/1s"], "limit_padding": 0, "max_recipients_per_call": 1}
_READER = """
import asyncio, gc, json, sys
from connector.config import Kafka
from connector.kafka.waiting import Waiting

def memory():
    gc.collect()
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) * 1024

async def read(kafka, partition):
    await Waiting(kafka, "nobody", partition).read(lambda _: False, lambda *_: None)  # what reading itself keeps
    waiting, before = Waiting(kafka, "main", partition), memory()
    await waiting.read(lambda _: False, lambda *_: None)
    return {"bytes": memory() - before, "waiting": waiting.agenda.count("closed-case")}

servers, prefix, partition = sys.argv[1:]
print(json.dumps(asyncio.run(read(Kafka(bootstrap_servers=servers, topic_prefix=prefix), int(partition)))))
"""


async def _fill(setup: Setup, partition: int, count: int) -> None:
    """Writes invitations that are due in a month."""
    due = datetime.now(UTC) + timedelta(days=30)
    waiting = Waiting(setup.kafka, "main", partition)
    producer = AIOKafkaProducer(bootstrap_servers=setup.kafka.bootstrap_servers, max_batch_size=BATCH)
    await producer.start()
    try:
        batch, sent = producer.create_batch(), list[Any]()
        for number in range(count):
            one = invitation(number, protection=Protection(not_before=due))
            (record,) = as_records(setup.kafka, [one])
            was = InRecord(record.topic, partition, number, record.key, record.value, tuple(record.headers), 0.0)
            out = waiting.record(was, one, due)
            fields = {"key": out.key, "value": out.value, "headers": out.headers, "timestamp": None}
            if batch.append(**fields) is None:  # full
                sent.append(await producer.send_batch(batch, out.topic, partition=partition))
                batch = producer.create_batch()
                batch.append(**fields)
                await asyncio.sleep(0)
        sent.append(await producer.send_batch(batch, setup.kafka.topic_prefix + WAITING, partition=partition))
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def _due_now(setup: Setup, pisano: PisanoDouble, first: int, count: int) -> tuple[float, list[float]]:
    """The seconds until the first invitation arrives at Pisano after the start, and those that each later one takes."""
    began = time.monotonic()
    async with running_app(setup.config, ["send"]):
        await _publish(setup, invitation(first))
        await until(lambda: pisano.emails(f"customer-{first}@example.com"), STARTED_WITHIN)
        ready = time.monotonic() - began
        published: dict[str, float] = {}
        for number in range(first + 1, first + 1 + count):
            published[f"customer-{number}@example.com"] = time.monotonic()
            await _publish(setup, invitation(number))
            await asyncio.sleep(1 / RATE)
        await until(lambda: {email.address for email in pisano.emails()} >= published.keys())
    arrived = {email.address: pisano.calls[email.call].at for email in pisano.emails()}
    return ready, [arrived[address] - at for address, at in published.items()]


async def _publish(setup: Setup, one: Invitation) -> None:
    await topics.publish(setup.kafka, as_records(setup.kafka, [one]))


async def _memory(setup: Setup, partition: int) -> dict[str, float]:
    arguments = [setup.kafka.bootstrap_servers, setup.kafka.topic_prefix, str(partition)]
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _READER, *arguments],
        stdout=subprocess.PIPE,
        timeout=STARTED_WITHIN,
        check=True,
    )
    found: dict[str, float] = json.loads(ended.stdout)
    return found


async def measure(quick: bool) -> _command.Result:
    parked, due = LOADS["quick" if quick else "full"]
    async with (
        kafka_broker(say=_command.say) as broker,
        PisanoDouble(clock=time.monotonic, windows=((1_000_000, 1.0),)) as pisano,
    ):
        pisano.add_campaign(CAMPAIGN, KEYS)
        with tempfile.TemporaryDirectory() as folder:
            prefix = f"bench-{secrets.token_hex(3)}."
            setup = await set_up(Path(folder), broker.bootstrap_servers, prefix, pisano=pisano, account=_ACCOUNT)
            async with topics_deleted(setup.kafka):
                count = await partition_count(setup.kafka, prefix + WAITING)
                partition = partition_of("main", count)
                _command.say("an empty queue …")
                ready, empty = await _due_now(setup, pisano, parked, due)
                _command.say(f"writing {parked:,} waiting invitations …")
                await _fill(setup, partition, parked)
                _command.say(f"{parked:,} wait …")
                ready_beside, beside = await _due_now(setup, pisano, parked + due + 1, due)
                memory = await _memory(setup, partition)
    figures = {
        "name": "waiting",
        "waiting": memory["waiting"],
        "bytes_each": memory["bytes"] / parked,
        "first_call_seconds": ready,
        "first_call_seconds_beside": ready_beside,
        "p50_ms": _quantile(empty, 50),
        "p50_ms_beside": _quantile(beside, 50),
        "p99_ms": _quantile(empty, 99),
        "p99_ms_beside": _quantile(beside, 99),
    }
    figures["p99_ratio"] = figures["p99_ms_beside"] / figures["p99_ms"]
    return _command.Result(figures, _table(figures), list(_contradictions(figures, parked)))


def _quantile(seconds: list[float], percent: int) -> float:
    return quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1e3


def _contradictions(figures: dict[str, Any], parked: int) -> list[str]:
    found = []
    if figures["waiting"] != parked:
        found.append(f"{figures['waiting']:,} of {parked:,} invitations wait")
    if figures["p99_ratio"] > LONGEST_P99:
        found.append(f"the p99 of one that is due now is {figures['p99_ratio']:.2f} times that of an empty queue")
    if figures["bytes_each"] >= MOST_BYTES and parked == LOADS["full"][0]:
        found.append(f"a waiting invitation takes {figures['bytes_each']:.0f} bytes")
    return found


def _table(figures: dict[str, Any]) -> Table:
    table = Table("", "empty queue", f"{figures['waiting']:,} wait", "ratio")
    for name in ("p50_ms", "p99_ms"):
        before, beside = figures[name], figures[f"{name}_beside"]
        table.add_row(f"{name[:3]} until the call", f"{before:.0f} ms", f"{beside:.0f} ms", f"{beside / before:.2f}")
    times = figures["first_call_seconds"], figures["first_call_seconds_beside"]
    table.add_row("first call after the start", f"{times[0]:.1f} s", f"{times[1]:.1f} s", f"{times[1] / times[0]:.2f}")
    table.add_row("memory of each", "", f"{figures['bytes_each']:.0f} bytes", "")
    return table


if __name__ == "__main__":
    _command.main(__doc__ or "", lambda quick: asyncio.run(measure(quick)))
