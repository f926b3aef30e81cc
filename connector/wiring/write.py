"""Builds write from the configuration."""

from collections.abc import AsyncIterator

from connector.config import catalogue
from connector.kafka.outbox import Outbox
from connector.kafka.read_back import read_back
from connector.kafka.stage_worker import StageWorker
from connector.records import Write, read
from connector.salesforce import CollectionWriter
from connector.stages.write import Publish, SetAside, WriteBack
from connector.wiring.shared import Shared

# Answers of a rule in memory: five full calls, which is what one object may have at once, and as many for the next.
_IN_FLIGHT = 2_000


def build(shared: Shared) -> StageWorker:
    """The worker that reads the feedback."""
    settings = shared.config.salesforce
    writer = CollectionWriter(
        shared.rest, batch=settings.write_batch, calls=settings.write_calls, sure=shared.awake.sure
    )
    publish = Outbox(shared.publisher.send_all).publish
    write = stage(shared, writer, publish, shared.letters("write").of_record)
    topics, rules = [shared.topic("pisano.feedback")], shared.config.feedback
    return shared.worker("write", topics, write.plan, in_flight=_IN_FLIGHT, settle=write.forget, configured=rules)


def stage(shared: Shared, writer: CollectionWriter, publish: Publish, set_aside: SetAside) -> WriteBack:
    """The stage itself."""
    config, topic = shared.config, shared.topic("salesforce.writes")

    async def writes(partition: int) -> AsyncIterator[Write]:
        async for record in read_back(config.kafka, topic, partition):
            if record.value is not None:
                yield read(Write, record.value)

    return WriteBack(
        config.feedback,
        writer,
        publish,
        topic,
        read_writes=writes,
        kept=catalogue.retention(config.kafka, "salesforce.writes"),
        set_aside=set_aside,
        metrics=shared.metrics,
    )
