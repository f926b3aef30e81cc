"""`connector positions` on a real broker: where capture resumes, and how an operator changes that."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from helpers import topics
from helpers.captured import CASES, captured, events, position, subjects
from helpers.change_events import as_records, change
from helpers.commands import command
from helpers.service import Setup, running_app
from helpers.waiting import until

from connector.kafka.channel_log import POSITIONS
from connector.kafka.cloud_events import OutRecord
from connector.kafka.shared_work import partition_of
from connector.operate import actions
from connector.records import Position
from connector.sandbox.doubles.salesforce import SalesforceDouble

ONLY = ["capture"]


async def shown(setup: Setup, code: int = 0) -> dict[str, Any]:
    ended = await command(setup, "positions", "show", "--json")
    assert ended.returncode == code, ended.stderr.decode()
    return {row["channel"]: row for row in json.loads(ended.stdout)["channels"]}


async def set_to(setup: Setup, to: str, channel: str = CASES) -> str:
    ended = await command(setup, "positions", "set", channel, "--to", to, "--by", "ada", "--why", "a test")
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode()


async def refused(setup: Setup, channel: str, to: str) -> str:
    ended = await command(setup, "positions", "set", channel, "--to", to)
    assert (ended.returncode, ended.stdout) == (2, b"")
    [said] = ended.stderr.decode().splitlines()
    return said


async def test_a_position_is_set_while_nobody_follows_the_channel(sf: SalesforceDouble, capture_setup: Any) -> None:
    setup = await capture_setup()
    sf.create("Case", {"Subject": "first"})
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 1))
        before = await position(setup.kafka)
        assert "a worker follows /data/CaseChangeEvent" in await refused(setup, CASES, "earliest")
        assert (await shown(setup))[CASES]["followed"] is True
        sf.create("Case", {"Subject": "second"})
        await until(lambda: captured(setup.kafka, 2))
    assert before is not None
    assert f"behind the replay id {before.replay_id}" in await set_to(setup, before.replay_id.upper())
    row = (await shown(setup))[CASES]
    assert (row["replay_id"], row["followed"], row["lost"]) == (before.replay_id, False, False)
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 3))
    found = await events(setup.kafka)
    assert subjects(found) == ["first", "second", "second"]
    assert len({event.id for event in found}) == 2  # what comes again has the same ids, so it invites nobody again
    assert "with the earliest event" in await set_to(setup, "earliest")
    (action,) = await actions.trail(setup.kafka)
    said = action.target, action.decision, action.by, action.reason
    assert said == (f"position/{CASES}", "earliest", "ada", "a test")
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 5))
    assert subjects(await events(setup.kafka)) == ["first", "first", "second", "second", "second"]


async def test_a_time_gives_the_replay_id_of_the_last_kept_event_before_it(capture_setup: Any) -> None:
    """Of events of the same moment it is the first one; those of other channels do not count."""
    setup, now = await capture_setup(), datetime.now(UTC)
    kept = [(3, "03", CASES), (2, "02", CASES), (2, "22", CASES), (1, "01", "/data/ChangeEvents")]  # hours ago
    made_up = [
        change(
            f"5005g000000000{number}AAA",
            {},
            committed_at=now - timedelta(hours=hours),
            replay_id=id_,
            channel=channel,
            sequence_number=number,
        )
        for number, (hours, id_, channel) in enumerate(kept)
    ]
    await topics.publish(setup.kafka, as_records(setup.kafka, made_up))
    for to, expected in (("150m", "03"), ("90m", "02"), ("0s", "02")):
        assert f"behind the replay id {expected}" in await set_to(setup, to)
        assert (await shown(setup))[CASES]["replay_id"] == expected
    assert "no change event of /data/CaseChangeEvent from before" in await refused(setup, CASES, "4h")
    assert "is not in the last 72 h" in await refused(setup, CASES, "4d")


async def test_old_and_unreadable_positions_are_shown_and_can_be_repaired(capture_setup: Any) -> None:
    setup = await capture_setup()
    row = (await shown(setup))[CASES]
    assert (row["replay_id"], row["lost"], row["configured"]) == (None, False, True)
    old = Position(channel=CASES, replay_id="00" * 10, at=datetime.now(UTC) - timedelta(hours=80))
    await write(setup, old.model_dump_json().encode())
    row = (await shown(setup, code=1))[CASES]
    assert row["lost"]
    assert row["age_hours"] == pytest.approx(80, abs=0.1)
    await write(setup, b"no position")
    ended = await command(setup, "positions", "show")
    assert ended.returncode == 1
    assert b"cannot be read" in ended.stdout
    await set_to(setup, "earliest")
    assert (await shown(setup))[CASES]["replay_id"] == ""


async def write(setup: Setup, value: bytes) -> None:
    topic = setup.kafka.topic_prefix + POSITIONS
    await topics.publish(setup.kafka, [OutRecord(topic, CASES.encode(), value, [], partition_of(CASES, 12))])


async def test_what_cannot_be_set_is_one_sentence(capture_setup: Any) -> None:
    setup = await capture_setup()
    assert "there is no channel /data/CaseChange" in await refused(setup, "/data/CaseChange", "earliest")
    assert "'soon' is neither earliest" in await refused(setup, CASES, "soon")
    away = Setup(setup.file, {**setup.environ, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, setup.config)
    assert "no Kafka broker answers at" in await refused(away, CASES, "earliest")
