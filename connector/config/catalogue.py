"""The topic catalogue: the topics in `topics/*.yaml`, with the changes that a configuration makes."""

import math
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from connector.config import Config, Kafka, TopicSettings
from connector.config.types import Seconds
from connector.paths import folder

# Pairs of a topic and one that stores, partition by partition, what a stage did with each of its records.
MEMORIES = (
    ("pisano.invitations", "pisano.attempts"),
    ("pisano.invitations", "pisano.waiting"),
    ("pisano.feedback", "salesforce.writes"),
)
REMEMBERED_LONGER = 7 * 86400.0  # seconds longer than the record itself, which can outlive its retention:
# Kafka deletes only whole segments, and begins a new one after segment.ms, 7 days
_SEGMENT = 64 * 1024 * 1024  # bytes: Kafka compacts only closed segments; with its default we would read back 1 GB


class Topic(BaseModel):
    """One topic of the catalogue; `name` may hold `{entity}`. `retention` is in seconds; None means for ever.

    `largest_record` is in bytes; None leaves it to the broker, whose default is 1 MB.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    summary: str
    owner: str
    schemas: Annotated[
        tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v), Field(alias="schema")
    ] = ()
    key: str
    partitions: int
    cleanup: Literal["delete", "compact", "compact,delete"]
    retention: Seconds | None = None
    largest_record: int | None = None
    personal_data: bool

    @property
    def family(self) -> str:
        """The topic's name in the setting `kafka.topics`."""
        return self.name.removesuffix(".{entity}")

    def changed_by(self, settings: TopicSettings) -> "Topic":
        """The topic with a configuration's changes."""
        return self.model_copy(update=settings.model_dump(exclude_none=True))

    @property
    def is_read_back(self) -> bool:
        """Whether a stage reads the topic at each start, to learn what it did before."""
        return "compact" in self.cleanup

    @property
    def kept(self) -> str:
        """How long records are kept, in words."""
        time = "ever" if self.retention is None else f"{self.retention / 86400:g} days"
        return f"the last record per key, for {time}" if self.is_read_back else time

    def settings(self) -> dict[str, str]:
        """Kafka's own configuration of the topic."""
        retention = -1 if self.retention is None else int(self.retention * 1000)
        settings = {"cleanup.policy": self.cleanup, "retention.ms": str(retention), "retention.bytes": "-1"}
        if self.is_read_back:
            settings["segment.bytes"] = str(_SEGMENT)
        if self.largest_record is not None:
            settings["max.message.bytes"] = str(self.largest_record)
        return settings

    def is_forgotten_early(self, actual: Mapping[str, str]) -> bool:
        """Whether Kafka, with these settings, deletes records that must be kept."""
        policy = actual.get("cleanup.policy", "")
        if "compact" in policy and not self.is_read_back:
            return True  # every record counts there, and not only the last of its key
        if "delete" not in policy:
            return False
        kept = int(actual.get("retention.ms", -1))
        needed = math.inf if self.retention is None else self.retention * 1000
        return actual.get("retention.bytes", "-1") != "-1" or 0 <= kept < needed


@cache
def catalogue() -> tuple[Topic, ...]:
    """Every topic, in the order of its file's name."""
    files = sorted(folder("topics").glob("*.yaml"))
    return tuple(Topic.model_validate(yaml.safe_load(file.read_text(encoding="utf-8"))) for file in files)


def configured(kafka: Kafka) -> list[Topic]:
    """Every topic of the catalogue, with the configuration's changes."""
    return [topic.changed_by(kafka.topics.get(topic.family, TopicSettings())) for topic in catalogue()]


def retention(kafka: Kafka, name: str) -> timedelta:
    """How long the topic `name` (without a prefix) keeps its records. Raises ValueError if that is for ever."""
    (seconds,) = (topic.retention for topic in configured(kafka) if topic.name == name)
    if seconds is None:
        raise ValueError(f"{name} keeps its records for ever")
    return timedelta(seconds=seconds)


def entity_topics(config: Config) -> dict[str, str]:
    """The topic of each entity that a channel names, or that a survey uses from a channel with several entities."""
    named = {entity for entity in map(_entity, config.salesforce.channels) if entity}
    wanted = named | {survey.on for survey in config.surveys.values()}
    return {
        entity: f"{config.kafka.topic_prefix}salesforce.{'events' if entity.endswith('__e') else 'cdc'}.{entity}"
        for entity in sorted(wanted)
    }


def topics_for(config: Config) -> list[Topic]:
    """The topics that this configuration needs, with their full names and the configuration's changes."""
    entities = entity_topics(config)
    needed: list[Topic] = []
    for topic in configured(config.kafka):
        if "{entity}" in topic.name:
            kind = topic.name.removesuffix("{entity}")
            names = [name for name in entities.values() if name.startswith(config.kafka.topic_prefix + kind)]
        else:
            names = [config.kafka.topic_prefix + topic.name]
        needed += [topic.model_copy(update={"name": name}) for name in names]
    return needed


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
