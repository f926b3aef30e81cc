"""What a refusal by Pisano affects: one invitation, a campaign, the account, or none of them if Pisano is down."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from helpers.invitations import invitation
from helpers.protection import protection
from helpers.simulated_loop import simulate
from helpers.simulated_sender import Pisano, World

from connector.cells import Breaker
from connector.errors import Fatal, Rejected, Retryable, Unknown
from connector.pisano import Accepted, Forbidden, Recipient, Unclear
from connector.records import Attempt, Invitation, Outcome, Protection, digest
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader
from connector.surveys.recheck import Recheck


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    simulate(scenario(), tick=1e-6)


def address(number: int) -> str:
    return f"customer-{number}@example.com"


@pytest.mark.parametrize("at_once", [1, 10])
@pytest.mark.parametrize("is_page", [True, False])
def test_a_body_that_a_firewall_dislikes_is_set_aside_and_everybody_else_is_asked(at_once: int, is_page: bool) -> None:
    """Report 2: the same token works for all others, wherever the bad one is in the line."""
    bad = {address(0), address(7)}

    async def scenario() -> None:
        pisano = Pisano(lambda to: Forbidden("403", is_page=is_page) if to in bad else None)
        world = World(pisano, at_once=at_once)
        assert await world.deliver(*map(invitation, range(12))) == [None] * 12
        assert world.outcomes() == {Outcome.SENT: 10, Outcome.REJECTED: 2}
        assert set(pisano.e_mailed.values()) == {1}
        assert world.cells.held() == {}

    play(scenario)


def test_a_credential_without_rights_burns_nobody() -> None:
    """Pisano refuses every body, so no body is at fault; after a person fixes the rights, all get their e-mail."""

    async def scenario() -> None:
        pisano = Pisano(lambda _: Forbidden("403 no rights", is_page=False))
        world = World(pisano)
        results = await world.deliver(*map(invitation, range(12)))
        assert all(isinstance(result, Fatal) and result.whole for result in results)
        assert world.ledger.outcomes == {}
        assert len(pisano.calls) <= 3
        pisano.meets = lambda _: None
        assert await world.deliver(*map(invitation, range(12))) == [None] * 12
        assert world.outcomes() == {Outcome.SENT: 12}

    play(scenario)


def test_a_campaign_that_is_gone_holds_its_own_invitations_and_no_others() -> None:
    async def scenario() -> None:
        def by_campaign(campaign: str) -> Exception | None:
            return Fatal("no campaign 9999") if campaign == "9999" else None

        pisano = Pisano(by_campaign)
        world = World(pisano)
        gone = [invitation(number, campaign="9999", survey="gone") for number in range(5)]
        good = [invitation(number) for number in range(5, 10)]
        results = await world.deliver(*gone, *good)
        assert all(isinstance(result, Fatal) and not result.whole for result in results[:5])
        assert results[5:] == [None] * 5
        assert pisano.campaigns["9999"] == 1

    play(scenario)


def test_an_sms_campaign_that_is_gone_holds_no_e_mails_of_a_campaign_with_the_same_id() -> None:
    class NoSms(Pisano):
        async def send(self, campaign: str, recipients: Sequence[Recipient]) -> Accepted:
            if recipients[0].channel == "sms":
                await asyncio.sleep(0.1)
                raise Fatal("no campaign 4711")
            return await super().send(campaign, recipients)

    async def scenario() -> None:
        pisano = NoSms()
        sms = invitation(1, survey="urgent", channel="sms", email=None, phone="+905331234567")
        refused, *sent = await World(pisano).deliver(sms, *(invitation(number) for number in range(2, 5)))
        assert isinstance(refused, Fatal)
        assert sent == [None] * 3

    play(scenario)


def test_an_invitation_goes_to_the_campaign_that_its_survey_has_now() -> None:
    """Pisano may have deleted the one that the survey had when the invitation was decided."""

    async def scenario() -> None:
        def by_campaign(campaign: str) -> Exception | None:
            return Fatal("no campaign 9999") if campaign == "9999" else None

        pisano = Pisano(by_campaign)
        old, sms = invitation(1, campaign="9999"), invitation(2, channel="sms", phone="+905331234567", campaign="9999")
        sent, refused = await World(pisano).deliver(old, sms)
        assert sent is None
        assert isinstance(refused, Fatal)  # the survey sends e-mails now, so its campaign is none for SMS

    play(scenario)


@pytest.mark.parametrize("minutes", [10, 60])
def test_an_outage_is_probed_with_one_customer_at_growing_intervals(minutes: int) -> None:
    """Report 6: only the invitations of a few calls are left in doubt; the others get their e-mail afterwards."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + minutes * 60
        pisano = Pisano(lambda _: Unknown("502") if loop.time() < ends else None)
        world = World(pisano, at_once=10)
        deliveries = asyncio.create_task(world.deliver(*map(invitation, range(200))))
        await asyncio.sleep(120)
        assert list(world.cells.held()) == ["send/main/(calls)"]
        await deliveries
        assert world.cells.held() == {}
        doubt = world.outcomes()[Outcome.UNKNOWN]
        assert doubt <= 3 * 10 + 6 + minutes / 5
        assert world.outcomes()[Outcome.SENT] == 200 - doubt
        in_outage = [addresses for at, addresses in pisano.calls if at < ends][3:]
        assert {len(addresses) for addresses in in_outage} == {1}

    play(scenario)


def test_one_call_without_an_answer_closes_nothing() -> None:
    async def scenario() -> None:
        lost = {address(3), address(9)}
        pisano = Pisano(lambda to: Unknown("timeout") if to in lost else None)
        world = World(pisano)
        began = asyncio.get_running_loop().time()
        await world.deliver(*map(invitation, range(15)))
        assert world.outcomes() == {Outcome.SENT: 13, Outcome.UNKNOWN: 2}
        assert asyncio.get_running_loop().time() - began < 10

    play(scenario)


def test_many_refusals_alike_hold_the_campaign_instead_of_burning_its_invitations() -> None:
    async def scenario() -> None:
        pisano = Pisano(lambda _: Rejected("422 question_key unknown", code="422"))
        world = World(pisano, breaker=lambda: Breaker(run=10))
        results = await world.deliver(*map(invitation, range(40)))
        assert world.outcomes() == {Outcome.REJECTED: 10}
        assert sum(isinstance(result, Fatal) for result in results) == 30
        pisano.meets = lambda _: None
        rest = [invitation(n) for n in range(40) if invitation(n).id not in world.ledger.outcomes]
        await world.deliver(*rest)
        assert world.outcomes() == {Outcome.REJECTED: 10, Outcome.SENT: 30}

    play(scenario)


@pytest.mark.parametrize("priorities", [{}, {"urgent": 5}])
def test_a_mass_survey_does_not_starve_an_urgent_one(priorities: dict[str, int]) -> None:
    """Report 15: an urgent invitation gets at least every second call; with a priority it gets every call."""

    async def scenario() -> None:
        pisano = Pisano()
        world = World(pisano, priorities=priorities)
        mass = asyncio.create_task(world.deliver(*(invitation(n, survey="mass") for n in range(5_000))))
        await asyncio.sleep(60)
        before = len(pisano.calls)
        await world.deliver(*(invitation(n, survey="urgent") for n in range(6_000, 6_010)))
        calls = len(pisano.calls) - before
        assert calls <= (11 if priorities else 21)
        mass.cancel()
        await asyncio.gather(mass, return_exceptions=True)
        await world.sender.close(1)

    play(scenario)


def test_a_survey_without_a_priority_is_not_starved_by_one_that_never_ends() -> None:
    async def scenario() -> None:
        pisano = Pisano()
        world = World(pisano, priorities={"urgent": 5})
        urgent = asyncio.create_task(world.deliver(*(invitation(n, survey="urgent") for n in range(5_000))))
        await asyncio.sleep(60)
        before = len(pisano.calls)
        await world.deliver(*(invitation(n, survey="mass") for n in range(6_000, 6_002)))
        assert len(pisano.calls) - before <= 40
        urgent.cancel()
        await asyncio.gather(urgent, return_exceptions=True)
        await world.sender.close(1)

    play(scenario)


@pytest.mark.parametrize("campaigns", [("1", "2"), ("1", "1")])
def test_of_two_surveys_that_wait_the_one_with_the_higher_priority_gets_the_person_first(
    campaigns: tuple[str, str],
) -> None:
    """Issue 9: also where other surveys get a call in between."""

    async def scenario() -> None:
        world = World(Pisano(), priorities={"urgent": 5}, at_once=3)
        of_both = [
            invitation(number, id=digest(survey, str(number)), survey=survey, campaign=campaign)
            for survey, campaign, numbers in zip(
                ("mass", "urgent"), campaigns, (range(99, -1, -1), range(100)), strict=True
            )
            for number in numbers
        ]
        assert set(await world.deliver(*of_both)) == {None}
        first: dict[str, str] = {}
        for each in world.ledger.settlements:
            first.setdefault(each.record_id, each.survey)
        assert set(first.values()) == {"urgent"}
        assert len(first) == 100

    play(scenario)


def test_an_address_that_the_answer_refuses_is_rejected_and_the_rest_of_its_call_is_sent() -> None:
    """Report 19: one call, whose 2xx lists two of five addresses. Each outcome holds the beginning of the answer."""

    async def scenario() -> None:
        pisano = Pisano()
        pisano.lists = {address(1), address(3)}
        world = World(pisano, at_once=5)
        assert await world.deliver(*map(invitation, range(5))) == [None] * 5
        assert world.outcomes() == {Outcome.SENT: 3, Outcome.REJECTED: 2}
        assert len(pisano.calls) <= 2, "the first invitation may go alone"
        for each in world.ledger.settlements:
            assert each.answer == ("answer " * 100)[:300]
            assert (each.reason is None) == (each.outcome is Outcome.SENT)

    play(scenario)


def test_answers_that_refuse_most_addresses_hold_the_campaign() -> None:
    """Rule 4: a cause that many share is not the fault of any of them."""

    async def scenario() -> None:
        pisano = Pisano()
        pisano.lists = {address(number) for number in range(60) if number % 10}
        world = World(pisano, at_once=10, breaker=lambda: Breaker(run=5, share=0.8))
        results = await world.deliver(*map(invitation, range(60)))
        assert any(isinstance(result, Fatal) and "refuse most addresses" in str(result) for result in results)
        assert world.outcomes()[Outcome.REJECTED] < 20

    play(scenario)


@pytest.mark.parametrize(
    ("error", "policy", "calls"),
    [
        (Unknown("no answer"), "hold", 1),
        (Unknown("no answer"), "drop", 1),
        (Unknown("no answer"), "resend", 2),
        (Unclear("a 2xx that says nothing"), "resend", 1),
    ],
)
def test_an_invitation_is_sent_again_at_most_once_and_never_after_a_2xx(
    error: Unknown, policy: str, calls: int
) -> None:
    """With `resend`, one customer got 295 e-mails in a day from a Pisano whose 2xx `sent_when` did not know."""

    async def scenario() -> None:
        pisano = Pisano(lambda _: error)
        world = World(pisano, policy=policy)
        assert await world.deliver(invitation(1)) == [None]
        assert world.outcomes() == {Outcome.UNKNOWN: 1}
        assert len(pisano.calls) == calls

    play(scenario)


def test_a_call_whose_every_address_is_listed_as_refused_is_not_made_again() -> None:
    async def scenario() -> None:
        pisano = Pisano()
        pisano.lists = {address(number) for number in range(8)}
        world = World(pisano, at_once=8)
        assert await world.deliver(*map(invitation, range(8))) == [None] * 8
        assert world.outcomes() == {Outcome.REJECTED: 8}
        assert len(pisano.calls) <= 2, "the first invitation may go alone"

    play(scenario)


def test_an_invitation_that_cannot_be_written_is_rejected_without_a_call() -> None:
    """JSON in UTF-8 has no half of a surrogate pair. Before, the outcome was unknown although nothing was sent."""

    async def scenario() -> None:
        pisano = Pisano()
        world = World(pisano)
        half = invitation(1).model_copy(update={"custom_attributes": {"name": "Jane \ud83d"}})
        long = invitation(2).model_copy(update={"built_in_responses": {"n": 10**20}})
        assert await world.deliver(half, long) == [None] * 2
        assert [each.outcome for each in world.ledger.settlements] == [Outcome.REJECTED, Outcome.SENT]
        assert "Jane" not in str(world.ledger.settlements[0].reason)
        assert len(pisano.calls) == 1

    play(scenario)


class Moved:
    """A customer's address has changed since the invitation was decided."""

    after: ClassVar = {"closed-case": 600.0}

    async def check(self, invitation: Invitation) -> Invitation:
        return invitation.model_copy(update={"email": "moved@example.com"})


@pytest.mark.parametrize(("minutes", "checked"), [(5, False), (15, True)])
def test_a_change_that_came_late_is_checked_again_however_young_its_invitation_is(minutes: int, checked: bool) -> None:
    """Report 16: after a day of standstill, trigger invites at once by what the event said a day ago."""

    async def scenario() -> None:
        pisano, now = Pisano(), datetime.fromtimestamp(0, UTC)
        terms = Protection(happened_at=now - timedelta(minutes=minutes))
        late = invitation(1, created_at=now, protection=terms)
        assert await World(pisano, recheck=Moved()).deliver(late) == [None]
        assert pisano.e_mailed == {"moved@example.com" if checked else late.email: 1}

    play(scenario)


def test_the_person_is_remembered_under_the_address_that_got_the_e_mail() -> None:
    """Else the next change would invite the same address again, and nobody would know of the first e-mail."""

    async def scenario() -> None:
        pisano = Pisano()
        world = World(pisano, recheck=Moved())
        old = invitation(1, created_at=datetime(1969, 1, 1, tzinfo=UTC))  # the simulated clock begins in 1970
        assert await world.deliver(old) == [None]
        assert pisano.e_mailed == {"moved@example.com": 1}
        persons = protection().hashes.persons(None, "moved@example.com")
        assert [each.persons for each in world.ledger.settlements] == [persons]
        assert world.ledger.attempts[0].persons == (persons,)

    play(scenario)


def test_a_long_pause_that_pisano_asks_for_is_shown_at_once() -> None:
    """The sender sleeps for as long, and nobody would see why nothing is sent."""

    async def scenario() -> None:
        world = World(Pisano(lambda _: Retryable("503: maintenance", retry_after=3600.0)))
        waits = asyncio.create_task(world.deliver(invitation(1)))
        await asyncio.sleep(60)
        assert world.cells.held() == {"send/main/(calls)": "503: maintenance"}
        world.pisano.meets = lambda _: None
        assert await waits == [None]
        assert world.cells.held() == {}

    play(scenario)


def test_an_error_in_the_connector_between_two_calls_ends_the_sender_and_not_only_its_work() -> None:
    """A sender that stood still in silence would send nothing until the next restart."""

    class Broken(dict[str, float]):
        asked = 0

        def get(self, *_: Any) -> Any:
            self.asked += 1
            if self.asked > 1:  # first when the invitation comes, then before its call
                raise RuntimeError("a mistake of ours")

    async def scenario() -> None:
        recheck = Recheck({}, Reader(Lookup(nothing), Lookup(nothing)))  # of its own, as it is changed
        recheck.after = Broken()
        world = World(Pisano(), recheck=recheck)
        (failed,) = await world.deliver(invitation(1))
        assert isinstance(failed, Retryable)
        await world.sender.lost()

    play(scenario)


async def nothing(*_: object) -> list[dict[str, Any]]:
    return []


def test_a_call_whose_worker_died_counts_for_the_address_that_it_had() -> None:
    """The invitation's record has the address of before the check."""

    async def scenario() -> None:
        world, doubtful = World(Pisano()), invitation(1)
        persons = protection().hashes.persons(None, "moved@example.com")
        begun = Attempt(
            id="a" * 32,
            account="main",
            call="email_sharings",
            invitations=(doubtful.id,),
            persons=(persons,),
            state="begun",
            begun_at=datetime(1970, 1, 1, tzinfo=UTC),
        )
        world.ledger.unsettled = lambda _: begun  # type: ignore[assignment, method-assign, return-value]
        await world.deliver(doubtful)
        assert [each.persons for each in world.ledger.settlements] == [persons]

    play(scenario)
