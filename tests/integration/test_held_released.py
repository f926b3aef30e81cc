"""`connector held`: lists what is held, and lets a held cell be tried at once."""

from pathlib import Path

import pytest
from helpers.change_events import as_records, change
from helpers.commands import command
from helpers.service import Setup, held, running_app, set_up
from helpers.topics import publish
from helpers.waiting import until

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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
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
