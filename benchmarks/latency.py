"""Measures the time from a change in Salesforce until the resulting call arrives at Pisano, hop by hop.

`connector run` runs all stages as its own process against both doubles, which are in this process, and a real broker
(KAFKA_BOOTSTRAP_SERVERS, or one that the script starts). For each change it stores an event from the Pub/Sub API in a
transaction, reads the record and looks two others up over REST, writes an attempt to the ledger, and makes the call.
The script closes cases at a gentle rate and raises the limits so that no call waits for its permit. The hops come from
the times of the records on the topics.

In turns with it and at the same rate, the script also measures three Faust agents that only pass records on from topic
to topic. That is about the least time that three stages on Kafka can take.

Claims: p50 at most twice that of the bare hops, and p99 below 100 ms.
"""

import asyncio
import random
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any, TypeVar

import _command
import orjson
from _bare_faust import bare_app
from _builds import connector
from _processes import python
from _topics import topics_deleted
from aiokafka import AIOKafkaProducer
from helpers import topics
from helpers.invitations import CAMPAIGN, KEYS
from helpers.service import set_up
from helpers.waiting import until
from rich.table import Table

from connector.config import Kafka
from connector.records import ChangeEvent, Invitation, read
from connector.sandbox.broker import kafka_broker
from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble

T = TypeVar("T")

MOST_OF_FLOOR, P99 = 2.0, 100.0  # times; ms
RATE = 5.0  # changes per second on average; a call and its two transactions take about a tenth of one
HOPS = 3
ROUNDS = 3  # of both, in turns: a machine is not equally busy all the time
STEPS = (
    "change → change event written",
    "→ committed, read, looked up, invitation written",
    "→ read, attempt written",
    "→ committed, call arrived",
)

_UNLIMITED = 1_000_000  # calls per second: far more than this benchmark makes
_UNPACED = f"salesforce:\n  calls_per_second: {_UNLIMITED}\n"


async def bare_hops(kafka: Kafka, count: int) -> list[float]:
    """Returns the seconds that each record takes through three agents."""
    names = [await topics.create(kafka, f"hop-{number}") for number in range(HOPS)]
    arrived: dict[bytes, float] = {}

    async def arrive(value: bytes) -> None:
        arrived[value] = time.monotonic()

    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all")
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for name, following in zip(names, [*names[1:], None], strict=True):
            await stack.enter_async_context(_hop(kafka, name, following, arrive, folder))
        await producer.start()
        stack.push_async_callback(producer.stop)
        await producer.send(names[0], b"first")
        await until(lambda: arrived)
        values = [b"%d" % number for number in range(count)]
        began = await _gently(values, lambda value: producer.send(names[0], value))
        await until(lambda: arrived.keys() >= began.keys())
    return [arrived[value] - moment for value, moment in began.items()]


@asynccontextmanager
async def _hop(
    kafka: Kafka, name: str, following: str | None, arrive: Callable[[bytes], Awaitable[None]], folder: str
) -> AsyncIterator[None]:
    """An agent in its own app that passes each record on to the next topic, or to `arrive`."""
    app = bare_app(f"{name}-agent", kafka.bootstrap_servers, folder)
    target = app.topic(following, value_serializer="raw") if following else None

    async def pass_on(stream: Any) -> None:
        async for value in stream:
            await (target.send(value=value) if target else arrive(value))

    app.agent(app.topic(name, value_type=bytes, value_serializer="raw"))(pass_on)
    app.finalize()
    await app.start()
    try:
        yield
    finally:
        await app.stop()


async def whole_connector(kafka: Kafka, count: int) -> dict[str, list[float]]:
    """Returns for each hop, and for `all`, the seconds that each change took."""
    async with (
        SalesforceDouble() as salesforce,
        PisanoDouble(clock=time.monotonic, windows=[(_UNLIMITED, 1.0)]) as pisano,
    ):
        pisano.add_campaign(CAMPAIGN, KEYS)
        first, *cases = [_open_case(salesforce, number) for number in range(1 + count)]
        with tempfile.TemporaryDirectory() as folder:
            setup = await set_up(
                Path(folder),
                kafka.bootstrap_servers,
                kafka.topic_prefix,
                salesforce=salesforce,
                pisano=pisano,
                account={"limits": [f"{_UNLIMITED}/1s"]},
            )
            setup.file.write_text(setup.file.read_text().replace("salesforce:\n", _UNPACED, 1))
            async with python(*connector("run", setup.file, "--log-level", "error"), environ=setup.environ):
                await until(lambda: salesforce.streams)
                await _close(salesforce, first)  # a warm-up: it fetches tokens, schemas and the ledger
                await until(pisano.emails)
                began = await _gently(cases, lambda case: _close(salesforce, case))
                await until(lambda: len(pisano.emails()) > count)
        arrived = {email.built_in_responses["sf_ref_id"]: pisano.calls[email.call].at for email in pisano.emails()}
    written = await _written(kafka)
    return _hops([(moment, *written[case], arrived[case]) for case, moment in began.items()])


async def _written(kafka: Kafka) -> dict[str, tuple[float, ...]]:
    """By case, when its change event, its invitation and its attempt were written, by the clock of `time.monotonic`.

    Kafka counts whole milliseconds.
    """
    ahead = time.time() - time.monotonic()
    found: dict[str, list[float]] = {}
    cases: dict[str, str] = {}  # by invitation
    for record in await topics.read(kafka, "salesforce.cdc.Case"):
        change = read(ChangeEvent, record.value)
        if change.change_type == "UPDATE":
            found[change.record_id] = [record.timestamp / 1e3 - ahead]
    for record in await topics.read(kafka, "pisano.invitations"):
        invitation = read(Invitation, record.value)
        cases[invitation.id] = invitation.record_id
        found[invitation.record_id].append(record.timestamp / 1e3 - ahead)
    for record in await topics.read(kafka, "pisano.attempts"):
        value = orjson.loads(record.value)
        if value["kind"] == "attempt" and value["state"] == "begun":
            for invitation_id in value["invitations"]:
                found[cases[invitation_id]].append(record.timestamp / 1e3 - ahead)
    return {case: tuple(moments) for case, moments in found.items()}


def _hops(moments: Sequence[tuple[float, ...]]) -> dict[str, list[float]]:
    """The seconds between two moments of each change, and from the first to the last."""
    hops = {name: [line[at + 1] - line[at] for line in moments] for at, name in enumerate(STEPS)}
    return {**hops, "all": [line[-1] - line[0] for line in moments]}


def _open_case(salesforce: SalesforceDouble, number: int) -> str:
    contact = {"FirstName": "Customer", "LastName": f"{number}", "Email": f"customer-{number}@example.com"}
    return salesforce.create("Case", {"ContactId": salesforce.create("Contact", contact), "Branch__c": "Ankara"})


async def _close(salesforce: SalesforceDouble, case: str) -> None:
    salesforce.update("Case", case, {"Status": "Closed"})


async def _gently(items: Iterable[T], begin: Callable[[T], Awaitable[object]]) -> dict[T, float]:
    """Begins the items one by one and returns when each began. The gaps vary, so that they match no timer's period."""
    began = {}
    for item in items:
        await asyncio.sleep(random.uniform(0.5, 1.5) / RATE)
        began[item] = time.monotonic()
        await begin(item)
    return began


async def compare(quick: bool) -> _command.Result:
    rounds, count = (1, 40) if quick else (ROUNDS, 300 // ROUNDS)
    hops, bare = dict[str, list[float]](), list[float]()
    async with kafka_broker(say=_command.say) as broker:
        for number in range(rounds):
            kafka = Kafka(bootstrap_servers=broker.bootstrap_servers, topic_prefix=f"bench-{secrets.token_hex(3)}.")
            async with topics_deleted(kafka):
                _command.say(f"round {number + 1}: connector, {count} changes, {RATE:g} a second …")
                for name, seconds in (await whole_connector(kafka, count)).items():
                    hops.setdefault(name, []).extend(seconds)
                _command.say(f"round {number + 1}: bare Faust hops, {count} records, {RATE:g} a second …")
                bare += await bare_hops(kafka, count)
    count *= rounds
    floor = _milliseconds(bare)
    found = {name: _milliseconds(seconds) for name, seconds in hops.items()}
    whole = found.pop("all")
    ratios = {"p50": whole["p50_ms"] / floor["p50_ms"], "p99": whole["p99_ms"] / floor["p99_ms"]}
    claims = [
        _claim("p50 to the bare hops' at most", MOST_OF_FLOOR, ratios["p50"]),
        _claim("p99 below (ms)", P99, whole["p99_ms"]),
    ]
    figures = {"name": "latency", "changes": count, "per_second": RATE, "broker": broker.way, "hops": found}
    figures |= {"connector": whole, "bare_faust_hops": floor, "ratios": ratios, "claims": claims}
    broken = [] if quick else [f"{claim['claim']}: {claim['found']}" for claim in claims if not claim["holds"]]
    return _command.Result(
        figures, _table({**found, "connector": whole, "bare Faust hops": floor}, ratios, count), broken
    )


def _claim(claim: str, target: float, found: float) -> dict[str, Any]:
    return {"claim": claim, "target": target, "found": round(found, 2), "holds": found <= target}


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    percentiles = quantiles(seconds, n=100, method="inclusive")
    return {"p50_ms": percentiles[49] * 1e3, "p99_ms": percentiles[98] * 1e3}


def _table(found: dict[str, dict[str, float]], ratios: dict[str, float], count: int) -> Table:
    table = Table("", "p50", "p99", title="From a change to its call", caption=f"{count} changes, {RATE:g} a second")
    for name, figures in found.items():
        table.add_row(name, *(f"{value:.1f} ms" for value in figures.values()))
    table.add_row("ratio", *(f"{ratio:.1f}" for ratio in ratios.values()))
    return table


if __name__ == "__main__":
    _command.main(__doc__, lambda quick: asyncio.run(compare(quick)))
