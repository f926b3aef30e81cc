"""When Kafka lacks something that a stage needs, the process says so, keeps its port open and obeys SIGTERM."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import RecordsToDelete
from helpers import topics
from helpers.plain_http import plain_http
from helpers.service import Process, metric, set_up
from helpers.service import held as held_in
from helpers.waiting import until

from connector.cells import Cell
from connector.config import Kafka
from connector.errors import Retryable
from connector.kafka import connection, preflight
from connector.kafka.connection import admin_client
from connector.kafka.holes import holes
from connector.sandbox.broker import LocalBroker, _local, kafka_broker
from connector.wiring import App


@asynccontextmanager
async def broker_with(monkeypatch: pytest.MonkeyPatch, **settings: str) -> AsyncIterator[LocalBroker]:
    changed = {name.replace("_", "."): value for name, value in settings.items()}
    monkeypatch.setattr(_local, "SETTINGS", {**_local.SETTINGS, **changed})
    async with kafka_broker("local", say=print) as broker:
        assert isinstance(broker, LocalBroker)
        yield broker


def lines(process: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.said().splitlines() if line.startswith("{")]


def held(process: Process) -> dict[str, str]:
    return {line["cell"]: line["reason"] for line in lines(process) if line["event"] == "cell_held"}


async def test_without_a_group_coordinator_the_port_is_open_and_every_stage_says_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """clients.md A1: one broker, an offsets topic with three replicas; the service hung silently, ignoring SIGTERM."""
    async with broker_with(monkeypatch, offsets_topic_replication_factor="3") as broker:
        setup = await set_up(tmp_path, broker.bootstrap_servers, "lacks.")
        process = Process(setup, "capture,trigger,send,receive,write", tmp_path / "log")
        try:
            await until(lambda: {"kafka/trigger", "kafka/send", "kafka/write", "kafka/capture"} <= held(process).keys())
            assert all("offsets.topic.replication.factor" in reason for reason in held(process).values())
            (address,) = (line["address"] for line in lines(process) if line["event"] == "started")
            async with plain_http() as http:
                ready = await http.get(f"{address}/readyz")
            assert ready.status_code == 503
            assert {name for name, is_ready in ready.json().items() if is_ready is True} == {"receive"}
            began = time.monotonic()
            assert await process.drain() == 0
            assert time.monotonic() - began < 20
            for unwanted in ("Traceback", "never retrieved", "was destroyed"):
                assert unwanted not in process.said()
        finally:
            process.kill()


async def test_without_transactions_the_stages_that_need_them_say_so_and_are_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """clients.md A2: the service said that it was ready, logged nothing and did nothing."""
    monkeypatch.setattr(connection, "_STARTED_WITHIN", 3.0)
    settings = {"transaction_state_log_replication_factor": "3", "transaction_state_log_min_isr": "2"}
    async with broker_with(monkeypatch, **settings) as broker:
        setup = await set_up(tmp_path, broker.bootstrap_servers, "lacks.")
        async with App(setup.config, ["capture", "trigger", "send"]) as app:

            async def both() -> dict[str, str] | None:
                why = await held_in(app)
                return why if {*why} == {"kafka/capture", "kafka/send"} else None

            why = await until(both)
            assert all("transaction.state.log.replication.factor" in reason for reason in why.values())
            await until(lambda: only_trigger_is_ready(app))


async def only_trigger_is_ready(app: App) -> bool:
    return await app.ready() == {"capture": False, "trigger": True, "send": False}


async def test_records_that_kafka_deleted_before_they_were_read_are_told(bootstrap_servers: str, unique: str) -> None:
    """Report 27: records deleted by time, and a topic created anew; a group that has read everything has no hole."""
    kafka = Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)
    topic = await topics.create(kafka, "in")
    await topics.produce(kafka, topic, [b"%d" % number for number in range(100)])
    place = TopicPartition(topic, 0)
    await commit(kafka, place, 40)
    assert await holes(kafka, unique + "stage", [place]) == []
    async with admin_client(kafka) as admin:
        await admin.delete_records({place: RecordsToDelete(before_offset=70)})
    [hole] = await holes(kafka, unique + "stage", [place])
    assert (hole.committed, hole.begins, hole.records) == (40, 70, 30)
    assert f"deleted 30 records of {topic}/0 before they were read: 40 to 69" in str(hole)
    await commit(kafka, place, 500)
    [hole] = await holes(kafka, unique + "stage", [place])
    assert "was created anew" in str(hole)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # aiokafka leaves sockets at a restart
@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize("choice", ["stop", "go_on"])
async def test_a_stage_whose_records_were_deleted_waits_for_a_person_only_if_it_shall(
    tmp_path: Path, bootstrap_servers: str, unique: str, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    """Report 27: trigger was stopped for longer than its topic is kept."""
    monkeypatch.setattr(Cell, "_pause", lambda _: 0.5)
    setup = await set_up(tmp_path, bootstrap_servers, unique)
    config = setup.config.model_copy(update={"kafka": setup.kafka.model_copy(update={"on_deleted_records": choice})})
    place = TopicPartition(unique + "salesforce.cdc.Case", 0)
    await topics.produce(setup.kafka, place.topic, [b"no event"] * 10)
    await commit(setup.kafka, place, 2, "trigger")
    async with admin_client(setup.kafka) as admin:
        await admin.delete_records({place: RecordsToDelete(before_offset=5)})
    async with App(config, ["trigger"]) as app:
        if choice == "stop":
            reason = await until(lambda: held_by_trigger(app))
            assert f"deleted 3 records of {place.topic}/0 before they were read: 2 to 4" in reason
            assert await topics.read(setup.kafka, "connector.deadletters") == []
            await commit(setup.kafka, place, 5, "trigger")
        await until(lambda: five_dead_letters(setup.kafka))
        assert await metric(app, 'connector_records_deleted_total{stage="trigger"}') >= 3
        assert not await held_by_trigger(app)


async def held_by_trigger(app: App) -> str:
    return (await held_in(app)).get("kafka/trigger", "")


async def five_dead_letters(kafka: Kafka) -> bool:
    return len(await topics.read(kafka, "connector.deadletters")) == 5


async def commit(kafka: Kafka, place: TopicPartition, offset: int, stage: str = "stage") -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers, group_id=kafka.topic_prefix + stage, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign([place])
        await consumer.commit({place: offset})
    finally:
        await consumer.stop()


async def test_a_coordinator_that_is_away_is_a_passing_fault(bootstrap_servers: str, unique: str) -> None:
    with pytest.raises(Retryable):
        await preflight.require(Kafka(bootstrap_servers="127.0.0.1:1"), "g", ["t"])
    await preflight.require(
        Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique),
        unique + "g",
        [await topics.create(Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique), "t")],
    )
    await asyncio.sleep(0)
