"""The service warns at its start of a condition that can never hold, and starts all the same."""

import asyncio
from pathlib import Path

import pytest
from helpers.service import running_app, set_up

from connector.sandbox.doubles.salesforce import SalesforceDouble


async def test_a_condition_on_a_field_that_the_entity_does_not_have_is_a_warning(
    tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    survey = {"on": "Case", "account": "main", "campaign": "1", "email": "{{ record.SuppliedEmail }}"}
    conditions = {"typo": 'changed contains "Statsu"', "right": 'changed contains "Status"', "every": 'nulled == ""'}
    surveys = {name: {**survey, "when": when} for name, when in conditions.items()}
    setup = await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, surveys=surveys)
    said = ""
    async with running_app(setup.config, ["trigger"]):
        while "rule_never_holds" not in said:
            await asyncio.sleep(0.05)
            said += capsys.readouterr().out
    warned = [line for line in (said + capsys.readouterr().out).splitlines() if "rule_never_holds" in line]
    assert len(warned) == 1
    assert "surveys.typo.when: " in warned[0]
    assert "Case has no field Statsu; did you mean Status?" in warned[0]
