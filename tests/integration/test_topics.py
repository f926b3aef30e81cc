"""The catalogue in a real Kafka: missing topics are created, differences are reported, nothing is ever changed."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from helpers import topics
from helpers.config_files import MINIMAL, read
from helpers.waiting import PATIENCE, until

from connector.config import Config, Kafka
from connector.config.catalogue import topics_for
from connector.errors import Fatal
from connector.kafka.cloud_events import OutRecord
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.inbound import InRecord
from connector.kafka.topics import Difference, apply, require


@pytest.fixture
def file(bootstrap_servers: str, unique: str, tmp_path: Path) -> Path:
    """A configuration whose topics nobody has created yet."""
    kafka = f'bootstrap_servers: "{bootstrap_servers}", topic_prefix: {unique}'
    text = MINIMAL.replace('bootstrap_servers: "localhost:9092"', kafka)
    read(tmp_path, text)
    return tmp_path / "c.yaml"


@pytest.fixture
def config(file: Path) -> Config:
    return read(file.parent, file.read_text())


async def as_they_stand(kafka: Kafka, names: list[str]) -> dict[str, dict[str, str]]:
    """The settings, partitions and replicas of each topic, as any admin client sees them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()

    async def described() -> list[dict[str, Any]]:
        rows = await admin.describe_topics(names)
        return [] if any(row["error_code"] for row in rows) else rows

    try:
        found = {}
        for row in await until(described):
            (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, row["topic"])])
            partitions = row["partitions"]
            found[row["topic"]] = {entry[0]: entry[1] for entry in answer.resources[0][4]}
            found[row["topic"]] |= {"partitions": f"{len(partitions)}", "replicas": f"{len(partitions[0]['replicas'])}"}
        return found
    finally:
        await admin.close()


def connector(*arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from connector.cli import main; main()", *arguments]
    return subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environ or {})}
    )


async def test_what_is_missing_is_created_as_the_catalogue_says_and_then_left_alone(config: Config) -> None:
    wanted = topics_for(config)
    names = [topic.name for topic in wanted]
    report = await apply(config.kafka, wanted)
    assert (report.created, report.unchanged, report.differences) == (names, [], [])

    stand = await as_they_stand(config.kafka, names)
    for topic in wanted:
        said = {**topic.settings(), "partitions": str(topic.partitions), "replicas": "1"}
        assert {key: stand[topic.name][key] for key in said} == said

    again = await apply(config.kafka, wanted)
    assert (again.created, again.unchanged, again.differences) == ([], names, [])
    assert await as_they_stand(config.kafka, names) == stand
    await require(config.kafka, wanted)


async def test_what_differs_is_said_and_not_changed(config: Config) -> None:
    kafka = config.kafka
    name = await topics.create(kafka, "pisano.invitations", 9, cleanup_policy="compact", retention_ms="3600000")
    before = await as_they_stand(kafka, [name])
    report = await apply(config.kafka, topics_for(config))
    assert report.differences == [
        Difference(topic=name, setting="cleanup.policy", is_="compact", should_be="delete"),
        Difference(topic=name, setting="retention.ms", is_="3600000", should_be="2592000000"),
        Difference(topic=name, setting="partitions", is_="9", should_be="6"),
    ]
    assert name not in report.created + report.unchanged
    assert await as_they_stand(config.kafka, [name]) == before
    with pytest.raises(Fatal, match=r"pisano.invitations has 9 partitions, and the configuration says 6"):
        await require(config.kafka, topics_for(config))


@pytest.fixture
def wishful(file: Path) -> Config:
    """A configuration that changes some topics of the catalogue."""
    changes = (
        "{salesforce.cdc: {retention: 30d, partitions: 3}, pisano.attempts: {retention: 800d, partitions: 2}, "
        "pisano.invitations: {partitions: 2}, pisano.waiting: {partitions: 2}}"
    )
    return read(file.parent, file.read_text().replace("topic_prefix:", f"topics: {changes}, topic_prefix:"))


async def test_what_the_configuration_wants_otherwise_is_created_and_compared_so(
    config: Config, wishful: Config
) -> None:
    prefix, wanted = wishful.kafka.topic_prefix, topics_for(wishful)
    settings = {"cleanup.policy": "compact,delete", "retention.ms": f"{400 * 86_400_000}", "segment.bytes": "67108864"}
    forgetful = await topics.create(wishful.kafka, "pisano.attempts", 2, **settings)
    await as_they_stand(wishful.kafka, [forgetful])
    report = await apply(wishful.kafka, wanted)
    assert report.differences == [
        Difference(topic=forgetful, setting="retention.ms", is_="34560000000", should_be="69120000000")
    ]
    with pytest.raises(Fatal, match=rf"Kafka deletes records of {forgetful} that are still needed"):
        await require(wishful.kafka, wanted)

    stand = await as_they_stand(wishful.kafka, [f"{prefix}salesforce.cdc.Case", f"{prefix}pisano.invitations"])
    cases, invitations = stand[f"{prefix}salesforce.cdc.Case"], stand[f"{prefix}pisano.invitations"]
    assert (cases["partitions"], cases["retention.ms"]) == ("3", "2592000000")
    assert (invitations["partitions"], invitations["retention.ms"]) == ("2", "2592000000")

    with pytest.raises(Fatal, match=r"pisano.attempts has 2 partitions, and the configuration says 6"):
        await require(config.kafka, topics_for(config))


@pytest.mark.parametrize(
    ("name", "partitions", "settings"),
    [
        (
            "salesforce.positions",
            12,
            {"cleanup.policy": "delete"},
        ),  # the settings of a topic that the broker created by itself
        ("pisano.attempts", 6, {"cleanup.policy": "compact,delete", "retention.ms": "86400000"}),
        ("salesforce.writes", 6, {"cleanup.policy": "compact,delete", "retention.bytes": "1000000"}),
        ("pisano.invitations", 6, {"cleanup.policy": "compact"}),  # one invitation per account would survive
        ("connector.deadletters", 3, {"cleanup.policy": "compact,delete", "retention.ms": "-1"}),
        ("connector.parked", 6, {"retention.ms": "3600000"}),
        ("pisano.feedback", 6, {"retention.ms": "-1", "retention.bytes": "1000000"}),
    ],
)
async def test_a_topic_that_forgets_what_is_still_needed_is_refused(
    config: Config, name: str, partitions: int, settings: Mapping[str, str]
) -> None:
    """With such a topic a stage would, weeks later and silently, resume in the wrong place, ask a customer twice, or
    never see what waits for it."""
    forgetful = await topics.create(config.kafka, name, partitions, **settings)
    await apply(config.kafka, topics_for(config))
    with pytest.raises(Fatal, match=rf"Kafka deletes records of {forgetful} that are still needed"):
        await require(config.kafka, topics_for(config))


async def test_a_topic_that_remembers_longer_is_welcome(config: Config) -> None:
    await topics.create(config.kafka, "pisano.attempts", 6, cleanup_policy="compact")
    await topics.create(config.kafka, "pisano.feedback", 6, retention_ms="-1")
    await topics.create(config.kafka, "salesforce.writes", 6, cleanup_policy="delete", retention_ms="-1")
    await apply(config.kafka, topics_for(config))
    await require(config.kafka, topics_for(config))


@pytest.fixture
def brief(file: Path) -> Config:
    """A configuration that keeps what is parked for less time, on purpose."""
    changes = "topics: {connector.parked: {retention: 3d}}, topic_prefix:"
    return read(file.parent, file.read_text().replace("topic_prefix:", changes))


async def test_a_shorter_retention_that_the_configuration_names_is_welcome(config: Config, brief: Config) -> None:
    await apply(brief.kafka, topics_for(brief))
    await require(brief.kafka, topics_for(brief))
    with pytest.raises(Fatal, match=r"connector.parked that are still needed.* give it under kafka.topics"):
        await require(config.kafka, topics_for(config))


def test_two_processes_at_once_create_each_topic_once(config: Config, file: Path) -> None:
    both = [connector("topics", "apply", str(file)) for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    created = [line.split()[1] for out, _ in said for line in out.splitlines() if line.startswith("created")]
    assert sorted(created) == sorted(topic.name for topic in topics_for(config))


def test_a_topic_that_kafka_refuses_is_not_called_created(config: Config, file: Path) -> None:
    """One broker cannot hold three replicas; the operator reads the broker's own message about it."""
    file.write_text(file.read_text().replace("topic_prefix:", "replication_factor: 3, topic_prefix:"))
    process = connector("topics", "apply", str(file))
    out, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (2, "")
    lines = said.splitlines()
    assert lines[0] == "connector: Kafka refuses to create these topics:"
    assert len(lines) == 1 + len(topics_for(config))
    assert all("replication factor" in line for line in lines[1:])
    with pytest.raises(Fatal, match="these topics are missing in Kafka"):
        asyncio.run(require(config.kafka, topics_for(config)))


def test_the_list_names_each_topic_in_full_even_into_a_pipe(config: Config, file: Path) -> None:
    out, said = connector("topics", "list", str(file), environ={"COLUMNS": "80"}).communicate(timeout=PATIENCE)
    assert said == ""
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if line.startswith("│")]
    listed = {row[0]: row for row in rows if row[0]}
    for topic in topics_for(config):
        assert listed[topic.name][1] == str(topic.partitions)
        assert listed[topic.name][4] == ("yes" if topic.personal_data else "no")


async def test_the_largest_record_that_kafka_takes_can_become_a_dead_letter(config: Config) -> None:
    """With our headers it exceeds Kafka's default limit; if it could not become a dead letter, its stage would stop."""
    await apply(config.kafka, topics_for(config))
    source = config.kafka.topic_prefix + "salesforce.cdc.Case"
    largest = b"x" * (2 * 1024 * 1024 - 100)
    await topics.publish(config.kafka, [OutRecord(source, None, largest, [])])
    (record,) = await topics.read(config.kafka, "salesforce.cdc.Case")
    letter = DeadLetters(config.kafka, "trigger", lambda *_: None).of_record(
        InRecord(source, 0, record.offset, record.key, record.value, record.headers, 0.0),
        "unreadable",
        ValueError("?"),
        "trigger/x",
    )
    await topics.publish(config.kafka, [letter])
    (buried,) = await topics.read(config.kafka, "connector.deadletters")
    assert buried.value == largest


async def test_a_dead_letter_is_the_record_byte_for_byte(config: Config) -> None:
    """Key, value and headers stay the same: missing, empty, repeated, without a value, or bytes that are no text."""
    await apply(config.kafka, topics_for(config))
    headers = (("a", b"1"), ("a", b"2"), ("empty", b""), ("none", None), ("bytes", b"\xff\x00"))
    given = [(None, b"\xff\xfe"), (b"", b""), (b"\x00key", None)]
    letters = DeadLetters(config.kafka, "send", lambda *_: None)
    records = [InRecord("elsewhere", 3, offset, *content, headers, 0.0) for offset, content in enumerate(given)]
    await topics.publish(
        config.kafka,
        [letters.of_record(record, "unreadable", ValueError("jane@example.com"), "send/main/x") for record in records],
    )
    found = {dict(r.headers)["dl_offset"]: r for r in await topics.read(config.kafka, "connector.deadletters")}
    for offset, (key, value) in enumerate(given):
        buried = found[str(offset).encode()]
        assert (buried.key, buried.value) == (key, value)
        assert tuple(buried.headers[: len(headers)]) == headers
        ours = dict(buried.headers[len(headers) :])
        assert datetime.fromisoformat(ours.pop("dl_at").decode()).utcoffset() == timedelta(0)
        assert ours == {
            "dl_stage": b"send",
            "dl_reason": b"unreadable",
            "dl_error": b"ValueError: j***@example.com",
            "dl_cell": b"send/main/x",
            "dl_topic": b"elsewhere",
            "dl_partition": b"3",
            "dl_offset": str(offset).encode(),
        }
