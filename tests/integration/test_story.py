"""The demo tells the story from the topics' records, in any order."""

from contextlib import aclosing
from datetime import UTC, datetime

from helpers import topics

from connector.config import Kafka
from connector.kafka.cloud_events import to_record
from connector.records import Feedback, Write
from connector.sandbox.cast import Customer
from connector.sandbox.story import Story

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CASE = "5005g0000000001AAA"


async def test_a_write_that_is_read_before_its_feedback_is_told(bootstrap_servers: str, unique: str) -> None:
    kafka = Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)
    for topic in ("pisano.invitations", "pisano.attempts", "pisano.feedback", "salesforce.writes"):
        await topics.create(kafka, topic)
    feedback = Feedback(id="feedback", account="main", received_at=NOW, body={"sf_ref_id": CASE})
    write = Write(
        id="write",
        feedback=feedback.id,
        rule="response",
        operation="upsert",
        object="Survey_Response__c",
        key_field="Pisano_Id__c",
        key=feedback.id,
        fields={},
        success=True,
        record_id="a0X5g0000000001AAA",
        created=True,
        error=None,
        at=NOW,
    )
    story = Story(kafka, {CASE: Customer("Ada", "Lovelace", "ada@example.com", score=9)})
    async with aclosing(story.follow()) as looks:
        for topic, told in (("salesforce.writes", write), ("pisano.feedback", feedback)):
            record = to_record(
                unique + topic, told.id, told, ce_type="made.up", ce_source="/made/up", ce_id=told.id, ce_time=NOW
            )
            await topics.publish(kafka, [record])
            while not await anext(looks):
                pass
    assert story.fates[CASE].writes == [write]
