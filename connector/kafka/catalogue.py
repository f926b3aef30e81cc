"""The topic catalogue: what `topics/*.yaml` say, which of them a configuration needs, and how they stand in Kafka."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from pydantic import BaseModel, BeforeValidator, ConfigDict

from connector.config import Config, Kafka
from connector.config_types import Seconds
from connector.errors import Fatal
from connector.kafka.connection import admin_client
from connector.kafka.errors import translated

_TIMEOUT = 30_000  # milliseconds for creating topics


class Topic(BaseModel):
    """One topic of the catalogue; `name` may hold `{entity}`. `retention` in seconds, None for ever."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    summary: str
    owner: str
    schemas: Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)] = ()
    key: str
    partitions: int
    cleanup: Literal["delete", "compact", "compact,delete"]
    retention: Seconds | None = None
    personal_data: bool

    def settings(self) -> dict[str, str]:
        """Kafka's own configuration of the topic."""
        retention = -1 if self.retention is None else int(self.retention * 1000)
        return {"cleanup.policy": self.cleanup, "retention.ms": str(retention)}


class Difference(BaseModel):
    """A setting of an existing topic that is not as the catalogue says."""

    topic: str
    setting: str
    is_: str
    should_be: str


class Report(BaseModel):
    """What `apply` did and found."""

    created: list[str] = []
    unchanged: list[str] = []
    differences: list[Difference] = []


@cache
def folder() -> Path:
    """Where the catalogue lies: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parents[1]
    return next(place for place in (package.parent / "topics", package / "topics") if place.is_dir())


@cache
def catalogue() -> tuple[Topic, ...]:
    """Every topic, in the order of its file's name."""
    files = sorted(folder().glob("*.yaml"))
    return tuple(Topic.model_validate(_renamed(yaml.safe_load(file.read_text()))) for file in files)


def entity_topics(config: Config) -> dict[str, str]:
    """The topic of each entity that a channel names, or that a survey wants from a channel of several."""
    named = {entity for entity in map(_entity, config.salesforce.channels) if entity}
    wanted = named | {survey.on for survey in config.surveys.values()}
    return {
        entity: f"{config.kafka.topic_prefix}salesforce.{'events' if entity.endswith('__e') else 'cdc'}.{entity}"
        for entity in sorted(wanted)
    }


def topics_for(config: Config) -> list[Topic]:
    """The topics that this configuration needs, under their full names."""
    entities = entity_topics(config)
    needed: list[Topic] = []
    for topic in catalogue():
        if "{entity}" in topic.name:
            kind = topic.name.removesuffix("{entity}")
            names = [name for name in entities.values() if name.startswith(config.kafka.topic_prefix + kind)]
        else:
            names = [config.kafka.topic_prefix + topic.name]
        needed += [topic.model_copy(update={"name": name}) for name in names]
    return needed


async def apply(kafka: Kafka, topics: Sequence[Topic]) -> Report:
    """Creates what is missing and reports what differs; never deletes, shrinks or changes anything.

    Raises:
        Fatal: No broker answers, or it refuses us.
    """
    report = Report()
    async with admin_client(kafka) as admin:
        existing = await _existing(admin, topics)
        missing = [topic for topic in topics if topic.name not in existing]
        with translated():
            await admin.create_topics([_new(topic, kafka) for topic in missing], timeout_ms=_TIMEOUT)
        report.created = [topic.name for topic in missing]
        present = [topic for topic in topics if topic.name in existing]
        report.differences = await _differences(admin, present, existing)
        differing = {difference.topic for difference in report.differences}
        report.unchanged = [topic.name for topic in present if topic.name not in differing]
    return report


async def require(kafka: Kafka, topics: Sequence[Topic]) -> None:
    """Raises Fatal when a topic is missing, or two that must have as many partitions as each other do not."""
    async with admin_client(kafka) as admin:
        existing = await _existing(admin, topics)
    missing = [topic.name for topic in topics if topic.name not in existing]
    if missing:
        raise Fatal(
            f"these topics are missing in Kafka: {', '.join(missing)}. Create them with `connector topics apply`."
        )
    for one, other in (("pisano.invitations", "pisano.attempts"), ("pisano.feedback", "salesforce.writes")):
        counts = [existing[kafka.topic_prefix + name] for name in (one, other)]
        if counts[0] != counts[1]:
            raise Fatal(f"{one} has {counts[0]} partitions and {other} {counts[1]}; they must have the same number.")


async def _existing(admin: AIOKafkaAdminClient, topics: Iterable[Topic]) -> dict[str, int]:
    """The number of partitions of each topic that is there."""
    names = {topic.name for topic in topics}
    with translated():
        present = names.intersection(await admin.list_topics())
        described = await admin.describe_topics(sorted(present)) if present else []
    return {entry["topic"]: len(entry["partitions"]) for entry in described}


async def _differences(
    admin: AIOKafkaAdminClient, topics: Sequence[Topic], existing: dict[str, int]
) -> list[Difference]:
    found: list[Difference] = []
    for topic in topics:
        with translated():
            answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name)])
        actual = {entry[0]: entry[1] for answer in answers for resource in answer.resources for entry in resource[4]}
        wanted = {**topic.settings(), "partitions": str(topic.partitions)}
        actual["partitions"] = str(existing[topic.name])
        for setting, value in wanted.items():
            is_ = ",".join(sorted(actual.get(setting, "").split(",")))
            if is_ != ",".join(sorted(value.split(","))):
                found.append(Difference(topic=topic.name, setting=setting, is_=is_, should_be=value))
    return found


def _new(topic: Topic, kafka: Kafka) -> NewTopic:
    new = NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=1, topic_configs=topic.settings())
    new.replication_factor = kafka.replication_factor  # its constructor refuses -1, which is the broker's default
    return new


def _renamed(content: dict[str, object]) -> dict[str, object]:
    """`schema` is a method of every pydantic model, so the field is called `schemas`."""
    return {"schemas" if key == "schema" else key: value for key, value in content.items()}


def _entity(channel: str) -> str | None:
    """The entity of a channel that carries only one (salesforce §B5)."""
    kind, name = channel.strip("/").split("/")
    if kind == "event":
        return name
    if name == "ChangeEvents" or name.endswith("__chn"):
        return None
    return (
        name.removesuffix("__ChangeEvent") + "__c"
        if name.endswith("__ChangeEvent")
        else name.removesuffix("ChangeEvent")
    )
