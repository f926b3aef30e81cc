"""Kafka is killed, then receive: every webhook that got a 2xx is on the topic, in order (report 21)."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest
from helpers import topics
from helpers.frozen import frozen
from helpers.service import WEBHOOK_SECRET, Process, Setup, Workers, set_up
from helpers.waiting import PATIENCE, until

from connector.config import Service
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.publisher import Publisher
from connector.observe.health import Server
from connector.observe.metrics import Metrics
from connector.records import Feedback, read
from connector.sandbox.broker import LocalBroker, kafka_broker
from connector.spool import Spool
from connector.spool._file import SpoolFile
from connector.stages.receive import Receive

PATH = "/pisano/main"
SECRET = {"X-Webhook-Secret": WEBHOOK_SECRET}
CASE = "5005g0000000001AAA"
MANY = 1 << 20  # bytes


@pytest.fixture(scope="module")
def own_broker() -> Iterator[LocalBroker]:
    """A broker that only these tests use, so that they can freeze and kill it."""
    with asyncio.Runner() as runner:
        context = kafka_broker("local")
        broker = runner.run(context.__aenter__())
        assert isinstance(broker, LocalBroker)
        yield broker
        runner.run(context.__aexit__(None, None, None))


@pytest.fixture
async def setup(tmp_path: Path, own_broker: LocalBroker, unique: str) -> Setup:
    (tmp_path / "spool").mkdir()
    service = {"host": "127.0.0.1", "port": "${SERVICE_PORT}", "spool": {"folder": str(tmp_path / "spool")}}
    return await set_up(tmp_path, own_broker.bootstrap_servers, unique, service=service)


@pytest.fixture
def workers(tmp_path: Path, setup: Setup) -> Iterator[Workers]:
    with Workers(setup, "receive", tmp_path / "log") as workers:
        yield workers


@asynccontextmanager
async def receiving(setup: Setup, folder: Path, *, max_bytes: int = MANY) -> AsyncIterator[httpx.AsyncClient]:
    """Runs the stage and its server in this process; yields a client that knows the secret."""
    publisher, metrics = Publisher(setup.kafka), Metrics()
    letters = DeadLetters(setup.kafka, "receive", lambda *_: None)
    spool = Spool(
        folder,
        max_bytes,
        publisher.send,
        refused=lambda record, error: letters.of_body("spool", record.value or b"", "too_large", error),
        metrics=metrics,
    )
    receive = Receive(
        setup.config.pisano,
        publisher.send,
        setup.kafka.topic_prefix + "pisano.feedback",
        dead_letter=letters.of_body,
        metrics=metrics,
        spool=spool,
        durable_within=1.0,
    )

    async def ready() -> dict[str, bool]:
        return {}

    server = Server(Service(port=0), receive.routes(), ready=ready, metrics=metrics)
    await publisher.start()
    await spool.start()
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=server.address, headers=SECRET, timeout=PATIENCE) as http:
            yield http
    finally:
        await server.stop()
        await spool.stop()
        await publisher.stop()


async def post(http: httpx.AsyncClient, score: int, comment: str = "") -> httpx.Response:
    body = b'{"sf_ref_id": "%s", "nps_score": %d, "comment": "%s"}' % (CASE.encode(), score, comment.encode())
    return await http.post(PATH, content=body)


async def scores(setup: Setup) -> list[int]:
    """The stored scores, without repeats: Kafka can store a record although its answer gets lost."""
    found = [read(Feedback, record.value) for record in await topics.read(setup.kafka, "pisano.feedback")]
    return list({entry.id: entry.body["nps_score"] for entry in found}.values())


def address(process: Process) -> str | None:
    """The address of the newest process that writes to this log."""
    found = re.findall(r"http://127\.0\.0\.1:\d+", process.said())
    return found[-1] if found else None


async def test_kafka_and_then_the_service_are_killed_and_no_answer_is_lost_or_out_of_order(
    setup: Setup, own_broker: LocalBroker, workers: Workers
) -> None:
    worker = workers.start()
    url = await until(lambda: address(worker))
    async with httpx.AsyncClient(base_url=url, headers=SECRET, timeout=PATIENCE) as http:
        assert (await post(http, 0)).status_code == 200

        async def is_stored() -> bool:
            return await scores(setup) == [0]

        await until(is_stored)  # the port opens before the stage is connected to Kafka
        own_broker.kill()
        for score in range(1, 31):
            assert (await post(http, score)).status_code == 200
        assert "connector_spooled 30.0" in (await http.get("/metrics")).text
    worker.kill()
    await own_broker.start()
    workers.start()

    async def all_there() -> bool:
        return len(await topics.read(setup.kafka, "pisano.feedback")) >= 31

    await until(all_there)
    assert await scores(setup) == list(range(31))


async def test_a_kafka_that_connects_but_never_answers_is_as_good_as_away(
    tmp_path: Path, setup: Setup, own_broker: LocalBroker
) -> None:
    async with receiving(setup, tmp_path / "spool") as http:
        assert (await post(http, 0)).status_code == 200
        with frozen(own_broker.pid):
            for score in range(1, 6):
                assert (await post(http, score)).status_code == 200

        async def drained() -> bool:
            return "connector_spooled 0.0" in (await http.get("/metrics")).text

        await until(drained)
        assert (await post(http, 6)).status_code == 200
    assert await scores(setup) == list(range(7))


async def test_a_full_spool_and_no_spool_are_a_503_that_says_when_to_come_again(
    tmp_path: Path, setup: Setup, own_broker: LocalBroker
) -> None:
    """A record that no longer fits into the spool is refused; records already in the spool are still drained."""
    async with (
        receiving(setup, tmp_path / "spool", max_bytes=5_000) as http,
        receiving(setup, tmp_path / "missing") as without,
    ):
        assert (await post(http, 0)).status_code == 200
        with frozen(own_broker.pid):
            assert (await post(http, 1)).status_code == 200
            for refused in (await post(http, 2, "x" * 8_000), await post(without, 3)):
                assert refused.status_code == 503
                assert int(refused.headers["Retry-After"]) > 0

        async def there() -> bool:
            return {0, 1} <= set(await scores(setup))

        await until(there)


async def test_a_kill_between_kafka_s_answer_and_the_file_repeats_one_record_under_its_id(
    tmp_path: Path, setup: Setup, own_broker: LocalBroker
) -> None:
    """The test publishes the first record and leaves it in the file, which is the state after such a kill."""
    folder = tmp_path / "spool"
    async with receiving(setup, folder) as http:
        own_broker.kill()
        for score in range(3):
            assert (await post(http, score)).status_code == 200
    with closing(SpoolFile(folder, MANY)) as file:
        found = file.first()
        assert found is not None
        _, first = found
    await own_broker.start()
    await topics.publish(setup.kafka, [first])
    async with receiving(setup, folder) as http:

        async def drained() -> bool:
            return "connector_spool_drained_total 3.0" in (await http.get("/metrics")).text

        await until(drained)
    records = [read(Feedback, record.value) for record in await topics.read(setup.kafka, "pisano.feedback")]
    assert [entry.body["nps_score"] for entry in records] == [0, 0, 1, 2]
    assert records[0].id == records[1].id
