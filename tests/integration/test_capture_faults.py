"""capture while Salesforce or the network fails: with each fault of the double, it loses and repeats nothing."""

from typing import Any

import pytest
import stamina
import structlog
from helpers import topics
from helpers.captured import CASES, captured, events, subjects
from helpers.service import running_app
from helpers.waiting import until

from connector.cells import Cell
from connector.sandbox.doubles.salesforce import Fault, SalesforceDouble

ONLY = ["capture"]
PASSING = [  # salesforce §A4: the error codes that capture retries, each with a status that it may come with
    ("UNAVAILABLE", "service.unavailable"),
    ("INTERNAL", "service.unavailable"),
    ("UNAUTHENTICATED", "service.auth.error"),
    ("RESOURCE_EXHAUSTED", "service.protection.triggered"),
    ("RESOURCE_EXHAUSTED", "service.protection.stream.limit.triggered"),
    ("RESOURCE_EXHAUSTED", "concurrent.client.limit.exceeded"),
    ("UNAVAILABLE", "topic.api.unavailable"),
    ("INVALID_ARGUMENT", "subscription.fetch.replay.repeated"),
    ("PERMISSION_DENIED", "subscription.limit.exceeded"),
    ("INTERNAL", "subscription.internal.error"),
    ("UNKNOWN", ""),
]


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Salesforce asks for pauses of minutes; in these tests there is no pause."""
    monkeypatch.setattr(Cell, "_pause", lambda _: 0.0)
    with stamina.set_testing(True, attempts=100):
        yield


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("after", [0, 3])
async def test_no_error_of_the_stream_loses_or_repeats_anything(
    sf: SalesforceDouble, capture_setup: Any, after: int
) -> None:
    """The stream fails when it opens or in the middle; the next stream goes on after the last position."""
    setup = await capture_setup()
    for number in range(60):
        sf.create("Case", {"Subject": f"{number:02}"})
    for status, code in PASSING:
        sf.fail(Fault(match="rpc Subscribe", after=after, status=status, error_code=code))
    sf.fail(Fault(match="rpc Subscribe", after=after, kind="reset"))
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 60))
    assert subjects(await events(setup.kafka)) == [f"{number:02}" for number in range(60)]
    assert not sf.faults.waiting


@pytest.mark.usefixtures("no_pauses")
async def test_an_outage_is_not_a_line_for_every_try(sf: SalesforceDouble, capture_setup: Any) -> None:
    """capture logs once a minute what it waits for, as every stage does, and logs once that it has no position yet."""
    setup = await capture_setup()
    sf.create("Case", {})
    sf.fail(Fault(match="rpc Subscribe", times=10, status="UNAVAILABLE"))
    with structlog.testing.capture_logs() as logged:
        async with running_app(setup.config, ONLY):
            await until(lambda: captured(setup.kafka, 1))
    assert not sf.faults.waiting
    # The service replaces the log lines of stamina: tests/unit/test_logs.py.
    assert [line["event"] for line in logged if line["event"] != "stamina.retry_scheduled"] == [
        "stage_started",
        "no_position_yet",
    ]


@pytest.mark.usefixtures("no_pauses")
async def test_schemas_that_are_unavailable_hold_their_events_back(sf: SalesforceDouble, capture_setup: Any) -> None:
    """An outage makes no dead letters (rule 4)."""
    setup = await capture_setup()
    for status, code in [("UNAVAILABLE", "schema.api.unavailable"), ("UNAUTHENTICATED", "service.auth.error")]:
        sf.fail(Fault(match="rpc GetSchema", times=3, status=status, error_code=code))
    sf.create("Case", {})
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 1))
    assert await topics.read(setup.kafka, "connector.deadletters") == []
    assert not sf.faults.waiting


async def test_stream_that_died_silently_is_opened_again(sf: SalesforceDouble, capture_setup: Any) -> None:
    """salesforce §0.3: the stream brings no event, no keep-alive and no error."""
    sf.configure(keepalive=0.1)
    setup = await capture_setup(pubsub={"start": "earliest", "idle_timeout": 3})
    sf.create("Case", {"Subject": "before"})
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 1))
        await until(lambda: [stream for stream in sf.streams if stream.open])
        sf.hang_streams()
        sf.create("Case", {"Subject": "after"})
        await until(lambda: captured(setup.kafka, 2))
    hung = [stream.hung for stream in sf.streams]
    assert (hung.count(True), hung[-1]) == (1, False)


async def test_pause_that_salesforce_asks_for_is_kept(sf: SalesforceDouble, capture_setup: Any) -> None:
    """A stream keeps the pause even if it brought events before; the other channels go on meanwhile."""
    contacts = "/data/ContactChangeEvent"
    setup = await capture_setup(channels=[CASES, contacts])
    limit = "subscription.limit.exceeded"
    async with running_app(setup.config, ONLY):
        await until(lambda: len(sf.streams) == 2)
        sf.create("Case", {})
        await until(lambda: captured(setup.kafka, 1))
        sf.break_streams("RESOURCE_EXHAUSTED", limit, CASES)
        await until(lambda: [stream.topic for stream in sf.streams if stream.open] == [contacts])
        for count in range(1, 6):
            sf.create("Contact", {"LastName": "Doe"})
            await until(lambda count=count: captured(setup.kafka, count, "salesforce.cdc.Contact"))
        assert [stream.topic for stream in sf.streams].count(CASES) == 1


async def test_token_that_ends_interrupts_nothing(sf: SalesforceDouble, capture_setup: Any) -> None:
    """salesforce §A2: the open stream outlives its token; new schemas and new streams need a new token."""
    setup = await capture_setup()
    case = sf.create("Case", {})
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 1))
        sf.revoke_tokens()
        sf.add_field("Case", "Floor__c text(20)")
        sf.update("Case", case, {"Floor__c": "3"})
        await until(lambda: captured(setup.kafka, 2))
        assert len(sf.streams) == 1
        sf.revoke_tokens()
        sf.break_streams()
        sf.update("Case", case, {"Floor__c": "4"})
        await until(lambda: captured(setup.kafka, 3))
    assert len(sf.tokens) == 3


async def test_salesforce_that_is_away_is_waited_for(sf: SalesforceDouble, capture_setup: Any) -> None:
    """The login answers 503 for a while; the stage does not end, and pauses between its tries."""
    setup = await capture_setup()
    sf.create("Case", {})
    sf.fail(Fault(match="POST /services/oauth2/token", times=2, status=503))
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 1))
    assert len([call for call in sf.calls if "token" in call.what]) == 3
