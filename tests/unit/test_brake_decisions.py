"""What a person may decide about a survey's brake."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from helpers.config_files import MINIMAL, read
from helpers.invitations import invitation

from connector.config import Config, ProtectAll
from connector.errors import Fatal
from connector.operate import actions
from connector.protection import ContactProtection, Wait
from connector.reasons import Reason


def config(folder: Path, protect: str) -> Config:
    return read(folder, MINIMAL.replace("    account: main\n", f"    account: main\n    protect: {{{protect}}}\n"))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    records: list[Any] = []

    async def write(_: object, given: list[Any]) -> None:
        records.extend(given)

    monkeypatch.setattr(actions, "written", write)
    return records


@pytest.mark.parametrize(
    ("protect", "days", "why"),
    [
        ("brake: 5/1h, expires_after: 3d", 10, "`expires_after: 3d` of closed-case, many that are spread over 10 days"),
        ("brake: 5/1h, max_age: 36h", 2, "`max_age: 1.5d` of closed-case, many that are spread over 2 days"),
        ("brake: 5/1h", 31, "can be spread over 0.1 to 30 days"),
    ],
)
async def test_nothing_is_spread_over_more_days_than_an_invitation_lasts(
    protect: str, days: float, why: str, tmp_path: Path, written: list[Any]
) -> None:
    with pytest.raises(Fatal, match="nothing was done") as caught:
        await actions.brake(config(tmp_path, protect), "closed-case", "spread", days, by="ada", reason="real")
    assert why in str(caught.value)
    assert written == []


@pytest.mark.parametrize(
    ("protect", "decision", "days"),
    [
        ("brake: 5/1h, expires_after: 3d", "spread", 3.0),
        ("brake: 5/1h", "spread", 30.0),
        ("brake: 5/1h, expires_after: 1h", "release", 1.0),
        ("brake: 5/1h, expires_after: 1h", "drop", 1.0),
    ],
)
async def test_what_has_its_turn_in_time_is_written_down(
    protect: str, decision: Any, days: float, tmp_path: Path, written: list[Any]
) -> None:
    """`days` is only about `spread`; the command line gives 1 to the others, too."""
    await actions.brake(config(tmp_path, protect), "closed-case", decision, days, by="ada", reason="real")
    assert len(written) == 1


async def test_a_decision_reaches_the_account_that_the_survey_had_before(tmp_path: Path, written: list[Any]) -> None:
    second = "  second: {base_url: https://api.pisano.co, auth: {method: static_token, token: hunter2}}\n"
    text = MINIMAL.replace("surveys:\n", f"{second}surveys:\n")
    text = text.replace("    account: main\n", "    account: second\n    protect: {brake: 1/1h}\n")
    config, now = read(tmp_path, text), datetime.now(UTC)
    protection = ContactProtection(config.surveys, config.protect)
    brakes = protection.known("main").memory.brakes
    one = invitation(1, account="main", created_at=now)
    for _ in range(2):
        brakes.saw("closed-case", now)
    assert brakes.verdict(one, now) == Wait(None, Reason.BRAKE)
    await actions.brake(config, "closed-case", "release", 1, by="ada", reason="real")
    for record in written:
        protection.actions.take(record.key, record.value)
    assert brakes.verdict(one, datetime.now(UTC)) is None


@pytest.mark.parametrize(
    ("protect", "why"),
    [("brake: 5/1h", "more than 5/3600s invitations"), ("max_age: 1d", "a brake that was taken out held them")],
)
def test_it_tells_why_invitations_that_waited_at_the_start_still_do(protect: str, why: str, tmp_path: Path) -> None:
    told: list[tuple[str, str | None]] = []
    memory = ContactProtection(config(tmp_path, protect).surveys, ProtectAll()).known("main").memory
    memory.brakes.told = lambda *what: told.append(what)
    memory.waits("closed-case", datetime.now(UTC), is_held=True)
    assert told == [("closed-case", why)]
