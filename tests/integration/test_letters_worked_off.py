"""`connector deadletters` on a real broker: letters of each stage are listed, shown, retried, discarded, each once."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from helpers import topics
from helpers.change_events import as_records as change_records
from helpers.change_events import change
from helpers.commands import command
from helpers.invitations import as_records as invitation_records
from helpers.invitations import invitation
from helpers.service import Setup, running_app, set_up
from helpers.waiting import until

from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.inbound import InRecord, consumed
from connector.operate.work_off import Tally, work_off
from connector.records import Feedback, Write, digest, read
from connector.sandbox.doubles.salesforce import SalesforceDouble

_SECRET = "Ada Byron"  # a customer's value, which no command shows without being asked


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble) -> Setup:
    return await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf)


def answer(case: str, **body: object) -> Feedback:
    values = {"sf_ref_id": case, "nps_score": 9, "name": _SECRET, "email": "ada@acme.com", **body}
    id_, at = digest("made up", repr(sorted(values.items()))), datetime(2026, 1, 1, tzinfo=UTC)
    return Feedback(id=id_, account="main", received_at=at, body=values)


def feedback_record(setup: Setup, feedback: Feedback) -> OutRecord:
    return to_record(
        setup.kafka.topic_prefix + "pisano.feedback",
        str(feedback.body["sf_ref_id"]),
        feedback,
        ce_type="pisano.feedback",
        ce_source="/accounts/main",
        ce_id=feedback.id,
        ce_time=feedback.received_at,
    )


async def listed(setup: Setup, *filters: str) -> list[dict[str, Any]]:
    ended = await command(setup, "deadletters", "list", "--json", *filters)
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == (1 if found else 0), ended.stderr
    return found


async def letters_of(setup: Setup, source: OutRecord, count: int, *, stage: str = "send") -> list[str]:
    """Writes a record and some dead letters of it. Returns the letters' places."""
    await topics.publish(setup.kafka, [source])
    [*_, record] = [consumed(each) for each in await topics.read(setup.kafka, source.topic.removeprefix(setup.kafka.topic_prefix))]
    make = DeadLetters(setup.kafka, stage, lambda *_: None).of_record
    await topics.publish(
        setup.kafka, [make(record, "unreadable", ValueError("no"), "send/main/closed-case") for _ in range(count)]
    )
    return [row["place"] for row in await listed(setup)]


async def worked_off(setup: Setup, stage: str, topic: str) -> bool:
    count = len(await topics.read(setup.kafka, topic))
    return sum((await topics.committed(setup.kafka, stage)).values()) >= count


async def test_an_answer_that_was_not_written_is_written_by_a_retry_once_the_field_is_mended(
    sf: SalesforceDouble, setup: Setup
) -> None:
    case = sf.create("Case", {"Status": "Closed"})
    sf.add_field("Survey_Response__c", "Email__c", type="email", length=5)
    async with running_app(setup.config, ["write"]):
        await topics.publish(setup.kafka, [feedback_record(setup, answer(case))])
        await until(lambda: worked_off(setup, "write", "pisano.feedback"))
        print(await listed(setup), sf.records("Survey_Response__c"))
        raise AssertionError
