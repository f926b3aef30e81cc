"""write is killed and frozen in mid-flight: each answer reaches its record, and no older one overwrites a newer one."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from helpers import topics
from helpers.service import Setup, Workers, set_up
from helpers.waiting import until

from connector.kafka.cloud_events import OutRecord, to_record
from connector.records import Feedback, Write, digest, read
from connector.sandbox.doubles.salesforce import Fault, SalesforceDouble

RULE: dict[str, Any] = {
    "score": {"update": "Case", "by": {"Id": "{{ body.sf_ref_id }}"}, "fields": {"NPS__c": "{{ body.nps_score }}"}}
}
WRITES = "PATCH .*/composite/sobjects"


@pytest.fixture
async def sf() -> AsyncIterator[SalesforceDouble]:
    async with SalesforceDouble() as double:
        yield double


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble) -> Setup:
    return await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, feedback=RULE)


@pytest.fixture
def workers(tmp_path: Path, setup: Setup) -> Iterator[Workers]:
    with Workers(setup, "write", tmp_path / "log") as workers:
        yield workers


async def publish(setup: Setup, answers: Iterable[tuple[str, int]]) -> None:
    """Publishes the answers, each a case and its score, in the form that receive writes."""
    await topics.publish(setup.kafka, (_record(setup, case, score) for case, score in answers))


def _record(setup: Setup, case: str, score: int) -> OutRecord:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    feedback = Feedback(
        id=digest(case, str(score)), account="main", received_at=at, body={"sf_ref_id": case, "nps_score": score}
    )
    topic = setup.kafka.topic_prefix + "pisano.feedback"
    return to_record(
        topic, case, feedback, ce_type="pisano.feedback", ce_source="/accounts/main", ce_id=feedback.id, ce_time=at
    )


def scores(sf: SalesforceDouble, case: str) -> list[Any]:
    """The scores that Salesforce stored, in order."""
    return [write.fields["NPS__c"] for write in sf.history() if write.success and write.record_id == case]


async def test_kill_9_in_mid_flight_leaves_each_case_with_its_last_answer(
    setup: Setup, sf: SalesforceDouble, workers: Workers
) -> None:
    """Salesforce may store the answers around a kill twice, but in order; each write is on its topic."""
    cases = [sf.create("Case", {}) for _ in range(12)]
    sf.fail(Fault(match=WRITES, times=10_000, delay=0.02, done=True))
    for score in range(10):
        await publish(setup, [(case, score) for case in cases])
    for _ in range(2):
        worker, before = workers.start(), len(sf.history())
        await until(lambda before=before: len(sf.history()) > before + 12)
        await asyncio.sleep(random.random() / 20)
        worker.kill()
    workers.start()

    async def all_written() -> bool:
        records = await topics.read(setup.kafka, "salesforce.writes")
        return len({read(Write, record.value).id for record in records}) == 120

    await until(all_written)
    for case in cases:
        found = scores(sf, case)
        assert sorted(set(found)) == list(range(10))
        assert found[-1] == 9
    assert await topics.read(setup.kafka, "connector.deadletters") == []


async def test_a_frozen_worker_that_wakes_up_stores_nothing_over_what_its_successor_stored(
    setup: Setup, sf: SalesforceDouble, workers: Workers
) -> None:
    """The worker wakes just before it repeats a call, but another worker took its partitions long ago."""
    case = sf.create("Case", {})
    sf.fail(Fault(match=WRITES, times=10_000, status=503))
    frozen = workers.start()
    await publish(setup, [(case, 1)])
    await until(lambda: [call for call in sf.calls if call.status == 503])
    frozen.freeze()
    sf.faults.clear()
    workers.start()
    await publish(setup, [(case, 9)])
    await until(lambda: scores(sf, case) == [1, 9])
    frozen.thaw()
    assert await frozen.drain() == 0, frozen.said()  # by then it has done everything that it wanted to do after waking
    assert scores(sf, case) == [1, 9]
