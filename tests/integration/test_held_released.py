"""`connector held`: lists what is held, and lets a held cell be tried at once."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from helpers.change_events import as_records, change
from helpers.commands import command
from helpers.service import Setup, held, metric, running_app, set_up
from helpers.topics import create, delete, publish, read
from helpers.waiting import until

from connector.kafka.cloud_events import OutRecord
from connector.records import Feedback
from connector.sandbox.doubles.salesforce import SalesforceDouble


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble) -> Setup:
    survey = {"on": "Case", "account": "main", "campaign": "1", "email": "{{ record.Floor__c }}"}
    return await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, surveys={"closed-case": survey})


async def said(setup: Setup, *arguments: str, code: int) -> str:
    ended = await command(setup, "held", *arguments)
    text = (ended.stdout + ended.stderr).decode()
    assert ended.returncode == code, text
    return text


async def test_a_held_survey_is_listed_and_goes_on_at_once_when_it_is_released(
    sf: SalesforceDouble, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next probe by itself would come long after this test."""
    monkeypatch.setattr("connector.cells.FIRST_PROBE", 100_000.0)
    monkeypatch.setattr("connector.cells.LONGEST_PROBE", 100_000.0)
    case = sf.create("Case", {})
    async with running_app(setup.config, ["trigger"]) as app:
        await publish(setup.kafka, as_records(setup.kafka, [change(case, {"Status": "Closed"})]))
        await until(lambda: held(app))
        text = await said(setup, "list", "--url", app.address, code=1)
        assert f"trigger/closed-case  ({app.address})" in text
        assert "Floor__c" in text
        sf.add_field("Case", "Floor__c text(20)")
        assert "the workers try trigger/closed-case now" in await said(setup, "release", "trigger/closed-case", code=0)

        async def goes_on() -> bool:
            return not await held(app)

        await until(goes_on)
        assert await said(setup, "list", "--url", app.address, code=0) == "nothing is held\n"


async def test_parked_records_that_are_skipped_are_dead_letters_once_and_the_others_go_on(
    sf: SalesforceDouble, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a restart, before the owner has written down how far it is. A retry brings the records back."""
    monkeypatch.setattr("connector.cells.FIRST_PROBE", 100_000.0)
    monkeypatch.setattr("connector.cells.LONGEST_PROBE", 100_000.0)
    events = [change(sf.create("Case", {}), {"Status": "Closed"}) for _ in range(3)]

    async def parked() -> list[str]:
        found = [each for each in await read(setup.kafka, "connector.parked") if each.value is not None]
        return [f"{each.partition}/{each.offset}" for each in found if len(found) == len(events)]

    async def invited() -> set[str]:
        return {json.loads(each.value)["cause"] for each in await read(setup.kafka, "pisano.invitations")}

    async with running_app(setup.config, ["trigger"]) as app:
        for event in events:
            await publish(setup.kafka, as_records(setup.kafka, [event]))
        places = await until(parked)
        skip = "skip", "trigger/closed-case", "--reason", "a test"
        assert f"3 records are parked ({', '.join(places)})" in await said(setup, *skip, code=2)
        assert "2 records of trigger/closed-case are dead letters now" in await said(setup, *skip, *places[:2], code=0)
        assert "no record is parked at" in await said(setup, *skip, places[0], code=2)

        async def the_last_is_next() -> bool:
            return await metric(app, 'connector_parked{stage="trigger"}') == 0

        await until(the_last_is_next)
    sf.add_field("Case", "Floor__c text(20)")
    async with running_app(setup.config, ["trigger"]):
        await until(invited)
        assert len(await read(setup.kafka, "connector.deadletters")) == 2
        left = {each.id for each in events} - await invited()
        assert len(left) == 2
        ended = await command(setup, "deadletters", "retry", "--reason", "skipped", "--yes")
        assert ended.stdout.startswith(b"retried: 2 of trigger (skipped)"), ended.stderr

        async def all_invited() -> bool:
            return await invited() == {each.id for each in events}

        await until(all_invited)


@pytest.mark.parametrize("cell", ["trigger/unreadable", "send/main/(calls)", "kafka/index"])
async def test_a_cell_that_no_survey_or_rule_names_can_be_tried(cell: str, setup: Setup) -> None:
    assert f"the workers try {cell} now" in await said(setup, "release", cell, code=0)


async def test_a_cell_that_the_configuration_no_longer_has_can_be_tried_and_skipped(
    tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble, setup: Setup
) -> None:
    """As long as records were parked for it. Other names are mistyped."""

    async def parked() -> bool:
        return bool(await read(setup.kafka, "connector.parked"))

    async with running_app(setup.config, ["trigger"]):
        event = change(sf.create("Case", {}), {"Status": "Closed"})
        await publish(setup.kafka, as_records(setup.kafka, [event]))
        await until(parked)
    survey = {"on": "Case", "account": "main", "campaign": "1", "email": "{{ record.SuppliedEmail }}"}
    setup = await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, surveys={"other": survey})
    cell = "trigger/closed-case"
    assert f"the workers try {cell} now" in await said(setup, "release", cell, code=0)
    assert "there is no cell trigger/closed" in await said(setup, "release", "trigger/closed", code=2)
    skipped = await said(setup, "skip", cell, "--reason", "the survey is gone", "--yes", code=0)
    assert f"1 records of {cell} are dead letters now" in skipped


async def test_what_is_parked_on_a_topic_that_was_made_anew_can_be_skipped_at_the_places_of_before(
    setup: Setup,
) -> None:
    cell = "trigger/closed-case"
    for offset in (1, 2):
        name = (
            await create(setup.kafka, "connector.parked")
            if offset == 2
            else f"{setup.kafka.topic_prefix}connector.parked"
        )
        said_of = {"topic": "t", "partition": "0", "offset": str(offset), "timestamp": "0", "stage": "trigger"}
        headers = [(f"pk_{key}", text.encode()) for key, text in {**said_of, "cell": "closed-case"}.items()]
        await publish(setup.kafka, [OutRecord(name, b"lot", b"{}", headers, 0)])
        skipped = await said(setup, "skip", cell, "0/0", "--reason", "a test", code=0)
        assert f"1 records of {cell} are dead letters now" in skipped
        await delete(setup.kafka, name)


async def test_what_was_parked_is_decided_by_the_configuration_of_now(
    tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble
) -> None:
    """What a survey or rule does not want any more is done, as if it came now. Only a cell that is gone fails."""

    def survey(when: str) -> dict[str, Any]:
        return {"on": "Case", "when": when, "account": "main", "campaign": "1", "email": "{{ record.Floor__c }}"}

    def rule(when: str) -> dict[str, Any]:
        return {"update": "Case", "when": when, "by": {"Id": "{{ body.case }}"}, "fields": {"Floor__c": "1"}}

    async def made(surveys: dict[str, Any], rules: dict[str, Any]) -> Setup:
        return await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, surveys=surveys, feedback=rules)

    closed, low = 'record.Status == "Closed"', "body.score < 3"
    setup = await made({"kept": survey(closed), "gone": survey(closed)}, {"kept": rule(low), "gone": rule(low)})
    case = sf.create("Case", {})
    answer = Feedback(id="1" * 32, account="main", received_at=datetime.now(UTC), body={"case": case, "score": 2})
    topic = setup.kafka.topic_prefix + "pisano.feedback"
    answered = OutRecord(topic, case.encode(), answer.model_dump_json().encode(), [])

    async def all_have(header: str) -> bool:
        return sum(header in dict(each.headers) for each in await read(setup.kafka, "connector.parked")) == 4

    async with running_app(setup.config, ["trigger", "write"]):
        await publish(setup.kafka, [*as_records(setup.kafka, [change(case, {"Status": "Closed"})]), answered])
        await until(lambda: all_have("pk_cell"))
    sf.add_field("Case", "Floor__c text(20)")
    setup = await made({"kept": survey('record.Status == "New"')}, {"kept": rule("body.score < 2")})
    async with running_app(setup.config, ["trigger", "write"]):
        await until(lambda: all_have("pk_done"))
    letters = [dict(each.headers) for each in await read(setup.kafka, "connector.deadletters")]
    assert {each["dl_cell"]: each["dl_reason"] for each in letters} == {
        b"trigger/gone": b"not_configured",
        b"write/gone": b"not_configured",
    }
    assert await read(setup.kafka, "pisano.invitations") == await read(setup.kafka, "salesforce.writes") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("skip", "trigger/closed-case", "--reason", "x"), "nothing was done. No record is parked for trigger/closed-"),
        (("skip", "trigger/closed-case", "12", "--reason", "x"), "named by PARTITION/OFFSET on connector.parked"),
        (("release", "trigger/closed-cse"), "there is no cell trigger/closed-cse; did you mean trigger/closed-case?"),
        (("release", "brake/main/closed-case"), "connector invitations brake closed-case release|drop|spread"),
        (("list",), "give --url http://HOST:PORT for each worker"),
        (("list", "--url", "http://127.0.0.1:1"), "http://127.0.0.1:1 does not answer (ConnectError)"),
        (("list", "--url", "nowhere"), "nowhere does not answer"),
    ],
)
async def test_what_cannot_be_done_is_one_sentence(setup: Setup, arguments: tuple[str, ...], message: str) -> None:
    text = await said(setup, *arguments, code=2)
    assert message in text
    assert text.count("\n") == 1
