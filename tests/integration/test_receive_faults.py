"""receive with Kafka away or a client misbehaving: every 2xx is stored, no answer is lost, nothing waits for ever."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import structlog
from helpers import topics
from helpers.frozen import frozen
from helpers.raw_http import Connection, is_free
from helpers.service import WEBHOOK_SECRET, Setup, running_app, set_up
from helpers.waiting import PATIENCE, until

from connector.config import Service
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.publisher import Publisher
from connector.observe import health
from connector.observe.health import Server
from connector.observe.metrics import Metrics
from connector.records import Feedback, read
from connector.sandbox.broker import LocalBroker, kafka_broker
from connector.stages.receive import Receive
from connector.wiring import App

PATH = "/pisano/main"
SECRET = {"X-Webhook-Secret": WEBHOOK_SECRET}
ALLOWED = (f"POST {PATH} HTTP/1.1", "Host: connector", f"X-Webhook-Secret: {WEBHOOK_SECRET}")


@pytest.fixture(scope="module")
def own_broker() -> Iterator[LocalBroker]:
    """A broker that only these tests use, so that they can freeze and stop it."""
    with asyncio.Runner() as runner:
        context = kafka_broker("local")
        broker = runner.run(context.__aenter__())
        assert isinstance(broker, LocalBroker)
        yield broker
        runner.run(context.__aexit__(None, None, None))


@pytest.fixture
async def setup(tmp_path: Path, own_broker: LocalBroker, unique: str) -> Setup:
    return await set_up(tmp_path, own_broker.bootstrap_servers, unique)


@asynccontextmanager
async def receiving(setup: Setup, *, arrived_within: float = 10.0, durable_within: float = 1.0) -> AsyncIterator[str]:
    """Runs the stage and its server; yields the server's address."""
    publisher, metrics = Publisher(setup.kafka), Metrics()
    receive = Receive(
        setup.config.pisano,
        publisher.send,
        setup.kafka.topic_prefix + "pisano.feedback",
        dead_letter=DeadLetters(setup.kafka, "receive", lambda *_: None).of_body,
        metrics=metrics,
        arrived_within=arrived_within,
        durable_within=durable_within,
    )

    async def ready() -> dict[str, bool]:
        return {}

    server = Server(Service(port=0), receive.routes(), ready=ready, metrics=metrics)
    await publisher.start()
    await server.start()
    try:
        yield server.address
    finally:
        await server.stop()
        await publisher.stop()


async def scores(setup: Setup) -> list[int]:
    records = await topics.read(setup.kafka, "pisano.feedback")
    return sorted(read(Feedback, record.value).body["nps_score"] for record in records)


def answer(score: int) -> bytes:
    return b'{"nps_score": %d}' % score


@pytest.mark.parametrize("away", ["frozen", "stopped"])
async def test_while_kafka_is_away_there_is_a_503_in_time_and_what_is_sent_again_is_stored(
    away: str, own_broker: LocalBroker, setup: Setup
) -> None:
    """Kafka may store a record late, after the 503; then the record is there twice, with the same id."""
    async with receiving(setup) as address, client(address) as http:
        await until(lambda: _taken(http, answer(0)))
        async with AsyncExitStack() as outage:
            if away == "frozen":
                outage.enter_context(frozen(own_broker.pid))
            else:
                await own_broker.stop()
                outage.push_async_callback(own_broker.start)
            async with asyncio.timeout(15):  # by itself Kafka's client would wait for longer
                answers = await asyncio.gather(*(http.post(PATH, content=answer(score)) for score in range(1, 6)))
            assert {refused.status_code for refused in answers} == {503}
            unreadable = await http.post(PATH, content=b"no JSON")
            assert unreadable.status_code == 503
        for score in range(1, 6):
            await until(lambda score=score: _taken(http, answer(score)))
        await until(lambda: _taken(http, b"no JSON"))
    assert set(await scores(setup)) == set(range(6))
    records = [read(Feedback, record.value) for record in await topics.read(setup.kafka, "pisano.feedback")]
    assert len({record.id for record in records}) == 6
    assert {letter.value for letter in await topics.read(setup.kafka, "connector.deadletters")} == {b"no JSON"}


def client(address: str) -> httpx.AsyncClient:
    """A client that knows the secret and waits longer than the stage."""
    return httpx.AsyncClient(base_url=address, headers=SECRET, timeout=PATIENCE)


async def _taken(http: httpx.AsyncClient, body: bytes) -> bool:
    return (await http.post(PATH, content=body)).status_code == 200


async def test_it_is_ready_while_kafka_answers_and_not_while_kafka_is_away(
    own_broker: LocalBroker, setup: Setup
) -> None:
    """So a load balancer sends webhooks only to workers that can store them. The stage stays alive all the time."""

    async def statuses() -> tuple[int, int, bool]:
        ready, alive = await asyncio.gather(http.get("/readyz"), http.get("/healthz"))
        return alive.status_code, ready.status_code, ready.json()["receive"]

    async with running_app(setup.config, ["receive"]) as app, httpx.AsyncClient(base_url=app.address) as http:
        assert await statuses() == (200, 200, True)
        with frozen(own_broker.pid):
            assert await statuses() == (200, 503, False)
        await until(lambda: _is(statuses, (200, 200, True)))
        await own_broker.stop()
        await until(lambda: _is(statuses, (200, 503, False)))
        await own_broker.start()
        await until(lambda: _is(statuses, (200, 200, True)))


async def test_a_full_spool_is_not_ready_while_kafka_is_away(
    own_broker: LocalBroker, tmp_path: Path, unique: str
) -> None:
    """It was, so a load balancer went on to send webhooks that all got a 503."""
    (tmp_path / "spool").mkdir()
    service = {"host": "127.0.0.1", "port": 0, "spool": {"folder": str(tmp_path / "spool"), "max_bytes": 2000}}
    setup = await set_up(tmp_path, own_broker.bootstrap_servers, unique, service=service)

    async def status() -> int:
        return (await http.get("/readyz/receive")).status_code

    async def refused(score: int) -> bool:
        return not await _taken(http, answer(score))

    async with running_app(setup.config, ["receive"]) as app, client(app.address) as http:
        with frozen(own_broker.pid):
            assert await status() == 200
            await until(partial(refused, 1))
            assert await status() == 503
        await until(lambda: _is(status, 200))


async def _is(look: Callable[[], Awaitable[object]], wanted: object) -> bool:
    return await look() == wanted


async def is_ready(app: App) -> bool:
    return all((await app.ready()).values())


async def test_at_the_end_what_has_come_in_is_answered_and_stored_and_nothing_more_is_taken(
    own_broker: LocalBroker, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage disconnects from Kafka last, and does not wait for idle connections."""
    monkeypatch.setattr(health, "_ANSWERED_WITHIN", PATIENCE)  # so that this limit cannot end the idle connections
    async with AsyncExitStack() as running:
        app = await running.enter_async_context(App(setup.config, ["receive"]))
        await until(lambda: is_ready(app))
        async with Connection(app.address) as begun, Connection(app.address), httpx.AsyncClient() as idle:
            with frozen(own_broker.pid):
                await begun.say(*ALLOWED, f"Content-Length: {len(answer(10))}", "", body=answer(10))
                await idle.get(f"{app.address}/healthz")  # after this answer, the server has read the request above
                ending = asyncio.create_task(running.aclose())
                # Do not connect to find out: aiohttp never closes a connection made at the moment when the server ends.
                await until(lambda: is_free(app.address))
            assert await begun.status() == 200
            async with asyncio.timeout(20):  # the App itself gives up after 35 s
                await ending
    assert await scores(setup) == [10]


async def test_at_the_end_the_port_closes_before_a_start_that_kafka_holds_up_has_ended(
    own_broker: LocalBroker, setup: Setup
) -> None:
    """Otherwise the webhooks that came last had less time to be stored."""
    async with AsyncExitStack() as running:
        app = await running.enter_async_context(App(setup.config, ["receive"]))
        with frozen(own_broker.pid):
            ending = asyncio.create_task(running.aclose())
            await until(lambda: is_free(app.address), within=3)
        await ending


async def test_the_end_is_not_held_up_by_a_kafka_that_is_away(own_broker: LocalBroker, setup: Setup) -> None:
    """A webhook that Kafka did not store got a 503, so the stage may drop it."""
    with ExitStack() as outage:
        async with asyncio.timeout(None) as end, receiving(setup) as address:
            async with client(address) as http:
                await until(lambda: _taken(http, answer(1)))
                outage.enter_context(frozen(own_broker.pid))
                assert (await http.post(PATH, content=answer(2))).status_code == 503
            end.reschedule(asyncio.get_running_loop().time() + 15)


async def test_a_body_that_comes_too_slowly_is_given_up(setup: Setup) -> None:
    async with receiving(setup, arrived_within=0.2) as address, Connection(address) as slow:
        await slow.say(*ALLOWED, "Content-Length: 1000", "", body=b"{")
        assert await slow.status() == 408
    assert await scores(setup) == []


async def test_a_client_that_hangs_up_or_writes_nonsense_leaves_no_record_no_traceback_and_no_secret(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    """By itself aiohttp would log the content of a request that it cannot read."""
    caplog.set_level(logging.DEBUG, "aiohttp")
    async with receiving(setup) as address:
        with structlog.testing.capture_logs() as logged:
            async with Connection(address) as gone:
                await gone.say(*ALLOWED, "Content-Length: 100", "", body=b'{"nps_score": 1}')
            for head, body in (
                ([f"POST {PATH}/{WEBHOOK_SECRET} HTTP/9.x", "Host: connector", ""], b""),
                ([*ALLOWED[:2], f"X Webhook Secret: {WEBHOOK_SECRET}", ""], b""),
                ([*ALLOWED, "Transfer-Encoding: chunked", ""], b"5\r\n{    \r\nnonsense\r\n"),
            ):
                async with Connection(address) as odd:
                    await odd.say(*head, body=body)
                    assert await odd.status() == 400
            async with httpx.AsyncClient(base_url=address) as http:
                assert (await http.get("/healthz")).status_code == 200
    assert await scores(setup) == []
    assert WEBHOOK_SECRET not in caplog.text + repr(logged)
    assert [record for record in caplog.records if record.exc_info] == []
    assert logged == []
