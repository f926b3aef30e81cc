"""send on a real broker: every invitation has one outcome on record, and nobody is e-mailed twice."""

import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from helpers import topics
from helpers.invitations import CAMPAIGN, KEYS, as_records, invitation, outcomes
from helpers.service import Setup, metric, running_app, set_up, why_held
from helpers.waiting import until

from connector.kafka.ledger import read_entry
from connector.reasons import Reason
from connector.records import Attempt, Invitation
from connector.sandbox.doubles.pisano import Fault, PisanoDouble

WIDE = ((10_000, 5.0),)  # limits that delay no call; tests/unit/test_limits.py tests the windows
AT_ONCE: dict[str, Any] = {"limits": ["10000/5s"], "limit_padding": 0}


@pytest.fixture
async def pisano() -> AsyncIterator[PisanoDouble]:
    async with PisanoDouble(windows=WIDE, clock=time.monotonic) as double:
        double.add_campaign(CAMPAIGN, KEYS)
        double.configure(invitation_key="sf_ref_id", names_culprit=True)
        yield double


@pytest.fixture
async def base(tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble) -> Setup:
    return await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, account=AT_ONCE)


async def publish(setup: Setup, *invitations: Invitation) -> None:
    await topics.publish(setup.kafka, as_records(setup.kafka, invitations))


async def settled(setup: Setup, count: int) -> dict[str, Counter[str]]:
    """Waits until `count` invitations are in the ledger, and returns their outcomes; each must have exactly one."""

    async def all_there() -> dict[str, Counter[str]] | None:
        found = await outcomes(setup.kafka)
        return found if len(found) == count else None

    found = await until(all_there)
    assert found is not None
    assert all(counts.total() == 1 for counts in found.values())
    return found


async def dead_letters(setup: Setup) -> list[tuple[str, bytes]]:
    letters = await topics.read(setup.kafka, "connector.deadletters")
    return [(dict(letter.headers)["dl_reason"].decode(), letter.value) for letter in letters]


async def test_each_invitation_is_sent_once_however_often_its_record_comes(base: Setup, pisano: PisanoDouble) -> None:
    """Also when the record comes again after a restart."""
    made_up = [invitation(number) for number in range(10)]
    async with running_app(base.config, ["send"]):
        await publish(base, *made_up, *made_up)
        await settled(base, 10)
    async with running_app(base.config, ["send"]):
        await publish(base, *made_up, invitation(10))
        found = await settled(base, 11)
    assert {outcome for counts in found.values() for outcome in counts} == {"sent"}
    assert len(pisano.emails()) == 11
    assert pisano.second_emails() == []


async def test_a_call_is_written_down_before_it_is_made_and_settled_after(base: Setup, pisano: PisanoDouble) -> None:
    async with running_app(base.config, ["send"]):
        await publish(base, invitation(1))
        await settled(base, 1)
    entries = [read_entry(record.value) for record in await topics.read(base.kafka, "pisano.attempts")]
    calls = [(entry.call, entry.state, entry.result) for entry in entries if isinstance(entry, Attempt)]
    assert calls == [
        ("token", "begun", None),
        ("token", "settled", "accepted"),
        ("email_sharings", "begun", None),
        ("email_sharings", "settled", "accepted"),
    ]
    assert len(pisano.calls) == 2


async def test_a_suppressed_invitation_makes_no_call_and_its_reason_is_on_record(
    base: Setup, pisano: PisanoDouble
) -> None:
    opted_out = invitation(1, suppressed=Reason.OPTED_OUT)
    async with running_app(base.config, ["send"]):
        await publish(base, opted_out)
        assert await settled(base, 1) == {opted_out.id: {"suppressed": 1}}
    assert pisano.calls == []


async def test_one_that_pisano_refuses_sinks_nobody_who_shares_its_call(
    tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble
) -> None:
    """send halves a call of eight until the refused one is alone. It becomes a dead letter with Pisano's answer."""
    account = {**AT_ONCE, "max_recipients_per_call": 8}
    setup = await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, account=account)
    culprit = invitation(5, built_in_responses={"sf_ref_id": "case-5", "no_such_question": "x"})
    await publish(setup, *(culprit if number == 5 else invitation(number) for number in range(8)))
    async with running_app(setup.config, ["send"]):
        found = await settled(setup, 8)
    assert found.pop(culprit.id) == {"rejected": 1}
    assert {outcome for counts in found.values() for outcome in counts} == {"sent"}
    assert sorted(email.address for email in pisano.emails()) == sorted(
        invitation(number).email or "" for number in range(8) if number != 5
    )
    ((reason, value),) = await dead_letters(setup)
    assert (reason, Invitation.model_validate_json(value)) == ("rejected", culprit)


@pytest.mark.parametrize(
    ("policy", "outcome", "letters", "emails"),
    [("hold", "unknown", ["unknown"], 1), ("drop", "unknown", [], 1), ("resend", "sent", [], 2)],
)
async def test_policy_decides_about_a_call_that_got_no_answer(
    tmp_path: Path,
    bootstrap_servers: str,
    unique: str,
    pisano: PisanoDouble,
    policy: str,
    outcome: str,
    letters: list[str],
    emails: int,
) -> None:
    """Pisano had sent the e-mail. Only `resend`, which the operator has to choose, e-mails the customer again."""
    account = {**AT_ONCE, "unknown_outcome": policy}
    setup = await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, account=account)
    pisano.fail(Fault(calls="email_sharings", kind="drop", sent=True))
    async with running_app(setup.config, ["send"]):
        await publish(setup, invitation(1))
        assert await settled(setup, 1) == {invitation(1).id: {outcome: 1}}
    assert [reason for reason, _ in await dead_letters(setup)] == letters
    assert len(pisano.emails()) == emails


@pytest.mark.parametrize("call", ["token", "email_sharings"])
async def test_a_429_closes_the_gate_and_nothing_is_lost(base: Setup, pisano: PisanoDouble, call: Any) -> None:
    """A metric counts it, because it means that another client uses the same budget."""
    pisano.fail(Fault(calls=call, status=429, body="Retry later\n", headers={"Retry-After": "1"}))
    async with running_app(base.config, ["send"]) as app:
        await publish(base, *(invitation(number) for number in range(3)))
        await settled(base, 3)
        assert await metric(app, 'connector_pisano_throttled_total{account="main"}') == 1
    (throttled,) = (call.at for call in pisano.calls if call.status == 429)
    assert min(call.at for call in pisano.calls if call.at > throttled) - throttled >= 1
    assert len(pisano.emails()) == 3
    assert await dead_letters(base) == []


async def test_calls_made_before_a_restart_count_after_it(
    tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble
) -> None:
    """The window is longer than any restart."""
    account = {**AT_ONCE, "limits": ["10000/3600s"]}
    setup = await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, account=account)
    async with running_app(setup.config, ["send"]):
        await publish(setup, *(invitation(number) for number in range(4)))
        await settled(setup, 4)
    before = len(pisano.calls)
    async with running_app(setup.config, ["send"]) as app:
        await publish(setup, invitation(4))
        await settled(setup, 5)
        assert len(pisano.calls) > before > 1
        window = 'connector_limiter_window_used{account="main",window="10000/3600s"}'
        assert await metric(app, window) == len(pisano.calls)


async def test_refused_credentials_hold_the_account_with_one_message(
    tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble
) -> None:
    auth = {"method": "authorized_app", "client_id": pisano.app_id, "client_secret": "wrong-secret"}
    account = {**AT_ONCE, "auth": auth}
    setup = await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, account=account)
    await publish(setup, invitation(1))
    ((_, reason),) = (await why_held(setup.config, ["send"])).items()
    assert re.search(r"account main: .* Pisano answered 401 .* Check", reason)
    assert "wrong-secret" not in reason
    assert pisano.emails() == []


async def test_a_record_that_is_no_invitation_is_a_dead_letter_and_the_next_one_is_sent(
    base: Setup, pisano: PisanoDouble
) -> None:
    (record,) = as_records(base.kafka, [invitation(1)])
    garbage = record.__class__(record.topic, record.key, b"\xffgarbage", record.headers)
    await topics.publish(base.kafka, [garbage, record])
    async with running_app(base.config, ["send"]):
        await settled(base, 1)
        await until(lambda: dead_letters(base))  # send writes it separately from the ledger, and does not drain
    assert await dead_letters(base) == [("unreadable", b"\xffgarbage")]
    assert len(pisano.emails()) == 1
