"""Made-up answers for benchmarks of write, and the rules that store them."""

from dataclasses import replace
from datetime import UTC, datetime
from random import Random

from connector.config import Kafka
from connector.kafka.cloud_events import OutRecord, to_record
from connector.records import Feedback, digest

_KEYS = 10_000  # records that the answers are about
RULES = {
    "response": {
        "upsert": "Survey_Response__c",
        "by": {"Pisano_Id__c": "{{ body.key }}"},
        "fields": {
            "Score__c": "{{ body.number }}",
            "Email__c": "{{ body.email }}",
            "Source__c": "{{ body.source_platform }}",
            "Comment__c": "{{ body.comment | url_decode }}",
        },
    },
    "detractor": {
        "when": "body.number != blank and body.number < 0",
        "update": "Case",
        "by": {"Id": "{{ body.sf_ref_id }}"},
        "fields": {"Status": "Reopened"},
    },
}


def answers(kafka: Kafka, count: int) -> list[OutRecord]:
    """Answers about records drawn at random, numbered in their order."""
    draw = Random(count)
    return [_answer(kafka, f"key-{draw.randrange(_KEYS)}", number) for number in range(count)]


def _answer(kafka: Kafka, key: str, number: int) -> OutRecord:
    body = {
        "key": key,
        "number": number,
        "sf_ref_id": "5005g0000000001AAA",
        "email": f"customer-{number}@example.com",
        "source_platform": "email",
        "comment": "The%20hotline%20was%20kind%2C%20but%20slow.",
        "nps_score": 9,
    }
    feedback = Feedback(id=digest(key, str(number)), account="main", received_at=datetime.now(UTC), body=body)
    record = to_record(
        kafka.topic_prefix + "pisano.feedback",
        key,
        feedback,
        ce_type="pisano.feedback",
        ce_source="/accounts/main",
        ce_id=feedback.id,
        ce_time=feedback.received_at,
    )
    return replace(record, value=feedback.model_dump_json(exclude={"kind"}).encode())  # the earlier build has no kinds
