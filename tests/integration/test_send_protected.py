"""send with what people decide: the suppression list, the brake, answers, and outcomes that are settled by hand."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from helpers import topics
from helpers.invitations import CAMPAIGN, as_records, invitation
from helpers.service import Setup, held, running_app, set_up
from helpers.waiting import until

from connector.errors import Fatal
from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.inbound import InRecord
from connector.kafka.ledger import Ledger, read_entry
from connector.kafka.waiting import Found, Waiting
from connector.operate import actions, suppressions
from connector.protection import Actions
from connector.reasons import Reason
from connector.records import Feedback, Invitation, Outcome, Protection, Settlement
from connector.sandbox.doubles.pisano import Fault, PisanoDouble

SURVEY = {"on": "Case", "account": "main", "campaign": CAMPAIGN, "email": "{{ record.SuppliedEmail }}"}
MONTH = 30 * 86400.0


@pytest.fixture
async def setup(
    tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble, request: pytest.FixtureRequest
) -> Setup:
    """The survey's `protect` is the fixture's parameter."""
    account: dict[str, Any] = {"limits": ["10000/5s"], "limit_padding": 0, "max_recipients_per_call": 1}
    surveys = {"closed-case": {**SURVEY, "protect": getattr(request, "param", {})}}
    return await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, account=account, surveys=surveys)


async def publish(setup: Setup, *invitations: Invitation) -> None:
    await topics.publish(setup.kafka, as_records(setup.kafka, invitations))


def just_now(count: int) -> list[Invitation]:
    """Invitations whose changes were made now, as by a data loader."""
    return [invitation(number, protection=Protection(happened_at=datetime.now(UTC))) for number in range(count)]


async def settlements(setup: Setup, *of: Invitation, outcome: Outcome | None = None) -> list[Settlement]:
    """Waits until each of these is settled, and returns the last settlement of each."""

    async def all_there() -> list[Settlement] | None:
        entries = [read_entry(record.value) for record in await topics.read(setup.kafka, "pisano.attempts")]
        found = {entry.invitation: entry for entry in entries if isinstance(entry, Settlement)}
        wanted = [found.get(each.id) for each in of]
        fits = all(one and (outcome is None or one.outcome is outcome) for one in wanted)
        return [one for one in wanted if one] if fits else None

    found = await until(all_there)
    assert found is not None
    return found


async def test_an_entry_that_cannot_be_read_can_be_removed(setup: Setup) -> None:
    """Such an entry stops its person, too."""
    topic = setup.kafka.topic_prefix + suppressions.SUPPRESSIONS
    await topics.publish(setup.kafka, [OutRecord(topic, b"email/ada@example.com", b"{", [])])
    await suppressions.remove(setup.config, "ada@example.com", None, by="legal")
    assert (await topics.read(setup.kafka, suppressions.SUPPRESSIONS))[-1].value is None


async def test_who_is_on_the_list_is_not_invited_until_the_entry_is_removed(setup: Setup, pisano: PisanoDouble) -> None:
    listed, also, free = invitation(1), invitation(2, email="Ada@Example.com"), invitation(3)
    entries = [suppressions.entry(listed.email or "", by="legal"), suppressions.entry("ada@example.com", by="legal")]
    await suppressions.write(setup.kafka, entries)
    async with running_app(setup.config, ["send"]):
        await publish(setup, listed, also, free)
        found = await settlements(setup, listed, also, free)
        assert [one.reason for one in found] == [Reason.ON_SUPPRESSION_LIST] * 2 + [None]
        await suppressions.remove(setup.config, listed.email or "", None, by="legal", why="asked again")
        (removal,) = await actions.trail(setup.kafka)
        assert (removal.by, removal.decision, removal.reason) == ("legal", "remove", "asked again")
        assert (listed.email or "") not in removal.model_dump_json()
        with pytest.raises(Fatal, match="already removed"):
            await suppressions.remove(setup.config, listed.email or "", None, by="legal")
        numbers = count(4)

        async def is_free() -> bool:
            """The sender follows the list live, and may not know it at once."""
            again = invitation(next(numbers), email=listed.email)
            await publish(setup, again)
            return (await settlements(setup, again))[0].outcome is Outcome.SENT

        await until(is_free)
    assert [email.address for email in pisano.emails()] == [free.email, listed.email]


@pytest.mark.parametrize("setup", [{"once_per": "30d", "counts": "answers"}], indirect=True)
async def test_who_has_answered_is_left_alone(setup: Setup, pisano: PisanoDouble) -> None:
    now = datetime.now(UTC)
    answer = Feedback(id="f", account="main", received_at=now, body={"email": "customer-1@EXAMPLE.com"})
    record = to_record(
        setup.kafka.topic_prefix + "pisano.feedback",
        "f",
        answer,
        ce_type="pisano.feedback",
        ce_source="/accounts/main",
        ce_id="f",
        ce_time=now,
    )
    await topics.publish(setup.kafka, [record])
    terms = Protection(once_per=MONTH)
    answered, other = invitation(1, protection=terms), invitation(2, protection=terms)
    async with running_app(setup.config, ["send"]):
        await publish(setup, answered, other)
        found = await settlements(setup, answered, other)
    assert [one.reason for one in found] == [Reason.ANSWERED_BEFORE, None]


@pytest.mark.parametrize("setup", [{"brake": "3/1h"}], indirect=True)
async def test_more_invitations_than_usual_wait_for_a_person_also_after_a_restart(
    setup: Setup, pisano: PisanoDouble
) -> None:
    happened_at = datetime.now(UTC)
    flood = [invitation(number, protection=Protection(happened_at=happened_at)) for number in range(10)]
    for _ in range(2):
        async with running_app(setup.config, ["send"]) as app:
            await publish(setup, *flood)
            await until(lambda: _holds(app))
    assert len(pisano.emails()) <= 3
    async with running_app(setup.config, ["send"]):
        await actions.brake(setup.config, "closed-case", "release", 1, by="ada", reason="all is well")
        await settlements(setup, *flood, outcome=Outcome.SENT)
    assert len(pisano.emails()) == 10
    assert pisano.second_emails() == []


@pytest.mark.parametrize("setup", [{"brake": "3/1h"}], indirect=True)
async def test_what_waits_for_a_person_is_looked_at_once_after_each_decision(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier decision is no reason to read it from Kafka again and again."""
    fetch, fetched = Waiting.fetch, list[int]()

    async def counted(self: Waiting, offsets: Sequence[int]) -> list[Found]:
        fetched.append(len(offsets))
        return await fetch(self, offsets)

    monkeypatch.setattr(Waiting, "fetch", counted)
    await actions.brake(setup.config, "closed-case", "release", 1, by="ada", reason="an earlier flood")
    flood = just_now(10)
    async with running_app(setup.config, ["send"]) as app:
        await publish(setup, *flood)
        await until(lambda: _holds(app))
        await asyncio.sleep(2)  # it read them some hundred times
        assert len(fetched) < 20
        await actions.brake(setup.config, "closed-case", "release", 1, by="ada", reason="all is well")
        await settlements(setup, *flood, outcome=Outcome.SENT)


@pytest.mark.parametrize("setup", [{"brake": "3/1h"}], indirect=True)
async def test_a_decision_reaches_an_invitation_that_is_just_being_put_aside(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    flood = just_now(11)
    wait, take, taken = Ledger.wait, Actions.take, asyncio.Event()

    def tells(self: Actions, key: bytes | None, value: bytes | None) -> None:
        take(self, key, value)
        taken.set()

    async def meanwhile(self: Ledger, invitations: Sequence[tuple[InRecord, Invitation, datetime | None]]) -> None:
        if flood[-1].id in {each.id for _, each, _ in invitations}:
            await actions.brake(setup.config, "closed-case", "release", 1, by="ada", reason="all is well")
            await taken.wait()
            await settlements(setup, *flood[:-1], outcome=Outcome.SENT)
        await wait(self, invitations)

    monkeypatch.setattr(Actions, "take", tells)
    monkeypatch.setattr(Ledger, "wait", meanwhile)
    async with running_app(setup.config, ["send"]) as app:
        await publish(setup, *flood[:-1])
        await until(lambda: _holds(app))
        await publish(setup, flood[-1])
        await settlements(setup, *flood, outcome=Outcome.SENT)


@pytest.mark.parametrize("setup", [{"brake": "3/1h"}], indirect=True)
async def test_what_a_brake_holds_ends_when_its_survey_is_gone_and_the_other_surveys_go_on(
    setup: Setup, tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble
) -> None:
    flood = just_now(10)
    async with running_app(setup.config, ["send"]) as app:
        await publish(setup, *flood)
        await until(lambda: _holds(app))
    sent = len(pisano.emails())
    setup = await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, surveys={"other": SURVEY})
    other = invitation(10, survey="other")
    async with running_app(setup.config, ["send"]):
        await publish(setup, other)
        found = await settlements(setup, *flood, other)
    reasons = Counter(one.reason for one in found)
    assert reasons == {None: sent + 1, Reason.SURVEY_REMOVED: 10 - sent}
    assert await topics.read(setup.kafka, "connector.deadletters") == []


@pytest.mark.parametrize("setup", [{"brake": "3/1h"}], indirect=True)
async def test_as_many_as_the_brake_allows_are_sent_one_by_one(setup: Setup) -> None:
    async with running_app(setup.config, ["send"]) as app:
        for number in range(3):
            one = invitation(number, protection=Protection(happened_at=datetime.now(UTC)))
            await publish(setup, one)
            await settlements(setup, one, outcome=Outcome.SENT)
        assert not await _holds(app)


async def test_a_decision_about_a_survey_without_a_brake_is_refused_and_ends_nothing_that_waits(setup: Setup) -> None:
    """As when the name of another survey is written."""
    due = datetime.now(UTC) + timedelta(days=1)
    late = invitation(1, protection=Protection(happened_at=datetime.now(UTC), not_before=due))
    async with running_app(setup.config, ["send"]):
        await publish(setup, late)
        await until(lambda: topics.read(setup.kafka, "pisano.waiting"))
    with pytest.raises(Fatal, match="nothing was done: closed-case has no `brake`"):
        await actions.brake(setup.config, "closed-case", "drop", 1, by="ada", reason="a clean-up")
    assert await topics.read(setup.kafka, "connector.actions") == []


@pytest.mark.parametrize("setup", [{"brake": "3/1h"}], indirect=True)
async def test_a_decision_reaches_what_waits_for_a_brake_that_was_taken_out(
    setup: Setup, tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble
) -> None:
    flood = just_now(10)
    async with running_app(setup.config, ["send"]) as app:
        await publish(setup, *flood)
        await until(lambda: _holds(app))
        await until(lambda: topics.read(setup.kafka, "pisano.waiting"))
    setup = await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, surveys={"closed-case": SURVEY})
    async with running_app(setup.config, ["send"]):
        await actions.brake(setup.config, "closed-case", "drop", 1, by="ada", reason="a clean-up")
        found = await settlements(setup, *flood)
    assert {one.reason for one in found} <= {None, Reason.DROPPED}
    assert len(pisano.emails()) < 10


async def _holds(app: Any) -> bool:
    return "brake/main/closed-case" in await held(app)


@pytest.mark.parametrize(
    ("decision", "outcome", "emails"),
    [("resend", Outcome.SENT, 1), ("sent", Outcome.SENT, 0), ("drop", Outcome.SUPPRESSED, 0)],
)
async def test_an_unknown_outcome_is_settled_by_hand_exactly_once(
    setup: Setup, pisano: PisanoDouble, decision: Any, outcome: Outcome, emails: int
) -> None:
    doubtful = invitation(1)
    pisano.fail(Fault(calls="email_sharings", kind="drop"))
    async with running_app(setup.config, ["send"]):
        await publish(setup, doubtful)
        await settlements(setup, doubtful, outcome=Outcome.UNKNOWN)
        action = await actions.settle(setup.config, doubtful.id, decision, by="ada", reason="asked Pisano")
        (found,) = await settlements(setup, doubtful, outcome=outcome)
        assert found.action == action.id
    other = invitation(2)
    async with running_app(setup.config, ["send"]):
        await publish(setup, doubtful, other)
        await settlements(setup, other)
    assert [email.address for email in pisano.emails()] == [doubtful.email] * emails + [other.email]


async def test_of_two_decisions_at_once_to_send_again_one_is_carried_out_also_after_a_restart(
    setup: Setup, pisano: PisanoDouble
) -> None:
    """As after a double click. The e-mail leaves, and its outcome is unknown again: that needs a new decision."""
    doubtful = invitation(1)
    pisano.fail(Fault(calls="email_sharings", kind="drop"))
    async with running_app(setup.config, ["send"]):
        await publish(setup, doubtful)
        (first,) = await settlements(setup, doubtful, outcome=Outcome.UNKNOWN)
        pisano.fail(Fault(calls="email_sharings", kind="drop", sent=True, delay=1.0))
        again = (actions.settle(setup.config, doubtful.id, "resend", by="ada", reason="asked") for _ in range(2))
        await asyncio.gather(*again)

        async def is_unknown_again() -> bool:
            return await settlements(setup, doubtful, outcome=Outcome.UNKNOWN) != [first]

        await until(is_unknown_again)
    other = invitation(2)
    async with running_app(setup.config, ["send"]):
        await publish(setup, other)
        await settlements(setup, other)
    assert [email.address for email in pisano.emails()] == [doubtful.email, other.email]
