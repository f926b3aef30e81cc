"""Measures the CPU time that each stage takes for 1,000 records, beside the earlier build.

Claims: capture and receive take at most a third of the earlier build's.

The stage runs as its own process on a real broker (KAFKA_BOOTSTRAP_SERVERS, or one that the script starts), at the same
time as the earlier build, so that a busy machine slows both. The median of each counts. `capture.py` and `intake.py`
say how capture and receive run. For the others a first part of the records waits on their topic. The time counts from
when that is committed until the rest, which comes then as fast as this process can write, is committed too. Trigger
reads a contact for each record, send puts 50 customers in a call, and write stores full records; Salesforce and Pisano
are stand-ins in other processes. The index came after the earlier build.
"""

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import _command
import intake
from _builds import THIS_BUILD, connector, earlier_build, in_build
from _capture_runs import Load, throughput
from _feedback import RULES, answers
from _intake_peers import ours
from _processes import cpu_seconds, python
from _surveys import SURVEYS, for_both_builds
from _topics import topics_deleted
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from helpers.change_events import as_records, change
from helpers.invitations import as_records as invited
from helpers.invitations import invitation
from helpers.service import Setup, set_up
from rich.table import Table
from trigger import committed

from connector.config import Kafka
from connector.kafka.cloud_events import OutRecord
from connector.sandbox.broker import kafka_broker
from connector.sandbox.doubles.pisano import PisanoDouble

MOST = 1 / 3  # of the earlier build's CPU time
CLAIMED = ("capture", "receive")
_LATER_FIELDS = {"channel", "phone", "protection"}  # of an invitation; the earlier build takes no other than its own
_WITHIN = 120.0  # seconds for one part of the records
_LOOK = 0.1  # seconds
_HERE = Path(__file__).parent


def _changes(kafka: Kafka, count: int) -> list[OutRecord]:
    return as_records(
        kafka,
        (
            change(
                f"500{number:012d}AAA",
                {"Status": "Closed", "ContactId": f"003{number:012d}AAA", "Subject": "made up"},
                transaction_key=str(number),
            )
            for number in range(count)
        ),
    )


def _invitations(kafka: Kafka, count: int) -> list[OutRecord]:
    made = [invitation(number, created_at=datetime.now(UTC)) for number in range(count)]
    values = [each.model_dump_json(exclude=_LATER_FIELDS).encode() for each in made]
    return [replace(record, value=value) for record, value in zip(invited(kafka, made), values, strict=True)]


FED: dict[str, Callable[[Kafka, int], Sequence[OutRecord]]] = {
    "trigger": _changes,
    "send": _invitations,
    "write": answers,
    "index": answers,
}


@asynccontextmanager
async def _place(stage: str, servers: str) -> AsyncIterator[Setup]:
    """Topics of the stage's own, and what it talks to."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pisano = await stack.enter_async_context(PisanoDouble(windows=[(1_000_000, 1.0)]))
        org = "_slow_org.py" if stage == "write" else "_quick_org.py"
        salesforce = await stack.enter_async_context(python(_HERE / org))
        said = (await salesforce.stdout.readline()).decode().strip() if salesforce.stdout else ""
        here: Mapping[str, Any] = {"host": "127.0.0.1", "port": "${SERVICE_PORT}"}
        setup = await set_up(
            folder,
            servers,
            f"bench-{secrets.token_hex(3)}.",
            pisano=pisano,
            account={"max_recipients_per_call": 50, "limits": ["1000/1s"]},
            surveys=SURVEYS,
            feedback=RULES,
            service={**here, "index": str(folder / "index.sqlite")} if stage == "index" else here,
        )
        await stack.enter_async_context(topics_deleted(setup.kafka))
        for_both_builds(setup)
        text = setup.file.read_text()  # the default pace is for an org's own limits, and would only make us wait
        setup.file.write_text(text.replace("salesforce:\n", "salesforce:\n  calls_per_second: 1000\n", 1))
        address = said if said.startswith("http") else f"http://127.0.0.1:{said}"
        environ = {"SF_LOGIN_URL": address, "SF_CLIENT_ID": "made-up", "SF_CLIENT_SECRET": "made-up"}
        yield replace(setup, environ={**setup.environ, **environ})


async def fed(stage: str, servers: str, build: Path, count: int) -> float:
    """CPU seconds for 1,000 records of a stage that reads a topic."""
    async with _place(stage, servers) as setup, _producer(setup.kafka) as publish:
        first = count // 10
        records = FED[stage](setup.kafka, first + count)
        await publish(records[:first])
        arguments = connector("run", setup.file, "--stages", stage, "--log-level", "error")
        async with python(*arguments, environ={**setup.environ, **in_build(build)}) as process:
            group = f"{setup.kafka.topic_prefix}{stage}"
            await _reached(setup.kafka, group, first)
            before = cpu_seconds(process) or float("nan")
            await publish(records[first:])
            await _reached(setup.kafka, group, len(records))
            return ((cpu_seconds(process) or float("nan")) - before) / count * 1e3


@asynccontextmanager
async def _producer(kafka: Kafka) -> AsyncIterator[Callable[[Sequence[OutRecord]], Any]]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks=1, linger_ms=20)
    await producer.start()

    async def publish(records: Sequence[OutRecord]) -> None:
        for record in records:
            await producer.send(**record.arguments())
        await producer.flush()

    try:
        yield publish
    finally:
        await producer.stop()


async def _reached(kafka: Kafka, group: str, count: int) -> None:
    """Waits until the group has committed so many offsets."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    began = time.monotonic()
    try:
        while (found := await committed(admin, group)) < count:
            if time.monotonic() - began > _WITHIN:
                raise AssertionError(f"{group} has committed {found} of {count} records in {_WITHIN:g} s")
            await asyncio.sleep(_LOOK)
    finally:
        await admin.close()


async def _captured(servers: str, build: Path, count: int) -> float:
    return (await throughput(build, servers, Load(count)))["cpu_per_1000"]


async def _received(servers: str, build: Path, count: int) -> float:
    kafka = Kafka(bootstrap_servers=servers, topic_prefix=f"bench-{secrets.token_hex(3)}.")
    with tempfile.TemporaryDirectory() as folder:
        async with topics_deleted(kafka):
            setup = await intake.set_up_receive(Path(folder), kafka)
            return (await intake.measure(kafka, ours(setup, build), count))["cpu_s_per_1000"]


async def compare(quick: bool) -> _command.Result:
    rounds, share = (1, 1) if quick else (3, 5)
    found: dict[str, dict[str, float]] = {"ours": {}, "earlier": {}}
    async with kafka_broker(say=_command.say) as broker:
        with earlier_build() as earlier:
            for stage in ("capture", "trigger", "send", "receive", "write", "index"):
                builds = {"ours": THIS_BUILD} if stage == "index" or earlier is None else _both(earlier)
                runs: dict[str, list[float]] = {name: [] for name in builds}
                for number in range(rounds):
                    _command.say(f"{stage}: round {number + 1} of {rounds} …")
                    costs = [_cost(stage, broker.bootstrap_servers, build, share) for build in builds.values()]
                    for name, cost in zip(builds, await asyncio.gather(*costs), strict=True):
                        runs[name].append(cost)
                for name, each in runs.items():
                    found[name][stage] = median(each)
    ratios = {stage: found["ours"][stage] / cost for stage, cost in found["earlier"].items()}
    claims = [_claim(stage, ratios[stage]) for stage in CLAIMED if stage in ratios]
    broken = [f"{each['claim']}: {each['found']:.2f}" for each in claims if not (each["holds"] or quick)]
    return _command.Result({"name": "cost", **found, "ratios": ratios, "claims": claims}, _table(found), broken)


def _claim(stage: str, found: float) -> dict[str, Any]:
    return {
        "claim": f"{stage}: CPU time, of the earlier build's",
        "target": MOST,
        "found": found,
        "holds": found <= MOST,
    }


def _both(earlier: Path) -> dict[str, Path]:
    return {"ours": THIS_BUILD, "earlier": earlier}


async def _cost(stage: str, servers: str, build: Path, share: int) -> float:
    match stage:
        case "capture":
            return await _captured(servers, build, 9_000 * share)
        case "receive":
            return await _received(servers, build, 2_000 * share)
        case _:
            return await fed(stage, servers, build, 2_000 * share)


def _table(found: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table("", "ours", "earlier", "ours is", title="CPU seconds for 1,000 records")
    for stage, cost in found["ours"].items():
        earlier = found["earlier"].get(stage)
        others = ("", "") if earlier is None else (f"{earlier:.3f}", f"{cost / earlier:.2f} of it")
        table.add_row(stage, f"{cost:.3f}", *others)
    return table


if __name__ == "__main__":
    _command.main(__doc__, lambda quick: asyncio.run(compare(quick)))
