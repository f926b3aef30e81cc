"""`connector status` beside a running service, without one, and where it cannot look."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers import topics
from helpers.commands import connector
from helpers.invitations import CAMPAIGN, KEYS, as_records, invitation, outcomes
from helpers.plain_http import plain_http
from helpers.service import Setup, running_app, set_up
from helpers.waiting import PATIENCE, until

from connector.kafka.channel_log import POSITIONS, position_record
from connector.kafka.cloud_events import OutRecord
from connector.operate.status import Board
from connector.records import Position
from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble
from connector.wiring import App

_COMMAND = "from connector.cli import main; main()"
_NOBODY = "http://127.0.0.1:1"


@pytest.fixture
async def pisano() -> AsyncIterator[PisanoDouble]:
    async with PisanoDouble() as double:
        double.add_campaign(CAMPAIGN, KEYS)
        yield double


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble) -> Setup:
    """Without Salesforce, for made-up invitations that no record there stands for."""
    return await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano)


async def status(setup: Setup, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return await connector({**setup.environ, **environ}, "status", str(setup.file), *arguments)


async def idle(setup: Setup) -> bool:
    lags = [await topics.lag(setup.kafka, "trigger", "salesforce.cdc.Case")]
    lags += [await topics.lag(setup.kafka, "send", "pisano.invitations")]
    return not any(lag for one in lags for lag in one.values())


async def a_case_is_closed(setup: Setup, sf: SalesforceDouble) -> None:
    """One customer, from the change to the e-mail."""
    await until(lambda: sf.streams)
    contact = sf.create("Contact", {"LastName": "Kaya", "Email": "bora@example.com"})
    sf.update("Case", sf.create("Case", {"ContactId": contact, "Status": "New"}), {"Status": "Closed"})
    await until(lambda: settled(setup))


async def settled(setup: Setup) -> bool:
    return len(await outcomes(setup.kafka)) == 1


async def page(app: App) -> dict[str, Any]:
    async with plain_http() as http:
        return dict((await http.get(f"{app.address}/status")).json())


async def test_a_healthy_service_at_a_glance(
    tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble, sf: SalesforceDouble
) -> None:
    """All figures are there, nobody's address is, and the idle groups have no lag for any tool."""
    setup = await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, salesforce=sf)
    async with running_app(setup.config) as app:
        await a_case_is_closed(setup, sf)
        await until(lambda: idle(setup))
        ended = await status(setup, "--url", app.address, "--json")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        found = json.loads(ended.stdout)
        stages = {one["stage"]: one for one in found["stages"]}
        assert list(stages) == ["capture", "trigger", "send", "write", "receive"]
        assert all(one["ready"] == one["workers"] == 1 for one in stages.values())
        assert [stages[name]["members"] for name in ("capture", "trigger", "send", "write")] == [1, 1, 1, 1]
        assert [stages[name]["lag"] for name in ("trigger", "send", "write")] == [0, 0, 0]
        assert [stages[name]["lag_seconds"] for name in ("trigger", "send", "write")] == [0, 0, 0]
        (account,) = found["accounts"]
        assert [(window["seconds"], window["limit"]) for window in account["windows"]] == [
            (5, 20),
            (25, 40),
            (125, 80),
            (625, 160),
        ]
        assert account["windows"][-1]["used"] >= 2  # the token, and the e-mail
        assert account["closed_for"] is None
        assert 0 <= account["token_age"] < PATIENCE
        (channel,) = found["channels"]
        assert 0 <= channel["position_age"] < PATIENCE
        assert found["salesforce"]["api"]["limit"] == 100_000
        assert found["outcomes"] == [{"outcome": "sent", "reason": None, "1h": 1, "24h": 1, "7d": 1}]
        assert found["problems"] == found["held"] == found["dead_letters"] == []
        shown = await status(setup, "--url", app.address)
        assert shown.returncode == 0
        assert "nothing to look at" in shown.stdout
        assert "/160 in 625 s" in shown.stdout
        for secret in ("bora@", "example.com", sf.client_secret):
            assert secret not in ended.stdout + shown.stdout


async def test_without_a_worker_it_shows_what_kafka_knows(setup: Setup) -> None:
    """Nobody runs a stage: that is something to look at. A worker that was named and does not answer is an error."""
    async with running_app(setup.config, ["send"]):
        await topics.publish(setup.kafka, as_records(setup.kafka, [invitation(1)]))
        await until(lambda: settled(setup))
    letter = OutRecord(
        setup.kafka.topic_prefix + "connector.deadletters",
        b"key",
        b"value",
        [("dl_stage", b"write"), ("dl_reason", b"record_gone")],
    )
    await topics.publish(setup.kafka, [letter])
    await topics.publish(setup.kafka, as_records(setup.kafka, [invitation(2), invitation(3)]))
    ended = await status(setup, "--json")
    assert ended.returncode == 1, ended.stderr
    found = json.loads(ended.stdout)
    assert found["workers"] == {}
    assert found["outcomes"] == [{"outcome": "sent", "reason": None, "1h": 1, "24h": 1, "7d": 1}]
    assert found["dead_letters"] == [{"stage": "write", "reason": "record_gone", "1h": 1, "24h": 1, "7d": 1}]
    send = next(one for one in found["stages"] if one["stage"] == "send")
    assert (send["members"], send["lag"], send["ready"]) == (0, 2, None)
    assert 0 < send["lag_seconds"] < PATIENCE
    assert "send has no member: nobody runs it" in found["problems"]
    named = await status(setup, "--url", _NOBODY)
    assert named.returncode == 2
    assert "none, so this is what Kafka knows" in named.stdout
    assert named.stderr == f"connector: no worker answers at {_NOBODY}\n"
    default = await status(setup, SERVICE_PORT="1")
    assert default.returncode == 1
    assert f"no worker answers at {_NOBODY}" in default.stdout


async def test_it_watches_until_ctrl_c(setup: Setup) -> None:
    """Each look is an object of its own, and a later one knows what has come since."""
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a job in the background is deaf
    command = [sys.executable, "-c", f"{heard}; {_COMMAND}", "status", str(setup.file), "--watch", "--json"]
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **setup.environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            assert json.loads(await process.stdout.readline())["dead_letters"] == []
            letter = OutRecord(setup.kafka.topic_prefix + "connector.deadletters", b"", b"", [("dl_stage", b"send")])
            await topics.publish(setup.kafka, [letter])
            while not json.loads(await process.stdout.readline())["dead_letters"]:
                pass
            process.send_signal(signal.SIGINT)
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    assert said == b""


async def test_what_is_held_is_something_to_look_at(setup: Setup, pisano: PisanoDouble) -> None:
    """With the reason, and since when."""
    del pisano.campaigns[CAMPAIGN]
    async with running_app(setup.config, ["send"]) as app:
        await topics.publish(setup.kafka, as_records(setup.kafka, [invitation(1)]))

        async def held() -> list[dict[str, Any]]:
            return list((await page(app))["held"])

        (cell,) = await until(held)
        assert cell["cell"] == "send/main/closed-case"
        ended = await status(setup, "--url", app.address)
        assert ended.returncode == 1
        assert "the cell send/main/closed-case is held" in ended.stdout
        assert cell["since"][:16] in ended.stdout


async def test_a_channel_that_has_stood_still_for_weeks_is_something_to_look_at(setup: Setup) -> None:
    """Its last position is older than all that status counts. A later look of the same console knows it, too."""
    (channel,) = setup.config.salesforce.channels
    old = datetime.now(UTC) - timedelta(days=20)
    topic = setup.kafka.topic_prefix + POSITIONS
    record = position_record(topic, Position(channel=channel, replay_id="00" * 8, at=old), 0)
    await topics.write_at(setup.kafka, record, old)
    said = f"the position of {channel} is 480 h old; after 72 h changes are lost"
    ended = await status(setup, "--json")
    assert ended.returncode == 1
    assert said in json.loads(ended.stdout)["problems"]
    board = Board(setup.config, [])
    for _ in range(2):
        assert said in (await board.look()).problems


@pytest.mark.parametrize(
    ("arguments", "environ", "sentence"),
    [
        ((), {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "no Kafka broker answers at 127.0.0.1:1"),
        (("--url", "localhost:8080"), {}, "localhost:8080 is no address of a worker"),
        (("--url", "http://[::1"), {}, "no worker answers at http://[::1"),
    ],
)
async def test_where_it_cannot_look_it_says_so_in_one_sentence(
    setup: Setup, arguments: tuple[str, ...], environ: dict[str, str], sentence: str
) -> None:
    ended = await status(setup, *arguments, **environ)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"connector: {sentence}")
    assert ended.stderr.count("\n") == 1


async def test_topics_that_are_missing(setup: Setup, tmp_path: Path) -> None:
    text = setup.file.read_text().replace(setup.kafka.topic_prefix, "nobody.")
    (tmp_path / "other.yaml").write_text(text)
    ended = await status(Setup(tmp_path / "other.yaml", setup.environ, setup.config))
    assert ended.returncode == 2
    assert "these topics are missing in Kafka, or hidden from this user: nobody.salesforce.cdc.Case" in ended.stderr
