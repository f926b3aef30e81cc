"""send under kill -9, SIGSTOP, SIGTERM and broker restarts: one outcome per invitation, nobody gets two e-mails."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from helpers import topics
from helpers.invitations import CAMPAIGN, KEYS, as_records, invitation, outcomes
from helpers.service import Setup, Workers, running_app, set_up
from helpers.waiting import PATIENCE, until

from connector.sandbox.broker import LocalBroker, kafka_broker
from connector.sandbox.doubles.pisano import Fault, PisanoDouble

WIDE = ((10_000, 5.0),)
AT_ONCE: dict[str, Any] = {"limits": ["10000/5s"], "limit_padding": 0}
MANY = 60


@pytest.fixture
async def pisano() -> AsyncIterator[PisanoDouble]:
    """A double that answers a little late, so that a test can kill the worker during a call."""
    async with PisanoDouble(windows=WIDE) as double:
        double.add_campaign(CAMPAIGN, KEYS)
        double.configure(invitation_key="sf_ref_id")
        double.fail(Fault(times=10_000, calls="email_sharings", sent=True, delay=0.02))
        yield double


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble) -> Setup:
    return await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, account=AT_ONCE)


@pytest.fixture
def workers(tmp_path: Path, setup: Setup) -> Iterator[Workers]:
    with Workers(setup, "send", tmp_path / "log") as workers:
        yield workers


async def publish_many(setup: Setup) -> None:
    await topics.publish(setup.kafka, as_records(setup.kafka, (invitation(number) for number in range(MANY))))


async def all_settled(setup: Setup, pisano: PisanoDouble) -> list[str]:
    """The outcome of each invitation, in order; fails if one has two outcomes or if a customer got two e-mails."""

    async def all_there() -> bool:
        return len(await outcomes(setup.kafka)) == MANY

    await until(all_there, 2 * PATIENCE)
    found = await outcomes(setup.kafka)
    assert [counts for counts in found.values() if counts.total() != 1] == []
    assert pisano.second_emails() == []
    return [next(iter(found[invitation(number).id])) for number in range(MANY)]


async def test_kill_9_in_mid_flight_loses_nothing_and_sends_nothing_twice(
    setup: Setup, pisano: PisanoDouble, workers: Workers
) -> None:
    """A call under way at the kill is held for a person; all others are sent. The kill may hit a call or a commit."""
    await publish_many(setup)
    kills = 2
    for _ in range(kills):
        worker, before = workers.start(), len(pisano.calls)
        await until(lambda before=before: len(pisano.calls) > before + 4)
        await asyncio.sleep(random.random() / 20)
        worker.kill()
    workers.start()
    ended = await all_settled(setup, pisano)
    held = ended.count("unknown")
    assert ended.count("sent") == MANY - held
    assert held <= kills
    letters = await topics.read(setup.kafka, "connector.deadletters")
    assert [dict(letter.headers)["dl_reason"] for letter in letters] == [b"unknown"] * held


async def test_a_frozen_worker_that_wakes_up_sends_nothing_that_its_successor_sent(
    setup: Setup, pisano: PisanoDouble, workers: Workers
) -> None:
    frozen = workers.start()
    await publish_many(setup)
    await until(lambda: len(pisano.emails()) > 5)
    frozen.freeze()
    successor = workers.start()
    await until(lambda: len(pisano.emails()) > 30)  # Kafka reassigns the partition when the session has expired
    frozen.thaw()
    ended = await all_settled(setup, pisano)
    assert ended.count("unknown") <= 1
    assert await successor.drain() == 0
    frozen.kill()


async def test_sigterm_settles_the_call_under_way_and_leaves_the_rest_for_the_next_worker(
    setup: Setup, pisano: PisanoDouble, workers: Workers
) -> None:
    await publish_many(setup)
    worker = workers.start()
    await until(lambda: len(pisano.emails()) > 5)
    assert await worker.drain() == 0, worker.said()
    assert len(await outcomes(setup.kafka)) < MANY
    workers.start()
    assert await all_settled(setup, pisano) == ["sent"] * MANY


@pytest.fixture
async def own_broker() -> AsyncIterator[LocalBroker]:
    """A broker that only this test uses, so that it can restart it."""
    async with kafka_broker("local") as broker:
        assert isinstance(broker, LocalBroker)
        yield broker


@pytest.mark.parametrize("orderly", [True, False])
async def test_a_broker_that_restarts_costs_nobody_an_invitation(
    tmp_path: Path, own_broker: LocalBroker, unique: str, pisano: PisanoDouble, orderly: bool
) -> None:
    """No e-mail is sent twice or lost, and there is no dead letter: an outage holds the stage (rule 4)."""
    setup = await set_up(tmp_path, own_broker.bootstrap_servers, unique, pisano=pisano, account=AT_ONCE)
    await publish_many(setup)
    guarded = topics.unless_kafka_loses_a_mark(setup.kafka, "pisano.attempts")
    async with guarded, running_app(setup.config, ["send"]):
        await until(lambda: len(pisano.emails()) > 5)
        if not orderly:
            own_broker.kill()
        await own_broker.restart()
        assert await all_settled(setup, pisano) == ["sent"] * MANY
    assert await topics.read(setup.kafka, "connector.deadletters") == []


async def test_a_worker_says_that_kafka_is_away_and_can_be_stopped_meanwhile(
    tmp_path: Path, own_broker: LocalBroker, unique: str, pisano: PisanoDouble
) -> None:
    """The idle worker meets no error itself. When it stops, it cannot reach Kafka, and must not wait for it."""
    setup = await set_up(tmp_path, own_broker.bootstrap_servers, unique, pisano=pisano, account=AT_ONCE)
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(running_app(setup.config, ["send"]))
        assert await app.ready() == {"send": True}
        own_broker.kill()
        assert await app.ready() == {"send": False}
        async with asyncio.timeout(setup.config.service.drain):
            await stack.aclose()
