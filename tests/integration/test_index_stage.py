"""The stage `index` keeps every record once, whatever happens to it, its file or the topics."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete
from helpers import topics
from helpers.change_events import change
from helpers.made_up_topics import START, MadeUpTopics, case_id
from helpers.service import Setup, held, metric, running_app, set_up
from helpers.service import Workers as Processes
from helpers.waiting import until

from connector.explain import Index, Kind, NotThisIndex
from connector.explain.index import Partition
from connector.kafka.connection import admin_client
from connector.kafka.kept import bounds
from connector.values import exact
from connector.wiring import App

CASES = [case_id(number) for number in range(20_000)]


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str) -> Setup:
    service = {"index": str(tmp_path / "index.sqlite"), "port": 0}
    return await set_up(tmp_path, bootstrap_servers, unique, service=service)


async def write_changes(setup: Setup, count: int) -> str:
    """Changes of the first cases, all in partition 0. Returns the topic."""
    topic = f"{setup.kafka.topic_prefix}salesforce.cdc.Case"
    await topics.produce(setup.kafka, topic, (exact.dumps(vars(change(case, {"a": 1}))) for case in CASES[:count]))
    return topic


async def index(setup: Setup) -> None:
    """Runs the stage until it has read everything."""
    async with running_app(setup.config, ["index"]) as app:

        async def caught_up() -> bool:
            return await metric(app, 'connector_lag{stage="index"}') == 0

        await until(caught_up)
        await until(lambda: is_whole(setup))


def opened(setup: Setup) -> Index:
    return Index.open(Path(setup.config.service.index), setup.config)


def count(setup: Setup) -> int:
    """How many facts the file holds; 0 while there is none. It need not be whole yet."""
    try:
        with closing(sqlite3.connect(f"file:{setup.config.service.index}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM fact").fetchone()[0])
    except sqlite3.OperationalError:  # it is being made
        return 0


def is_whole(setup: Setup) -> bool:
    try:
        opened(setup).close()
    except NotThisIndex:
        return False
    return True


def positions(setup: Setup) -> Mapping[Partition, int]:
    with closing(opened(setup)) as found:
        return found.positions()


def offsets(setup: Setup, case: str) -> list[int]:
    with closing(opened(setup)) as found:
        return [fact.offset for fact in found.find(Kind.CHANGE, "record", case[:15], most=9)]


async def test_a_kill_at_any_moment_leaves_each_record_in_the_index_once(setup: Setup, tmp_path: Path) -> None:
    topic = await write_changes(setup, len(CASES))
    with Processes(setup, "index", tmp_path / "log") as processes:
        for part in (1, len(CASES) // 3):
            process = processes.start()
            await until(lambda part=part: count(setup) >= part)
            process.kill()
        process = processes.start()
        await until(lambda: count(setup) == len(CASES) and is_whole(setup))
        assert await process.drain() == 0
    assert positions(setup)[topic, 0] == count(setup) == len(CASES)
    assert [offsets(setup, case) for case in CASES[::999]] == [[number] for number in range(0, len(CASES), 999)]


async def test_how_far_it_is_can_be_seen_in_kafka(setup: Setup) -> None:
    topic = await write_changes(setup, 10)
    async with running_app(setup.config, ["index"]):

        async def committed() -> bool:
            return (await topics.committed(setup.kafka, "index")).get((topic, 0)) == 10

        await until(committed)


async def test_what_kafka_deletes_leaves_the_index_at_the_next_start(setup: Setup) -> None:
    topic = await write_changes(setup, 10)
    await index(setup)
    async with admin_client(setup.kafka) as admin:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=4)})
    await index(setup)
    assert [offsets(setup, case) for case in CASES[3:5]] == [[], [4]]
    assert count(setup) == 6


@pytest.mark.parametrize("position", [2, 99])
async def test_an_index_that_missed_records_or_is_of_an_older_topic_is_read_again(position: int, setup: Setup) -> None:
    """At 2, Kafka has deleted records that the index had not read. At 99, the topic was deleted and made anew."""
    topic = await write_changes(setup, 10)
    async with admin_client(setup.kafka) as admin:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=4)})
    old = MadeUpTopics(setup.config).change(case_id(77_777), START + timedelta(days=1))
    with closing(Index.create(Path(setup.config.service.index), setup.config)) as made:
        fact = made.facts.of(old)
        assert fact
        made.add([fact], {(topic, 0): position})
    await index(setup)
    assert offsets(setup, case_id(77_777)) == []
    assert [offsets(setup, case) for case in (CASES[3], *CASES[4:10])] == [[], *([number] for number in range(4, 10))]
    assert positions(setup)[topic, 0] == (await bounds(setup.kafka, [topic]))[topic, 0][1]


async def test_a_folder_that_is_missing_holds_the_stage_and_says_so(setup: Setup, tmp_path: Path) -> None:
    service = setup.config.service.model_copy(update={"index": str(tmp_path / "nowhere" / "index.sqlite")})
    async with App(setup.config.model_copy(update={"service": service}), ["index"]) as app:

        async def why() -> str:
            return (await held(app)).get("kafka/index", "")

        assert "nowhere for the index. Create it, or change service.index." in await until(why)
