"""The topics of a configuration in Kafka: creates those that are missing, and reports settings that differ."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NoError, TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code
from pydantic import BaseModel

from connector.config import Kafka
from connector.config.catalogue import MEMORIES, Topic, configured
from connector.errors import Fatal
from connector.kafka.connection import admin_client
from connector.kafka.errors import missing_right, translated
from connector.kafka.told import Told, told
from connector.kafka.topic_ids import TopicIds

_TIMEOUT = 30_000  # milliseconds for creating topics; a cluster of hundreds takes seconds
_FENCED = "fenced"  # said of a broker that has just started or that the controller has not heard for a while: it passes
# What we remember for a key lies in the partition that the key has by this number of partitions.
_KEYED = {"salesforce.positions", *(name for pair in MEMORIES for name in pair)}
_LOOK = 0.05  # seconds between two checks whether a topic is known, or a broker is back


class Difference(BaseModel):
    """A setting of an existing topic that differs from the configuration."""

    topic: str
    setting: str
    is_: str
    should_be: str


class Report(BaseModel):
    """What `apply` did and found."""

    created: list[str] = []
    unchanged: list[str] = []
    differences: list[Difference] = []


async def apply(kafka: Kafka, topics: Sequence[Topic]) -> Report:
    """Creates what is missing and reports what differs; never deletes, shrinks or changes anything.

    A topic that another client creates at the same moment counts as unchanged.

    Raises:
        Fatal: No broker answers, or Kafka refuses us. Kafka has still created the topics that it did not refuse.
    """
    async with admin_client(kafka) as admin:
        existing = await _existing(admin, topics)
        absent = [topic for topic in topics if topic.name not in existing]
        created = await _create(admin, absent, kafka)
        await _until_known(admin, absent)
        present = [topic for topic in topics if topic.name in existing]
        differences = _differences(present, existing, await _settings(admin, [topic.name for topic in present]))
    changed = {*created, *(difference.topic for difference in differences)}
    unchanged = [topic.name for topic in topics if topic.name not in changed]
    return Report(created=created, unchanged=unchanged, differences=differences)


async def settings(kafka: Kafka, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Kafka's own settings of topics, by their full names. Raises Fatal when no broker answers or Kafka refuses us."""
    async with admin_client(kafka) as admin:
        return await _settings(admin, names)


async def require(kafka: Kafka, topics: Sequence[Topic], ids: TopicIds | None = None) -> None:
    """Checks that the stages can work with the topics as they are, and with `ids`, that none was created anew.

    Raises:
        Fatal: A topic is missing. Or its number of partitions is wrong, so that a stage would not find what was done.
            Or Kafka deletes what a stage reads back at its start, so that it would resume elsewhere or ask a customer
            twice, or what still waits for a stage. The latter is not known where this user lacks DESCRIBE_CONFIGS.
    """
    async with admin_client(kafka) as admin:
        found = await told(admin, [topic.name for topic in topics])
        if ids:
            ids.require_the_same(found)
        existing = await _existing(admin, topics)
        compared = [t.name for t in topics if t.is_read_back or _may_compare(found.get(t.name))]
        settings = await _settings(admin, [name for name in compared if name in existing])
    missing = [topic.name for topic in topics if topic.name not in existing]
    if missing:
        raise Fatal(
            f"these topics are missing in Kafka, or hidden from this user: {', '.join(missing)}. "
            "Create them with `connector topics apply`."
        )
    _require_partitions(kafka, topics, existing)
    forgetful = [
        topic.name for topic in topics if topic.name in settings and topic.is_forgotten_early(settings[topic.name])
    ]
    if forgetful:
        raise Fatal(
            f"Kafka deletes records of {', '.join(forgetful)} that are still needed. Set cleanup.policy, retention.ms "
            "and retention.bytes as `connector topics apply` says. If a shorter retention is meant, give it under "
            "kafka.topics."
        )


def _may_compare(found: Told | None) -> bool:
    """Whether this user may ask for the topic's settings. A broker before Kafka 3.0 does not tell."""
    return found is not None and (found.rights is None or "DESCRIBE_CONFIGS" in found.rights)


def _require_partitions(kafka: Kafka, topics: Sequence[Topic], existing: Mapping[str, int]) -> None:
    """The connector remembers what it did for a record under that record's partition number, so numbers must match."""
    for topic in topics:
        if topic.name in existing:
            require_count(kafka, topic.name, existing[topic.name])
    for one, other in MEMORIES:
        counts = [existing.get(kafka.topic_prefix + name) for name in (one, other)]
        if None not in counts and counts[0] != counts[1]:  # a stage may use only one of the two
            raise Fatal(f"{one} has {counts[0]} partitions and {other} {counts[1]}; they must have the same number.")


def require_count(kafka: Kafka, name: str, count: int) -> None:
    """Checks the number of partitions of a topic, by its full name, if what we remember depends on that number.

    Raises:
        Fatal: It is not the configured one.
    """
    base = name.removeprefix(kafka.topic_prefix)
    if base not in _KEYED:
        return
    (wanted,) = (topic.partitions for topic in configured(kafka) if topic.name == base)
    if count != wanted:
        raise Fatal(
            f"{name} has {count} partitions, and the configuration says {wanted}. If the topic was created with that"
            " number, set it under kafka.topics. Partitions that were added or removed later move keys away from what"
            " we remember of them: customers may get a second e-mail, and records may be written again. See"
            " docs/cluster.md."
        )


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[Topic], kafka: Kafka) -> list[str]:
    """The names of the topics that Kafka created. A topic that another client created meanwhile is not among them."""
    created: list[str] = []
    loop = asyncio.get_running_loop()
    until = loop.time() + _TIMEOUT / 1000
    while topics:
        refused = await _create_once(admin, topics, kafka)
        created += [topic.name for topic in topics if topic.name not in refused]
        said = {name: reason for name, reason in refused.items() if reason is not None}
        if said and (loop.time() > until or not any(_FENCED in reason for reason in said.values())):
            lines = [f"  {name}: {reason}" for name, reason in said.items()]
            raise Fatal("\n".join(["Kafka refuses to create these topics:", *lines]))
        topics = [topic for topic in topics if topic.name in said]
        await asyncio.sleep(_LOOK if topics else 0)
    return created


async def _create_once(admin: AIOKafkaAdminClient, topics: Sequence[Topic], kafka: Kafka) -> dict[str, str | None]:
    """Why Kafka did not create a topic, by name; None when the topic exists by now."""
    with translated():
        answer = await admin.create_topics([_new(topic, kafka) for topic in topics], timeout_ms=_TIMEOUT)
    refused: dict[str, str | None] = {}
    for row in answer.to_object()["topic_errors"]:
        error = for_code(row["error_code"])
        if error is TopicAlreadyExistsError:
            refused[row["topic"]] = None
        elif error is not NoError:
            refused[row["topic"]] = row.get("error_message") or error.__name__
    return refused


async def _until_known(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> None:
    """The controller creates topics. The broker that the next client asks learns of them a moment later."""
    names = [topic.name for topic in topics]
    with translated():
        async with asyncio.timeout(_TIMEOUT / 1000):
            while names:
                await asyncio.sleep(_LOOK)
                described = await admin.describe_topics(names)
                _require_visible(described)
                names = [entry["topic"] for entry in described if entry["error_code"]]


def _require_visible(described: Iterable[Mapping[str, Any]]) -> None:
    hidden = [entry["topic"] for entry in described if entry["error_code"] == TopicAuthorizationFailedError.errno]
    if hidden:
        error = TopicAuthorizationFailedError("they are there, but hidden from this user")
        raise missing_right("DESCRIBE", f"Topic {', '.join(hidden)}", error)


async def _existing(admin: AIOKafkaAdminClient, topics: Iterable[Topic]) -> dict[str, int]:
    """The number of partitions of each topic that is there."""
    names = {topic.name for topic in topics}
    with translated():
        present = names.intersection(await admin.list_topics())
        described = await admin.describe_topics(sorted(present)) if present else []
    return {entry["topic"]: len(entry["partitions"]) for entry in described if not entry["error_code"]}


async def _settings(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Kafka's own configuration of each topic, by its name."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    with translated():
        for answer in await admin.describe_configs(resources) if resources else ():
            for code, _, _, name, entries in answer.resources:
                if code == TopicAuthorizationFailedError.errno:
                    raise missing_right("DESCRIBE_CONFIGS", f"Topic {name}", TopicAuthorizationFailedError())
                if code:
                    raise for_code(code)(f"the settings of {name} cannot be read")
                found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _differences(
    topics: Sequence[Topic], partitions: Mapping[str, int], settings: Mapping[str, Mapping[str, str]]
) -> list[Difference]:
    found: list[Difference] = []
    for topic in topics:
        actual = {**settings[topic.name], "partitions": str(partitions[topic.name])}
        for setting, value in {**topic.settings(), "partitions": str(topic.partitions)}.items():
            is_ = actual.get(setting, "")
            if sorted(is_.split(",")) != sorted(value.split(",")):
                found.append(Difference(topic=topic.name, setting=setting, is_=is_, should_be=value))
    return found


def _new(topic: Topic, kafka: Kafka) -> NewTopic:
    new = NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=1, topic_configs=topic.settings())
    new.replication_factor = kafka.replication_factor  # its constructor refuses -1, which is the broker's default
    return new
