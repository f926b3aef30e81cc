"""send in simulated time, with persons who are wanted by several surveys and again and again.

Whatever befalls the workers, Kafka and Pisano, nobody is invited twice within `once_per` or outside the send hours, and
every invitation has one outcome with its reason. See test_send_simulated.py for the faults.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

from helpers.invitations import invitation
from helpers.protection import protection, survey
from helpers.simulated_play import play
from helpers.simulated_send import ACCOUNTS, FAULTS, ORDERLY, STARTS, Scenario, World, happenings, scenarios
from helpers.simulated_workers import run
from hypothesis import given, settings

from connector.kafka.ledger import ATTEMPTS, read_entry
from connector.kafka.waiting import WAITING
from connector.protection import ContactProtection
from connector.reasons import Reason
from connector.records import Invitation, Outcome, Protection, Settlement

PERSONS = 3  # of each account
MONTH = 30 * 86400.0
STARTED = datetime.fromtimestamp(STARTS, UTC)
OPEN = (300, 600)  # seconds after the start in which the survey `hours` may send

SCENARIOS = scenarios(
    [1, 3, 10],
    happenings(*ORDERLY, "invite")
    | happenings(*ORDERLY, "kill", "freeze", "cut off")
    | happenings(*ORDERLY, "kill", "freeze", "cut off", *FAULTS),
)


class Protected(World):
    """Each person is wanted by the surveys `first` and `second`, and may be invited once, as a contact or an address.

    The survey `hours` is for others. It asks everybody, but only in certain hours.
    """

    def protection(self) -> ContactProtection:
        return protection(
            {"once_per_any": "30d"},
            first=survey(once_per="30d", priority=1),
            second=survey(),
            hours=survey(except_from_any=True, send_between="00:05-00:10 UTC", daily_cap=7),
        )

    def invitation(self, number: int) -> Invitation:
        account, made_at = ACCOUNTS[number % 3], datetime.fromtimestamp(STARTS, UTC)
        delayed = made_at + timedelta(seconds=number // 6 % 3 * 40)
        terms = Protection(happened_at=made_at, not_before=delayed, expires_at=made_at + timedelta(seconds=900))
        if number % 9 == 4:
            return invitation(number, account=account, survey="hours", protection=terms)
        person = number // 6 % PERSONS
        first = number % 4 != 0
        named = {"contact": f"c{person}", "once_per": MONTH if first else None}
        return invitation(
            number,
            account=account,
            survey="first" if first else "second",
            email=f"P{person}@example.com" if number % 2 else f"person-{number}@example.com",
            protection=terms.model_copy(update=named),
        )


@settings(max_examples=80, deadline=None)
@given(SCENARIOS)
def test_nobody_is_invited_twice_or_outside_the_hours_whatever_befalls_the_workers(scenario: Scenario) -> None:
    play(Protected(scenario), run, check)


class AcrossAccounts(World):
    """Each person is wanted by a survey of each account, at the same time, and may be invited by one of them."""

    def protection(self) -> ContactProtection:
        return protection({"once_per_any": "30d"}, **{f"of_{name}": survey(account=name) for name in ACCOUNTS})

    def invitation(self, number: int) -> Invitation:
        account, made_at = ACCOUNTS[number % 3], datetime.fromtimestamp(STARTS, UTC)
        terms = Protection(contact=f"c{number // 3}", expires_at=made_at + timedelta(seconds=900))
        return invitation(
            number,
            account=account,
            survey=f"of-{account}",
            email=f"p{number // 3}@example.com" if number % 2 else f"person-{number}@example.com",
            protection=terms,
        )


@settings(max_examples=60, deadline=None)
@given(SCENARIOS)
def test_of_several_accounts_that_want_a_person_one_invites(scenario: Scenario) -> None:
    play(AcrossAccounts(scenario), run, check_across)


def check_across(world: AcrossAccounts) -> None:
    outcomes = settlements(world)
    ended: defaultdict[str | None, list[tuple[Outcome, int]]] = defaultdict(list)
    for each in world.invited.values():
        ended[each.protection.contact].append((outcomes[each.id].outcome, world.pisano.emails[each.record_id]))
    for contact, of_person in ended.items():
        assert sum(emails > 0 for _, emails in of_person) <= 1, f"{contact} is invited by two accounts: {of_person}"
        everybody_yields = all(outcome is Outcome.SUPPRESSED for outcome, _ in of_person)
        assert not everybody_yields, f"{contact} is invited by nobody: {of_person}"


def settlements(world: World) -> dict[str, Settlement]:
    """The outcome of each invitation; fails unless each has one."""
    outcomes: dict[str, Settlement] = {}
    for record in world.kafka.committed():
        if record.topic == ATTEMPTS and isinstance(entry := read_entry(record.value or b""), Settlement):
            assert entry.invitation not in outcomes
            outcomes[entry.invitation] = entry
    assert outcomes.keys() == world.invited.keys()
    return outcomes


def check(world: Protected) -> None:
    outcomes = settlements(world)
    waiting = {record.key: record.value for record in world.kafka.committed() if record.topic == WAITING}
    assert not any(waiting.values()), "an invitation with an outcome still waits"
    of_hours = {f"{each.account}/{each.id}" for each in world.invited.values() if each.survey == "hours"}
    came_early = {each for each in of_hours if world.invited_at[each.rpartition("/")[2]] < OPEN[0] - 100}
    assert {key.decode() for key in waiting if key} >= came_early or world.scenario.leaves_doubt()
    e_mailed: defaultdict[tuple[str, str | None], list[str]] = defaultdict(list)
    for each in world.invited.values():
        settled, emails = outcomes[each.id], world.pisano.emails[each.record_id]
        assert (settled.reason is None) == (settled.outcome is Outcome.SENT)
        assert emails == 0 or settled.outcome in {Outcome.SENT, Outcome.UNKNOWN}
        assert settled.outcome is not Outcome.SENT or emails > 0
        if emails and each.survey != "hours":
            e_mailed[each.account, each.protection.contact].append(each.id)
    assert all(len(invitations) == 1 for invitations in e_mailed.values()), e_mailed
    records_of_hours = {each.record_id for each in world.invited.values() if each.survey == "hours"}
    assert all(OPEN[0] <= at < OPEN[1] for who, at in world.pisano.e_mailed_at if who in records_of_hours)
    reasons = {settled.reason for settled in outcomes.values()}
    assert reasons <= {
        None,
        Reason.INVITED_BEFORE,
        Reason.INVITED_BY_ANOTHER,
        Reason.EXPIRED,
        Reason.REFUSED,
        Reason.NO_CLEAR_END,
    }
