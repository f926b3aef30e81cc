"""send on a real broker, while a campaign cannot send: it waits, the others go on, and nobody becomes a dead letter."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from helpers import topics
from helpers.invitations import CAMPAIGN, KEYS, as_records, invitation, outcomes
from helpers.service import held, running_app, set_up
from helpers.waiting import until

from connector.sandbox.doubles.pisano import Campaign, Fault, PisanoDouble

OTHER = "4712"
SURVEYS: dict[str, Any] = {
    name: {
        "on": "Case",
        "account": "main",
        "campaign": campaign,
        "flow": campaign,
        "email": "{{ record.SuppliedEmail }}",
        "built_in_responses": {"sf_ref_id": "{{ record.Id }}", key: 5},
    }
    for name, campaign, key in (("off", CAMPAIGN, "branchid"), ("on", OTHER, "agent_name"))
}


@pytest.fixture
async def pisano() -> AsyncIterator[PisanoDouble]:
    async with PisanoDouble(windows=((10_000, 5.0),), clock=time.monotonic) as double:
        for campaign in (CAMPAIGN, OTHER):
            double.add_campaign(campaign, KEYS)
        yield double


async def test_it_is_held_and_probed_and_goes_on_when_it_can_send(
    tmp_path: Path,
    bootstrap_servers: str,
    unique: str,
    pisano: PisanoDouble,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pisano.campaigns[CAMPAIGN] = Campaign(flow=CAMPAIGN, provider=False)
    account = {"limits": ["10000/5s"], "limit_padding": 0, "max_recipients_per_call": 10}
    setup = await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, account=account, surveys=SURVEYS)
    off = [invitation(number, survey="off") for number in range(60)]
    on = [invitation(number, survey="on", campaign=OTHER) for number in range(100, 110)]
    await topics.publish(setup.kafka, as_records(setup.kafka, [*off, *on]))

    async def settled(count: int) -> bool:
        return len(await outcomes(setup.kafka)) == count

    async with running_app(setup.config, ["send"]) as app:
        await until(lambda: settled(len(on)))
        reason = (await held(app))["send/main/off"]
        assert reason.startswith(f"Pisano account main: campaign {CAMPAIGN} sends nothing: Pisano says that it has no ")
        refused = [call for call in pisano.calls if call.status == 422]
        assert len(refused) < 10, "each try is a call of the budget"
        pisano.campaigns[CAMPAIGN] = Campaign(flow=CAMPAIGN)
        await until(lambda: settled(len(on) + len(off)))
        assert await held(app) == {}
    assert not await topics.read(setup.kafka, "connector.deadletters")
    assert len(pisano.emails()) == len(on) + len(off)
    assert pisano.second_emails() == []
    flows = [call.path for call in pisano.calls if "/flows/" in call.path]
    assert sorted(flows) == [f"/external/v1/flows/{campaign}" for campaign in (CAMPAIGN, OTHER)]
    calls = [read["call"] for read in await attempts(setup.kafka)]
    assert calls.count("flow") == 2 * len(flows), "each is in the ledger: its beginning and its end"
    said = capsys.readouterr().out
    assert "the flow has no question branchid; did you mean branch_id?" in said
    assert "the flow's question is of type string, and the value is a whole number" in said


@pytest.mark.parametrize("fault", [{"status": 404}, {"status": 403}, {"status": 500}, {"kind": "drop"}])
async def test_a_flow_that_cannot_be_read_is_one_line_and_everybody_is_invited(
    tmp_path: Path,
    bootstrap_servers: str,
    unique: str,
    pisano: PisanoDouble,
    capsys: pytest.CaptureFixture[str],
    fault: dict[str, Any],
) -> None:
    pisano.fail(Fault.model_validate({"calls": "flows", "times": 1, **fault}))
    account = {"limits": ["10000/5s"], "limit_padding": 0}
    surveys = {"off": SURVEYS["off"]}
    setup = await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, account=account, surveys=surveys)
    await topics.publish(setup.kafka, as_records(setup.kafka, [invitation(1, survey="off")]))
    async with running_app(setup.config, ["send"]):
        await until(pisano.emails)
    said = capsys.readouterr().out
    assert said.count("flow_cannot_be_read") == 1
    assert f"reading flow {CAMPAIGN}: " in said
    assert len([call for call in pisano.calls if "/flows/" in call.path]) == 1


async def attempts(kafka: Any) -> list[dict[str, Any]]:
    found = [json.loads(record.value) for record in await topics.read(kafka, "pisano.attempts")]
    return [each for each in found if each["kind"] == "attempt"]
