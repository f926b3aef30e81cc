"""The topic catalogue: complete, consistent with the models, and with all topics that a configuration needs."""

import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from helpers.config_files import MINIMAL, read

from connector import decisions, records
from connector.config.catalogue import (
    MEMORIES,
    REMEMBERED_LONGER,
    Topic,
    catalogue,
    entity_topics,
    retention,
    topics_for,
)
from connector.stages import _captured

ROOT = Path(__file__).parents[2]


def by_name() -> dict[str, Topic]:
    return {topic.name: topic for topic in catalogue()}


def test_the_catalogue_says_of_each_topic_what_its_readers_need() -> None:
    """Reads each file itself, so that a default cannot replace a decision. Only a dead letter has no schema."""
    for file in (ROOT / "topics").glob("*.yaml"):
        said = yaml.safe_load(file.read_text(encoding="utf-8"))
        wanted = {"name", "summary", "owner", "key", "partitions", "cleanup", "personal_data"}
        wanted |= set() if said["name"] in {"connector.deadletters", "connector.parked"} else {"schema"}
        wanted |= set() if said["cleanup"] == "compact" else {"retention"}
        assert wanted <= said.keys(), file
        assert file.stem == said["name"].removesuffix(".{entity}")


def test_every_record_has_a_topic_and_every_schema_a_record() -> None:
    found = [*vars(records).values(), *vars(decisions).values()]
    models = {one.__name__ for one in found if isinstance(one, type) and issubclass(one, records.Record)} - {"Record"}
    assert {name for topic in catalogue() for name in topic.schemas} == models


def test_what_a_stage_reads_back_outlives_what_can_be_replayed() -> None:
    """Otherwise a replay would e-mail a customer or write an answer again, or a channel would forget its position."""
    topics = by_name()
    assert topics["salesforce.positions"].settings()["cleanup.policy"] == "compact"
    for replayed, memory in MEMORIES:
        kept, remembered = topics[replayed].retention, topics[memory].retention
        assert kept is not None
        assert remembered is None or kept + REMEMBERED_LONGER <= remembered
        assert topics[replayed].partitions == topics[memory].partitions
    for topic in catalogue():
        assert topic.settings()["retention.bytes"] == "-1"  # the broker's default may be to delete by size


def test_a_configuration_needs_a_topic_for_each_entity_and_those_that_all_need(tmp_path: Path) -> None:
    text = MINIMAL.replace('"}\n', '", topic_prefix: acme-}\n', 1).replace(
        "[/data/CaseChangeEvent]", "[/data/ChangeEvents, /data/Store__ChangeEvent, /event/Visit__e, /data/All__chn]"
    )
    config = read(tmp_path, text)
    assert entity_topics(config) == {
        "Case": "acme-salesforce.cdc.Case",
        "Store__c": "acme-salesforce.cdc.Store__c",
        "Visit__e": "acme-salesforce.events.Visit__e",
    }
    assert {topic.name for topic in topics_for(config)} == {
        *entity_topics(config).values(),
        *(f"acme-{topic.name}" for topic in catalogue() if "{entity}" not in topic.name),
    }


def test_a_configuration_may_want_other_retention_and_partitions(tmp_path: Path) -> None:
    """One name sets the topics of all entities. Settings that it does not mention stay as they are."""
    changes = "topics: {salesforce.cdc: {retention: 30d, partitions: 12}, salesforce.writes: {retention: 90d}}"
    text = MINIMAL.replace('"}\n', f'", topic_prefix: acme-, {changes}}}\n', 1)
    config = read(tmp_path, text.replace("[/data/CaseChangeEvent]", "[/data/CaseChangeEvent, /data/LeadChangeEvent]"))
    wanted = {topic.name: topic for topic in topics_for(config)}
    for entity in ("Case", "Lead"):
        cdc = wanted[f"acme-salesforce.cdc.{entity}"]
        assert (cdc.retention, cdc.partitions, cdc.kept) == (30 * 86400, 12, "30 days")
        assert cdc.settings()["retention.ms"] == "2592000000"
    assert retention(config.kafka, "salesforce.writes") == timedelta(days=90)
    assert wanted["acme-salesforce.writes"].partitions == by_name()["salesforce.writes"].partitions
    assert retention(config.kafka, "pisano.attempts") == timedelta(seconds=by_name()["pisano.attempts"].retention or 0)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and its catalogue, which a test may damage."""
    shutil.copytree(ROOT / "connector", tmp_path / "connector", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "topics", tmp_path / "topics")
    return tmp_path


def docs(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from connector.cli import main; main()", "topics", "docs", *options]
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=folder)  # noqa: S603


def test_the_reference_is_written_and_a_stale_one_is_found(copy: Path) -> None:
    assert docs(copy, "--check").returncode == 0

    page, document, schema, topic = (
        copy / "topics" / name for name in ("README.md", "asyncapi.json", "schemas/Write.json", "pisano.feedback.yaml")
    )
    topic.write_text(topic.read_text().replace("retention: 30d", "retention: 31d"))
    schema.unlink()
    found = docs(copy, "--check")
    assert found.returncode == 1
    assert found.stdout.splitlines()[1:] == [f"  {page}", f"  {document}", f"  {schema}"]

    assert docs(copy).returncode == 0
    assert "| kept | 31 days |" in page.read_text()
    assert schema.read_bytes() == (ROOT / "topics/schemas/Write.json").read_bytes()
    assert docs(copy, "--check").returncode == 0


def test_the_largest_event_that_capture_writes_fits_into_its_topics_and_a_dead_letter_around_it() -> None:
    """There is room for key and headers. An event that did not fit would stop its channel."""
    room = 64 * 1024  # bytes; Salesforce's ids and our headers take hundreds
    topics = by_name()
    for name in ("salesforce.cdc.{entity}", "salesforce.events.{entity}"):
        largest = topics[name].largest_record or 0
        assert _captured._LARGEST + room <= largest
        assert largest + room <= (topics["connector.deadletters"].largest_record or 0)
