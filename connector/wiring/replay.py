"""Builds what `connector replay` does with the records of a stage."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connector.config import Config, Kafka, catalogue
from connector.errors import Fatal
from connector.kafka import topics
from connector.kafka.cloud_events import OutRecord
from connector.kafka.dead_letters import DEAD_LETTERS, DeadLetters
from connector.kafka.inbound import InRecord
from connector.kafka.kept import Progress
from connector.kafka.publisher import Publisher
from connector.operate.again import BESIDE, Foresee, TriggerAgain, WriteAll, WriteDryRun, invited
from connector.operate.foreseen import Sending
from connector.operate.replay import Work, copies
from connector.salesforce import CollectionWriter, RecordWrite, Unless, Written, in_any_case
from connector.wiring import trigger, write
from connector.wiring.shared import Shared

_OUTPUTS = {"trigger": "pisano.invitations", "send": "pisano.invitations", "write": "pisano.feedback"}


@asynccontextmanager
async def dry_run(config: Config, stage: str, *, shadow: str | None, progress: Progress) -> AsyncIterator[Work]:
    """Work that says what would come of records, and writes nothing. With a `shadow`, no sender knows of them.

    Raises:
        Fatal, Retryable: What is known of earlier invitations or writes cannot be read.
    """
    if stage == "send":
        yield (await Sending.load(config, progress)).work
        return
    async with Shared(config) as shared:
        if stage == "write":
            yield _write_dry_run(shared).work
        else:
            sending = None if shadow else await Sending.load(config, progress)
            yield _trigger_again(shared, config.kafka, sending, sending.of if sending else invited).work


@asynccontextmanager
async def real_run(config: Config, stage: str, *, shadow: str | None, progress: Progress) -> AsyncIterator[Work]:
    """Work that runs a stage again. Everything that it writes goes to the topics with the prefix `shadow`, if given.

    Raises:
        Fatal, Retryable: What is known of earlier invitations cannot be read, Kafka does not take records, or the
            topics of the shadow cannot be created.
    """
    kafka = config.kafka if shadow is None else await _shadow(config, stage, shadow)
    publisher = Publisher(kafka)
    await publisher.start()
    try:
        if stage == "trigger":
            sending = None if shadow else await Sending.load(config, progress)
            async with Shared(config) as shared:
                yield _trigger_again(shared, kafka, sending, write=publisher.send_all).work
        else:
            yield copies(kafka, publisher.send_all)
    finally:
        await publisher.stop()


async def _shadow(config: Config, stage: str, prefix: str) -> Kafka:
    """Kafka with another prefix, under which the topics of the stage's output are created if they are missing."""
    kafka = config.kafka.model_copy(update={"topic_prefix": prefix})
    names = {prefix + name for name in (_OUTPUTS[stage], DEAD_LETTERS)}
    wanted = [
        topic for topic in catalogue.topics_for(config.model_copy(update={"kafka": kafka})) if topic.name in names
    ]
    report = await topics.apply(kafka, wanted)
    for each in report.differences:
        if each.setting == "partitions":
            raise Fatal(f"{each.topic} has {each.is_} partitions, and should have {each.should_be}: use another prefix")
    return kafka


def _trigger_again(
    shared: Shared, kafka: Kafka, sending: Sending | None, tell: Foresee = invited, write: WriteAll | None = None
) -> TriggerAgain:
    """`kafka` has the prefix of the topics to write to. `sending` is what the senders of these topics know."""
    rules, topic = trigger.rules(shared), kafka.topic_prefix + _OUTPUTS["trigger"]
    letters = DeadLetters(kafka, "trigger", lambda *labels: shared.metrics.dead_letters.labels(*labels).inc())
    return TriggerAgain(
        lambda publish: trigger.stage(shared, rules, publish, topic).plan,
        letters.of_record,
        tell,
        write,
        sending.elsewhere if sending else lambda _: None,
        shared.config.service.breaker.make,
    )


class _Unwritten(CollectionWriter):
    """Answers as if Salesforce took every value."""

    def __init__(self) -> None:
        """Needs no Salesforce."""

    async def write(self, write: RecordWrite, unless: Unless = in_any_case) -> Written:
        error = unless()
        return Written(error is None, error=error, fields=dict(write.fields), left_out=dict(write.left_out))


def _write_dry_run(shared: Shared) -> WriteDryRun:
    published: list[OutRecord] = []

    async def publish(record: OutRecord) -> None:
        published.append(record)

    def letter(record: InRecord, *_: object) -> OutRecord:
        return OutRecord(BESIDE, record.key, record.value, [])

    return WriteDryRun(write.stage(shared, _Unwritten(), publish, letter).plan, published)
