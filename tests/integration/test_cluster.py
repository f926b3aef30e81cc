"""A cluster's life, while cases are closed all the time: the right records, or one clear sentence."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import GroupIdNotFound
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest, DeleteGroupsRequest
from helpers import topics
from helpers.busy import Busy, busy
from helpers.cluster import cluster
from helpers.service import Setup, held, running_app, set_up
from helpers.waiting import until

from connector.cells import Cell
from connector.config import Kafka, catalogue
from connector.errors import Fatal
from connector.kafka.connection import admin_client
from connector.kafka.holes import look_for_holes
from connector.kafka.topics import apply
from connector.sandbox.broker import _local, kafka_broker
from connector.wiring import App, topic_watch

RATE = 5.0  # cases in a second


async def more_emails(company: Busy, count: int = 10) -> None:
    before = len(company.pisano.emails())
    await until(lambda: len(company.pisano.emails()) >= before + count)


async def fewer_copies(admin: AIOKafkaAdminClient) -> None:
    """Takes each partition from its leader, Kafka's own topics, too, and waits until it has two copies elsewhere."""
    described = await admin.describe_topics(await admin.list_topics())
    plan = [(topic["topic"], [_without_leader(each) for each in topic["partitions"]], {}) for topic in described]
    answer = await admin._send_to_controller(AlterPartitionReassignmentsRequest(10_000, plan, {}))
    assert answer.error_code == 0, answer

    async def done() -> bool:
        described = await admin.describe_topics([topic for topic, _, _ in plan])
        return all(
            len(each["isr"]) == len(each["replicas"]) == 2 for topic in described for each in topic["partitions"]
        )

    await until(done)


def _without_leader(partition: Mapping[str, Any]) -> tuple[int, list[int], dict[int, bytes]]:
    return partition["partition"], [each for each in partition["replicas"] if each != partition["leader"]], {}


async def test_a_moved_controller_moved_partitions_and_new_ones_lose_nobody(tmp_path: Path, unique: str) -> None:
    async with cluster() as brokers, busy(tmp_path, brokers.bootstrap_servers, unique) as company:
        async with running_app(company.setup.config), company.closing(RATE):
            await more_emails(company)
            before = brokers.controller()
            await before.restart()
            assert brokers.controller() is not before
            await more_emails(company)
            async with admin_client(company.setup.kafka) as admin:
                await fewer_copies(admin)
                await more_emails(company)
                await admin.create_partitions({unique + "salesforce.cdc.Case": NewPartitions(12)})
            await more_emails(company)
        async with running_app(company.setup.config):  # which knows the new partitions at once
            for _ in range(20):
                company.close_a_case()
            await company.all_asked_once()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at the topics, and tries held stages again, every half a second."""
    monkeypatch.setattr(topic_watch, "_EVERY", 0.5)
    monkeypatch.setattr(topic_watch, "_SURE_AFTER", 0.5)
    monkeypatch.setattr(Cell, "_pause", lambda _: 0.5)


async def says(app: App, said: str, *stages: str) -> None:
    """Waits until each of the stages, and no other, is held for a reason that holds `said`."""

    async def all_say() -> bool:
        why = await held(app)
        return {*why} == {f"kafka/{stage}" for stage in stages} and all(said in reason for reason in why.values())

    await until(all_say)


async def is_made(setup: Setup) -> bool:
    """Makes the topics that are missing. Kafka refuses one for a moment after its deletion."""
    try:
        await apply(setup.kafka, catalogue.topics_for(setup.config))
    except Fatal:
        return False
    return True


async def is_deleted(kafka: Kafka, group: str) -> bool:
    """Deletes a group, as soon as it has no member any more: Kafka counts one out after 10 s at the latest."""
    async with admin_client(kafka) as admin:
        answer = await admin._send_request(DeleteGroupsRequest([group]), await admin.find_coordinator(group))
    [(_, error)] = answer.results
    return error in (0, GroupIdNotFound.errno)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # aiokafka leaves sockets at a restart
@pytest.mark.usefixtures("impatient", "collected")
@pytest.mark.parametrize("has_fewer_partitions", [False, True])
async def test_a_topic_that_is_deleted_and_made_again_is_told_and_costs_nobody_a_survey(
    tmp_path: Path, bootstrap_servers: str, unique: str, has_fewer_partitions: bool
) -> None:
    """trigger and send are held at once; the others go on. Then the test does what docs/cluster.md says."""
    async with busy(tmp_path, bootstrap_servers, unique) as company:
        setup = company.setup
        async with running_app(setup.config) as app, company.closing(RATE):
            await more_emails(company)
            await topics.delete(setup.kafka, unique + "pisano.invitations")
            await says(app, "pisano.invitations. Create them with `connector topics apply`", "trigger", "send")
            if has_fewer_partitions:
                await topics.create(setup.kafka, "pisano.invitations", 2)
            else:
                await apply(setup.kafka, catalogue.topics_for(setup.config))
            await says(app, "pisano.invitations was deleted and created anew", "trigger", "send")
        if has_fewer_partitions:
            await topics.delete(setup.kafka, unique + "pisano.invitations")
            await until(lambda: is_made(setup))
        for stage in ("trigger", "send"):
            await until(lambda group=unique + stage: is_deleted(setup.kafka, group))
        async with running_app(setup.config):
            await company.all_asked_once()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("impatient", "collected")
async def test_a_suppression_list_that_was_made_anew_holds_send_which_would_not_hear_of_new_entries(
    tmp_path: Path, bootstrap_servers: str, unique: str
) -> None:
    """send went on, and e-mailed everybody who was put on the new list."""
    setup = await set_up(tmp_path, bootstrap_servers, unique)
    async with running_app(setup.config, ["send"]) as app:
        await topics.delete(setup.kafka, unique + "pisano.suppressions")
        await says(app, "pisano.suppressions. Create them with `connector topics apply`", "send")
        await until(lambda: is_made(setup))
        await says(app, "pisano.suppressions was deleted and created anew", "send")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("impatient", "collected")
async def test_new_partitions_that_would_move_keys_away_from_our_memory_are_told(
    tmp_path: Path, bootstrap_servers: str, unique: str
) -> None:
    """Otherwise send would look into an empty ledger, and a channel would begin without its position."""
    async with busy(tmp_path, bootstrap_servers, unique) as company:
        kafka = company.setup.kafka
        async with running_app(company.setup.config) as app:
            async with admin_client(kafka) as admin:
                added = {"salesforce.positions": 13, "pisano.invitations": 7, "pisano.attempts": 7, "pisano.waiting": 7}
                await admin.create_partitions({unique + name: NewPartitions(count) for name, count in added.items()})
            await says(app, "partitions, and the configuration says", "capture", "trigger", "send")
        refused: list[BaseException] = []
        place = (unique + "pisano.invitations", 6)
        await look_for_holes(kafka, unique + "send", {place}, lambda _: None, refused.append)
        assert "has 7 partitions" in str(*refused)


async def test_expired_transactional_ids_and_producers_are_replaced(tmp_path: Path, unique: str) -> None:
    """Kafka forgets the first after 7 idle days and the second after one; here after 2 s."""
    settings = {
        "transactional.id.expiration.ms": "2000",
        "transaction.remove.expired.transaction.cleanup.interval.ms": "500",
        "producer.id.expiration.ms": "2000",
        "producer.id.expiration.check.interval.ms": "500",
    }
    async with (
        broker_with(settings) as servers,
        busy(tmp_path, servers, unique) as company,
        running_app(company.setup.config),
    ):
        company.close_a_case()
        await company.all_asked_once()
        await until(lambda: is_forgotten(servers, unique + "send-main"))
        company.close_a_case()
        await company.all_asked_once()


@asynccontextmanager
async def broker_with(settings: Mapping[str, str]) -> AsyncIterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_local, "SETTINGS", {**_local.SETTINGS, **settings})
        async with kafka_broker("local") as broker:
            yield broker.bootstrap_servers


async def is_forgotten(servers: str, transactional_id: str) -> bool:
    """Whether the last record about the id is a deletion."""
    records = await topics.read(Kafka(bootstrap_servers=servers), "__transaction_state")
    last = {record.key: record.value for record in records}
    return last[next(key for key in last if transactional_id.encode() in key)] is None
