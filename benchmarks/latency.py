"""Measures the time from a change in Salesforce until the resulting call arrives at Pisano.

The whole connector runs in this process against both doubles and a real broker (KAFKA_BOOTSTRAP_SERVERS, or one that
the script starts). For each change it stores an event from the Pub/Sub API in a transaction, looks up a record over
REST, writes an attempt to the ledger, and makes the call. The script closes cases at a gentle rate and raises the
limits so that no call waits for its permit.

In the same run and at the same rate, the script also measures three Faust agents that only pass records on from topic
to topic. That is about the least time that three stages on Kafka can take. The ratio compares the connector with it.
"""

import asyncio
import random
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any, TypeVar

import _command
from _bare_faust import bare_app
from _topics import topics_deleted
from aiokafka import AIOKafkaProducer
from helpers import topics
from helpers.invitations import CAMPAIGN, KEYS
from helpers.service import running_app, set_up
from helpers.waiting import until
from rich.table import Table

from connector.config import Config, Kafka
from connector.sandbox.broker import kafka_broker
from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble

T = TypeVar("T")

RATE = 5.0  # changes per second on average; a call and its two transactions take about a tenth of one
HOPS = 3

_UNLIMITED = 1_000_000  # calls per second: far more than this benchmark makes


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


async def whole_connector(kafka: Kafka, count: int) -> list[float]:
    """Returns the seconds from the change of each case until its call arrives at Pisano."""
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
        async with running_app(_without_pacing(setup.config)):
            await until(lambda: salesforce.streams)
            await _close(salesforce, first)  # a warm-up: it fetches tokens, schemas and the ledger
            await until(pisano.emails)
            began = await _gently(cases, lambda case: _close(salesforce, case))
            await until(lambda: len(pisano.emails()) > count)
        arrived = {email.built_in_responses["sf_ref_id"]: pisano.calls[email.call].at for email in pisano.emails()}
    return [arrived[case] - moment for case, moment in began.items()]


def _open_case(salesforce: SalesforceDouble, number: int) -> str:
    contact = {"FirstName": "Customer", "LastName": f"{number}", "Email": f"customer-{number}@example.com"}
    return salesforce.create("Case", {"ContactId": salesforce.create("Contact", contact), "Branch__c": "Ankara"})


async def _close(salesforce: SalesforceDouble, case: str) -> None:
    salesforce.update("Case", case, {"Status": "Closed"})


def _without_pacing(config: Config) -> Config:
    salesforce = config.salesforce.model_copy(update={"calls_per_second": float(_UNLIMITED)})
    return config.model_copy(update={"salesforce": salesforce})


async def _gently(items: Iterable[T], begin: Callable[[T], Awaitable[object]]) -> dict[T, float]:
    """Begins the items one by one and returns when each began. The gaps vary, so that they match no timer's period."""
    began = {}
    for item in items:
        await asyncio.sleep(random.uniform(0.5, 1.5) / RATE)
        began[item] = time.monotonic()
        await begin(item)
    return began


async def compare(quick: bool) -> _command.Result:
    count = 40 if quick else 300
    async with kafka_broker(say=_command.say) as broker:
        kafka = Kafka(bootstrap_servers=broker.bootstrap_servers, topic_prefix=f"bench-{secrets.token_hex(3)}.")
        async with topics_deleted(kafka):
            found = {}
            for name, measure in (("connector", whole_connector), ("bare_faust_hops", bare_hops)):
                _command.say(f"{name}: {count} changes, {RATE:g} a second …")
                found[name] = _milliseconds(await measure(kafka, count))
    whole, floor = found["connector"], found["bare_faust_hops"]
    ratios = {"p50": whole["p50_ms"] / floor["p50_ms"], "p99": whole["p99_ms"] / floor["p99_ms"]}
    settings = {"changes": count, "per_second": RATE, "broker": broker.way}
    return _command.Result({**settings, **found, "ratios": ratios}, _table(found, ratios, count), [])


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    percentiles = quantiles(seconds, n=100, method="inclusive")
    return {"p50_ms": percentiles[49] * 1e3, "p99_ms": percentiles[98] * 1e3}


def _table(found: dict[str, dict[str, float]], ratios: dict[str, float], count: int) -> Table:
    table = Table("", "p50", "p99", title="From a change to its call", caption=f"{count} changes, {RATE:g} a second")
    for name, figures in found.items():
        table.add_row(name.replace("_", " "), *(f"{value:.1f} ms" for value in figures.values()))
    table.add_row("ratio", *(f"{ratio:.1f}" for ratio in ratios.values()))
    return table


if __name__ == "__main__":
    _command.main(__doc__, lambda quick: asyncio.run(compare(quick)))
