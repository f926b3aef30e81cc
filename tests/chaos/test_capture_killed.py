"""capture is killed, frozen and cut off from Kafka under load: nothing is lost, and nothing is captured twice."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from helpers import topics
from helpers.captured import CASE_TOPIC, events
from helpers.service import Process, Setup, running_app, set_up
from helpers.waiting import until

from connector.kafka import connection
from connector.sandbox.broker import LocalBroker, kafka_broker
from connector.sandbox.doubles.salesforce import SalesforceDouble

CHANNELS = ["/data/CaseChangeEvent", "/data/ContactChangeEvent"]
EARLIEST = {"start": "earliest"}


@pytest.fixture
async def sf() -> AsyncIterator[SalesforceDouble]:
    async with SalesforceDouble() as double:
        yield double


@asynccontextmanager
async def users(sf: SalesforceDouble) -> AsyncIterator[None]:
    """Agents who open cases and change them, until the block ends."""

    async def work() -> None:
        while True:
            case = sf.create("Case", {"Subject": "new"})
            sf.create("Contact", {"LastName": "Doe"})
            for status in ("Working", "Escalated", "Closed"):
                sf.update("Case", case, {"Status": status})
            await asyncio.sleep(random.random() / 10)

    working = asyncio.create_task(work())
    try:
        yield
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


async def is_captured_once(sf: SalesforceDouble, setup: Setup) -> bool:
    """Whether each event is on its topic. Fails if one is there twice or the events of a record are out of order."""
    found = [await events(setup.kafka, f"salesforce.cdc.{entity}") for entity in ("Case", "Contact")]
    counts = Counter(event.replay_id for events in found for event in events)
    assert set(counts.values()) <= {1}
    assert counts.keys() <= {entry.replay_id.hex() for entry in sf.log.entries}
    for record_id in {event.record_id for event in found[0]}:
        replay_ids = [event.replay_id for event in found[0] if event.record_id == record_id]
        assert replay_ids == sorted(replay_ids)
    return len(counts) == sum(entry.schema is not None for entry in sf.log.entries)


async def has_captured_more(setup: Setup, count: int = 100) -> None:
    """Waits until `count` more changes of cases are captured."""
    so_far = len(await topics.read(setup.kafka, CASE_TOPIC))

    async def more() -> bool:
        return len(await topics.read(setup.kafka, CASE_TOPIC)) > so_far + count

    await until(more)


async def test_killed_again_and_again_under_load(
    sf: SalesforceDouble, tmp_path: Path, bootstrap_servers: str, unique: str
) -> None:
    setup = await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, channels=CHANNELS, pubsub=EARLIEST)
    async with users(sf):
        for _ in range(2):
            process = Process(setup, "capture", tmp_path / "log")
            await has_captured_more(setup)
            process.kill()
    process = Process(setup, "capture", tmp_path / "log of the last one")
    await until(lambda: "stage_started" in process.said())  # there may be nothing left for it to capture
    await until(lambda: is_captured_once(sf, setup))
    assert await process.drain() == 0, process.said()


async def test_frozen_worker_is_replaced_and_writes_nothing_when_it_thaws(
    sf: SalesforceDouble, tmp_path: Path, bootstrap_servers: str, unique: str
) -> None:
    """The worker does not know that it was replaced: Kafka refuses its transaction, and it asks for its share again."""
    setup = await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, channels=CHANNELS, pubsub=EARLIEST)
    frozen = Process(setup, "capture", tmp_path / "frozen")
    async with users(sf):
        await has_captured_more(setup)
        frozen.freeze()
        other = Process(setup, "capture", tmp_path / "other")
        await has_captured_more(setup)
        frozen.thaw()
        await has_captured_more(setup)
    await until(lambda: is_captured_once(sf, setup))
    assert frozen.runs
    assert await other.drain() == 0, other.said()
    sf.create("Case", {})
    await until(lambda: is_captured_once(sf, setup))
    assert await frozen.drain() == 0, frozen.said()


async def test_kafka_that_is_killed_under_load_and_comes_back(
    sf: SalesforceDouble, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first time the worker waits until it knows how its transaction ended; the second time it has to give up."""
    async with kafka_broker("local") as broker:
        assert isinstance(broker, LocalBroker)
        setup = await set_up(
            tmp_path, broker.bootstrap_servers, unique, salesforce=sf, channels=CHANNELS, pubsub=EARLIEST
        )
        guarded = topics.unless_kafka_loses_a_mark(setup.kafka, CASE_TOPIC, "salesforce.positions")
        async with guarded, running_app(setup.config, ["capture"]) as app:
            async with users(sf):
                for patience in (40.0, 1.5):  # a killed broker needs at least 3 s to come back
                    monkeypatch.setattr(connection, "_TRANSACTION_WITHIN", patience)
                    await has_captured_more(setup)
                    broker.kill()
                    await broker.start()
                monkeypatch.undo()
                await has_captured_more(setup)
            await until(lambda: is_captured_once(sf, setup))
            assert await app.ready() == {"capture": True}
