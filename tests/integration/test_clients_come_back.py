"""Each client that can end for good is put into that state, and comes back. The producer: test_publisher_heals.py."""

import asyncio
import gc
import random
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from helpers import topics
from helpers.captured import captured, events, subjects
from helpers.service import running_app
from helpers.waiting import PATIENCE, until

from connector.cells import Cell, Cells
from connector.config import Kafka
from connector.kafka import preflight, stage_worker
from connector.kafka.cell_work import CellWork, alone
from connector.kafka.connection import admin_client, client_settings
from connector.kafka.inbound import InRecord
from connector.kafka.read_back import read_back
from connector.kafka.shared_work import SharedWork
from connector.kafka.stage_worker import StageWorker
from connector.kafka.uninterrupted import uninterrupted
from connector.kafka.watch import Watch
from connector.pisano._http import post_json
from connector.salesforce import ClientCredentials, PubSubClient
from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble
from connector.wiring import capture
from connector.wiring.http_client import HttpClient
from connector.wiring.supervisor import Runner, Supervisor

# aiokafka leaves the sockets of a client that ends in mid-connection to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("collected"),
]


@pytest.fixture
async def kafka(bootstrap_servers: str, unique: str) -> Kafka:
    kafka = Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)
    await topics.create(kafka, "in")
    return kafka


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cell, "_pause", lambda _: 0.1)


async def bury(record: InRecord, reason: str, error: Exception, cell: str) -> None:
    raise AssertionError(f"{record} was given up on: {reason}") from error


@asynccontextmanager
async def supervised(build: Callable[[], Runner]) -> AsyncIterator[None]:
    async def nothing_is_missing() -> None: ...

    supervisor = Supervisor("stage", nothing_is_missing, build, Cells().at("kafka/stage"))
    running = asyncio.create_task(supervisor.run())
    try:
        await until(lambda: supervisor.ready)
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})
        await supervisor.stop(0.0)


@pytest.mark.usefixtures("short_pauses")
async def test_a_closed_consumer_of_shared_work_is_replaced(kafka: Kafka) -> None:
    begun = 0
    shares: list[SharedWork] = []

    async def work(_: str, __: int) -> None:
        nonlocal begun
        begun += 1
        await asyncio.Event().wait()

    def build() -> SharedWork:
        shares.append(SharedWork(kafka, "shares", "in", ["a channel"], work))
        return shares[-1]

    async with supervised(build):
        await until(lambda: begun == 1)
        assert shares[0]._consumer is not None
        await shares[0]._consumer.stop()
        await until(lambda: begun == 2 and shares[-1].ready)


@pytest.mark.usefixtures("short_pauses")
async def test_a_closed_consumer_of_a_stage_is_replaced(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_worker, "Watch", partial(Watch, every=0.2, stands_still=1.0))
    handled: list[bytes | None] = []
    workers: list[StageWorker] = []

    async def handle(record: InRecord) -> None:
        handled.append(record.value)

    def build() -> StageWorker:
        work = CellWork("stage", alone(handle), bury, Cells())
        workers.append(StageWorker("stage", kafka, [kafka.topic_prefix + "in"], work, in_flight=10))
        return workers[-1]

    async with supervised(build):
        await topics.produce(kafka, kafka.topic_prefix + "in", [b"before"])
        await until(lambda: handled == [b"before"])
        await until(lambda: workers[0].lag == 0)
        thread = workers[0]._app.consumer._thread
        stopping = asyncio.run_coroutine_threadsafe(thread._consumer.stop(), thread.thread_loop)
        await until(stopping.done)
        await topics.produce(kafka, kafka.topic_prefix + "in", [b"after"])
        await until(lambda: handled[-1] == b"after")
        assert len(workers) > 1


@pytest.mark.usefixtures("short_pauses")
async def test_a_closed_grpc_channel_is_replaced(
    sf: SalesforceDouble, capture_setup: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients: list[PubSubClient] = []

    class Kept(PubSubClient):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            clients.append(self)

    monkeypatch.setattr(capture, "PubSubClient", Kept)
    setup = await capture_setup()
    async with running_app(setup.config, ["capture"]):
        sf.create("Case", {"Subject": "before"})
        await until(lambda: captured(setup.kafka, 1))
        await clients[0].aclose()
        sf.create("Case", {"Subject": "after"})
        await until(lambda: captured(setup.kafka, 2))
    assert sorted(subjects(await events(setup.kafka))) == ["after", "before"]
    assert len(clients) > 1


async def cancelled_at_any_moment(call: Callable[[], Awaitable[object]], times: int, longest: float) -> None:
    """Makes `times` calls, and cancels each twice within `longest` seconds. What is under way must end cancelled."""

    async def once(moment: float) -> None:
        calling = asyncio.ensure_future(call())
        await asyncio.sleep(moment)
        was_under_way = calling.cancel()
        await asyncio.sleep(random.random() / 100)
        calling.cancel()
        await asyncio.wait({calling}, timeout=PATIENCE)
        assert calling.done()
        assert calling.cancelled() or not was_under_way, f"cancelled after {moment} s, it went on"

    for _ in range(times // 20):
        await asyncio.gather(*(once(random.random() * longest) for _ in range(20)))


async def test_the_http_client_loses_no_connection_to_a_cancelled_call() -> None:
    """httpx's own client does: see `http_client`."""
    async with PisanoDouble() as pisano, HttpClient() as http:

        async def call() -> None:
            await post_json(http, f"{pisano.base_url}/v1/nothing", b"{}", connect_timeout=10, timeout=10)

        await cancelled_at_any_moment(call, 400, 0.05)
        await call()
        transport: Any = http._transport
        assert [connection.info() for connection in transport._pool.connections if not connection.is_idle()] == []


async def test_a_token_source_whose_callers_are_cancelled_gives_the_next_one_a_token(sf: SalesforceDouble) -> None:
    async with HttpClient() as http:
        tokens = ClientCredentials(http, sf.login_url, client_id=sf.client_id, client_secret=sf.client_secret)

        async def call() -> None:
            tokens._token = None
            await tokens.token()

        await cancelled_at_any_moment(call, 200, 0.05)
        async with asyncio.timeout(PATIENCE):
            assert (await tokens.token()).access_token


async def _administer(kafka: Kafka) -> None:
    async with admin_client(kafka) as admin:
        await admin.list_topics()


async def _read(kafka: Kafka) -> None:
    async for _ in read_back(kafka, kafka.topic_prefix + "in", 0):
        pass


async def _transact(kafka: Kafka) -> None:
    await preflight.require_transactions(kafka, f"stage{random.random()}")


async def _join(kafka: Kafka) -> None:
    await preflight.require(kafka, kafka.topic_prefix + "group", [kafka.topic_prefix + "in"])


@pytest.mark.parametrize("use", [_administer, _read, _transact, _join])
def test_who_uses_a_kafka_client_ends_when_cancelled_and_leaves_no_connection_open(
    kafka: Kafka, use: Callable[[Kafka], Awaitable[None]]
) -> None:
    """aiokafka swallows a cancellation that comes while it closes a client, so SIGTERM was not heeded then.

    It forgets its first connection when a client's start is cancelled, which shows when the loop has ended.
    """
    gc.collect()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        asyncio.run(cancelled_at_any_moment(partial(use, kafka), 200, 0.3))
        gc.collect()
    assert [str(one.message) for one in said] == []


async def test_aiokafka_still_swallows_a_cancellation(kafka: Kafka) -> None:
    """If this fails, that is no reason for `uninterrupted` any more."""

    async def outcomes(stop: Callable[[AIOKafkaConsumer], Awaitable[None]]) -> AsyncIterator[bool]:
        for _ in range(5):
            consumer = AIOKafkaConsumer(**client_settings(kafka))
            await consumer.start()
            stopping = asyncio.ensure_future(stop(consumer))
            await asyncio.sleep(0)
            stopping.cancel()
            await asyncio.wait({stopping})
            yield stopping.cancelled()

    assert not all([was async for was in outcomes(lambda consumer: consumer.stop())])
    assert all([was async for was in outcomes(lambda consumer: uninterrupted(consumer.stop(), PATIENCE))])


async def test_a_stage_whose_topic_is_deleted_before_it_could_commit_still_ends(kafka: Kafka) -> None:
    """aiokafka tries such a commit for ever, and Faust waits for it when it stops."""
    may_go_on, began = asyncio.Event(), asyncio.Event()

    async def handle(_: InRecord) -> None:
        began.set()
        await may_go_on.wait()

    topic = kafka.topic_prefix + "in"
    worker = StageWorker("stage", kafka, [topic], CellWork("stage", alone(handle), bury, Cells()), in_flight=10)
    await worker.start()
    await topics.produce(kafka, topic, [b"a record"])
    await began.wait()
    await topics.delete(kafka, topic)
    may_go_on.set()
    await until(lambda: worker.in_flight == 0)
    await asyncio.sleep(1.5)  # the commit is under way: there is one each second
    async with asyncio.timeout(PATIENCE):
        await worker.stop(0.0)
