"""write on a real broker with the Salesforce double: it stores each answer once, in order, and undoes nothing."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from helpers import topics
from helpers.service import Process, Setup, in_flight, running_app, set_up, why_held
from helpers.waiting import until

from connector.config import Kafka
from connector.kafka.cloud_events import OutRecord, to_record
from connector.records import Feedback, Write, digest, read
from connector.sandbox.doubles.salesforce import Fault, SalesforceDouble
from connector.wiring import App

PARTITIONS = 6


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble) -> Setup:
    """The example's rules: each answer becomes a Survey_Response__c, and a detractor's case is reopened."""
    return await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf)


def answer(case: str | None, score: object = 9, **body: object) -> Feedback:
    values = {"sf_ref_id": case, "nps_score": score, **body}
    return Feedback(
        id=digest("made up", repr(sorted(values.items(), key=str))),
        account="main",
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
        body=values,
    )


def as_records(kafka: Kafka, answers: Iterable[Feedback]) -> list[OutRecord]:
    """The answers as records, in the form that receive writes."""
    return [
        to_record(
            kafka.topic_prefix + "pisano.feedback",
            str(feedback.body["sf_ref_id"] or feedback.id),
            feedback,
            ce_type="pisano.feedback",
            ce_source="/accounts/main",
            ce_id=feedback.id,
            ce_time=feedback.received_at,
        )
        for feedback in answers
    ]


async def publish(setup: Setup, answers: Iterable[Feedback]) -> None:
    await topics.publish(setup.kafka, as_records(setup.kafka, answers))


async def worked_off(setup: Setup) -> bool:
    count = len(await topics.read(setup.kafka, "pisano.feedback"))
    return sum((await topics.committed(setup.kafka, "write")).values()) == count


async def write(setup: Setup, answers: Iterable[Feedback] = ()) -> None:
    """Publishes the answers and runs the stage until all answers are worked off."""
    await publish(setup, answers)
    async with running_app(setup.config, ["write"]):
        await until(lambda: worked_off(setup))


async def written(setup: Setup) -> list[Write]:
    return [read(Write, record.value) for record in await topics.read(setup.kafka, "salesforce.writes")]


async def letters(setup: Setup) -> dict[str, dict[str, str]]:
    """The headers of each dead letter, by feedback id; `dl_error` joins its rules' errors. Checks key and value."""
    sources = {(r.topic, r.partition, r.offset): r for r in await topics.read(setup.kafka, "pisano.feedback")}
    found: dict[str, dict[str, str]] = {}
    for letter in await topics.read(setup.kafka, "connector.deadletters"):
        headers = {name: value.decode() for name, value in letter.headers}
        source = sources[headers["dl_topic"], int(headers["dl_partition"]), int(headers["dl_offset"])]
        assert (letter.key, letter.value) == (source.key, source.value)
        earlier = found.get(headers["ce_id"], {}).get("dl_error", "")
        found[headers["ce_id"]] = {**headers, "dl_error": f"{earlier} {headers['dl_error']}".strip()}
    return found


def collection_calls(sf: SalesforceDouble) -> int:
    return sum("composite/sobjects" in call.what for call in sf.calls)


async def all_in_flight(app: App, count: int) -> bool:
    return await in_flight(app, "write") == count


async def test_many_answers_are_stored_in_few_calls_each_with_its_own_result(
    sf: SalesforceDouble, setup: Setup, may_answer: asyncio.Event
) -> None:
    """Upserts by external id and updates by Id; every write is on salesforce.writes with Salesforce's answer.

    The stage has read back its earlier writes. The answers arrive during the first calls.
    """
    cases = [sf.create("Case", {"Status": "Closed"}) for _ in range(250)]
    answers = [answer(case, score=number % 11) for number, case in enumerate(cases)]
    first, others = as_records(setup.kafka, answers[:PARTITIONS]), answers[PARTITIONS:]
    async with running_app(setup.config, ["write"]) as app:
        await topics.publish(setup.kafka, [replace(record, partition=n) for n, record in enumerate(first)])
        await until(lambda: worked_off(setup))
        calls_before = collection_calls(sf)
        may_answer.clear()
        sf.fail(Fault(match="composite/sobjects", delay=1.0, times=10))  # all that begin by then
        await publish(setup, others)
        await until(lambda: all_in_flight(app, len(others)))
        may_answer.set()
        await until(lambda: worked_off(setup))
    responses = {record["Pisano_Id__c"]: record for record in sf.records("Survey_Response__c")}
    assert {key: (record["Case__c"], record["Score__c"]) for key, record in responses.items()} == {
        a.id: (a.body["sf_ref_id"], a.body["nps_score"]) for a in answers
    }
    reopened = {case for number, case in enumerate(cases) if number % 11 < 3}
    assert {record["Id"] for record in sf.records("Case") if record["Status"] == "Reopened"} == reopened
    done = await written(setup)
    assert Counter(entry.rule for entry in done) == {"response": 250, "detractor": len(reopened)}
    assert all(entry.success and entry.record_id for entry in done)
    assert collection_calls(sf) - calls_before <= 6  # of each kind: the first call, then at most two full ones
    assert {entry.client for entry in sf.history()} == {"pisano-connector"}


async def test_answers_about_one_record_are_stored_in_their_order_though_it_is_locked(
    tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble
) -> None:
    """This includes two rules of one answer for the same record, and both forms of the record's id."""
    feedback: dict[str, Any] = {
        "csat": {"update": "Case", "by": {"Id": "{{ body.form }}"}, "fields": {"CSAT__c": "{{ body.nps_score }}"}},
        "nps": {"update": "Case", "by": {"Id": "{{ body.sf_ref_id }}"}, "fields": {"NPS__c": "{{ body.nps_score }}"}},
    }
    setup = await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, feedback=feedback)
    cases = [sf.create("Case", {}) for _ in range(4)]
    for case in cases:
        sf.lock(case, times=2)
    await write(setup, [answer(case, score=n, form=case[:15]) for n in range(6) for case in cases])
    for case in cases:
        fields = [dict(entry.fields) for entry in sf.history(case) if entry.success]
        assert fields == [{name: n} for n in range(6) for name in ("CSAT__c", "NPS__c")]
        assert (sf.record("Case", case)["NPS__c"], sf.record("Case", case)["CSAT__c"]) == (5, 5)


async def test_what_salesforce_refuses_is_a_dead_letter_and_the_rest_is_stored(
    sf: SalesforceDouble, setup: Setup
) -> None:
    """A rule that fails stops neither the other rule nor the next answer, and a bad value stops no other value."""
    sf.configure(bad_field="call")
    case = sf.create("Case", {})
    deleted = sf.create("Case", {})
    sf.delete("Case", deleted)
    good = [answer(case, score=n) for n in range(3, 11)]
    bad = {
        "invalid address": answer(case, email="nobody@"),
        "wrong type": answer(case, score="nine"),
        "no case": answer(None, score=1),
        "case is gone": answer(deleted, score=1),
        "no id": answer("x' OR Id != '", score=1),
    }
    await write(setup, [*bad.values(), *good])
    found = await letters(setup)
    said = {name: found[feedback.id]["dl_error"] for name, feedback in bad.items()}
    assert found.keys() == {feedback.id for feedback in bad.values()}
    assert {headers["dl_stage"] for headers in found.values()} == {"write"}
    assert all(headers["dl_cell"].startswith("write/") for headers in found.values())
    assert "written without Email__c: Salesforce refused *** (7 characters): INVALID_EMAIL" in said["invalid address"]
    assert "written without Score__c: *** (4 characters) does not fit: a number" in said["wrong type"]
    assert "no value for Id" in said["no case"]
    assert "ENTITY_IS_DELETED" in said["case is gone"]
    assert "written without Case__c" in said["case is gone"]
    assert "MALFORMED_ID" in said["no id"]
    stored = {record["Pisano_Id__c"] for record in sf.records("Survey_Response__c")}
    assert stored == {feedback.id for feedback in [*good, *bad.values()]}
    left_out = {entry.feedback: {*entry.left_out} for entry in await written(setup) if entry.left_out}
    assert left_out == {
        bad["invalid address"].id: {"Email__c"},
        bad["wrong type"].id: {"Score__c"},
        bad["case is gone"].id: {"Case__c"},
        bad["no id"].id: {"Case__c"},
    }
    refused = [entry for entry in await written(setup) if not entry.success]
    assert {entry.feedback for entry in refused} <= found.keys()
    assert all(entry.error for entry in refused)


async def test_a_webhook_that_is_sent_again_is_not_stored_again(sf: SalesforceDouble, setup: Setup) -> None:
    """The repeat comes at once, after a restart, and in a full replay; write keeps what people changed since."""
    case = sf.create("Case", {"Status": "Closed"})
    again = answer(case, score=1)
    await write(setup, [again] * 3)
    assert len(sf.history()) == 2
    sf.update("Case", case, {"Status": "Closed"})
    await write(setup, [again])
    await _rewind(setup.kafka, "write")
    await write(setup)
    assert len(sf.history()) == 2
    assert sf.record("Case", case)["Status"] == "Closed"
    assert len(await written(setup)) == 2


async def _rewind(kafka: Kafka, group: str) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers, group_id=kafka.topic_prefix + group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        places = [TopicPartition(kafka.topic_prefix + "pisano.feedback", number) for number in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.commit(dict.fromkeys(places, 0))
    finally:
        await consumer.stop()


async def test_one_external_id_twice_at_once_is_two_writes_of_one_record(
    tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble
) -> None:
    """Salesforce refuses a call that names an external id twice (§D2)."""
    rule = {"upsert": "Case", "by": {"External_Key__c": "{{ body.key }}"}, "fields": {"NPS__c": "{{ body.nps_score }}"}}
    setup = await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, feedback={"rule": rule})
    await write(setup, [answer("one-partition", score=n, key=f"key-{n % 2}") for n in range(10)])
    assert {record["External_Key__c"]: record["NPS__c"] for record in sf.records("Case")} == {"key-0": 8, "key-1": 9}
    assert await letters(setup) == {}


async def test_a_crash_after_salesforce_stored_it_repeats_an_upsert_and_nothing_else(
    tmp_path: Path, sf: SalesforceDouble, setup: Setup
) -> None:
    """The test kills the process with kill -9 while Salesforce's answer is on its way."""
    case = sf.create("Case", {})
    sf.fail(Fault(match="composite/sobjects", kind="hang", done=True))
    await publish(setup, [answer(case)])
    process = Process(setup, "write", tmp_path / "log")
    try:
        await until(sf.history)
    finally:
        process.kill()
    assert await written(setup) == []
    await write(setup)
    [first, second] = sf.history()
    assert (first.fields, first.record_id, first.created) == (second.fields, second.record_id, True)
    assert not second.created
    assert len(sf.records("Survey_Response__c")) == 1
    [entry] = await written(setup)
    assert (entry.record_id, entry.created) == (first.record_id, False)


async def test_an_outage_of_salesforce_holds_back_and_buries_nothing(sf: SalesforceDouble, setup: Setup) -> None:
    """Rule 4; salesforce §D4. write repeats a call whose answer was lost; that is safe because the call has a key."""
    for fault in ({"status": 503}, {"kind": "reset", "done": True}, {"status": 500}):
        sf.fail(Fault.model_validate({"match": "composite/sobjects", "times": 1, **fault}))
    case = sf.create("Case", {})
    answers = [answer(case, score=n) for n in range(3, 6)]
    await write(setup, answers)
    assert {record["Pisano_Id__c"] for record in sf.records("Survey_Response__c")} == {a.id for a in answers}
    assert await letters(setup) == {}


async def test_a_strange_record_among_the_writes_holds_the_rules_and_buries_no_answer(
    sf: SalesforceDouble, setup: Setup
) -> None:
    """Then write cannot know which writes are done. The waiting answers are not at fault."""
    await publish(setup, [answer(sf.create("Case", {}))])
    [feedback] = await topics.read(setup.kafka, "pisano.feedback")
    strange = OutRecord(f"{setup.kafka.topic_prefix}salesforce.writes", b"key", b"no write", [], feedback.partition)
    await topics.publish(setup.kafka, [strange])
    held = await why_held(setup.config, ["write"])
    assert held
    assert all("holds a record that is no write" in reason for reason in held.values())
    assert await letters(setup) == {}
    assert sf.history() == []
