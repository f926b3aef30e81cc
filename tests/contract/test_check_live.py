"""`connector check --live` against the doubles: what contradicts the file is an error line and exit code 1."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from helpers.waiting import PATIENCE

from connector.sandbox.company import Sandbox, sandbox
from connector.sandbox.doubles.pisano import Fault

COMMAND = "from connector.cli import main; main()"
FILE = """\
kafka: {bootstrap_servers: "localhost:1"}
salesforce:
  login_url: ${SF_LOGIN_URL}
  auth: {method: client_credentials, client_id: "${SF_CLIENT_ID}", client_secret: "${SF_CLIENT_SECRET}"}
  channels: [/data/CaseChangeEvent]
pisano:
  main:
    base_url: ${PISANO_BASE_URL}
    auth: {method: authorized_app, client_id: "${PISANO_APP_ID}", client_secret: "${PISANO_APP_SECRET}"}
surveys:
  closed-case:
    on: Case
    when: changed contains "STATUS" and record.Status == "Closed"
    account: main
    campaign: "4711"
    flow: FLOW
    email: "{{ record.SuppliedEmail }}"
    built_in_responses: {KEY: "{{ record.FIELD }}"}
"""
RIGHT = {"STATUS": "Status", "FLOW": '"4711"', "KEY": "sf_ref_id", "FIELD": "Id"}


@pytest.fixture
async def both() -> AsyncIterator[Sandbox]:
    async with sandbox() as doubles:
        yield doubles


async def check(both: Sandbox, folder: Path, **changes: str) -> tuple[int, str]:
    """The exit code, and what is printed under the plan."""
    text = FILE
    for name, value in {**RIGHT, **changes}.items():
        text = text.replace(name, value, 1)
    file = folder / "connector.yaml"
    file.write_text(text)
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", COMMAND, "check", str(file), "--live"],
        env={**os.environ, **both.environment()},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout.partition("Compared with Salesforce and Pisano\n")[2]


async def test_a_file_that_fits_is_said_to_fit_and_nothing_is_sent(both: Sandbox, tmp_path: Path) -> None:
    assert await check(both, tmp_path) == (0, "  Nothing contradicts the file.\n")
    assert both.pisano.emails() == []
    assert [call.path.rpartition("/")[2] for call in both.pisano.calls] == ["token", "4711"]


async def test_keys_and_types_that_do_not_fit_the_flow_are_errors(both: Sandbox, tmp_path: Path) -> None:
    code, said = await check(both, tmp_path, KEY="sf_refid")
    assert (code, said) == (
        1,
        "  error: surveys.closed-case.built_in_responses.sf_refid: the flow has no question sf_refid;"
        " did you mean sf_ref_id?\n",
    )
    code, said = await check(both, tmp_path, FIELD="IsClosed")
    assert code == 1
    assert "sf_ref_id: the flow's question is of type string, and the value is true or false" in said


@pytest.mark.parametrize("status", [403, 404, 429, 500])
async def test_a_flow_that_cannot_be_read_is_one_line_and_no_error_of_the_file(
    both: Sandbox, tmp_path: Path, status: int
) -> None:
    both.pisano.fail(Fault(status=status, calls="flows"))
    code, said = await check(both, tmp_path, KEY="sf_refid")
    assert code == 0
    assert said.count("\n") == 1
    assert f"  note: flow 4711 of pisano.main is not compared: reading flow 4711: Pisano answered {status}" in said


async def test_a_condition_that_can_never_hold_is_a_warning(both: Sandbox, tmp_path: Path) -> None:
    code, said = await check(both, tmp_path, STATUS="Statsu")
    assert (code, said) == (
        0,
        '  warning: surveys.closed-case.when: changed contains "Statsu" never holds: Case has no field Statsu;'
        " did you mean Status?\n",
    )
    both.salesforce.configure(describable=False)
    code, said = await check(both, tmp_path, STATUS="Statsu")
    assert code == 0
    assert said.startswith("  warning: Case is not compared: ")


async def test_a_refused_login_is_an_error(both: Sandbox, tmp_path: Path) -> None:
    both.pisano.app_secret = "another"
    code, said = await check(both, tmp_path)
    assert code == 1
    assert said.startswith("  error: pisano.main is not compared: fetching a token: Pisano answered 401")
    assert "sandbox-app-secret" not in said
