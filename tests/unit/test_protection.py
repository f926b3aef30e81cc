"""The policy of contact protection: when an invitation goes, waits or stops."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from helpers.invitations import invitation
from helpers.protection import protection, survey
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.config import Phones, ProtectAll
from connector.config.protect import period
from connector.decisions import Action, Suppression
from connector.protection import CLAIMS, ContactProtection, Go, Stop, Verdict, Wait, claim_key, suppression_key
from connector.reasons import Reason
from connector.records import Claim, Feedback, Invitation, Outcome, Protection, Settlement

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)  # a Monday
DAY = timedelta(days=1)
ZONES = ("Europe/Istanbul", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia", "UTC")


class Sender:
    """Asks the policy, and remembers what was sent as the ledger would."""

    def __init__(self, over_all: dict[str, Any] | None = None, **surveys: Any) -> None:
        self.protection = protection(over_all, **{name: survey(**protect) for name, protect in surveys.items()})
        self.known = self.protection.known("main")
        self.numbers: Iterator[int] = iter(range(10**9))

    def invite(self, name: str = "a", email: str = "ada@example.com", **terms: Any) -> Invitation:
        return invitation(next(self.numbers), survey=name, email=email, protection=Protection(**terms))

    def verdict(self, one: Invitation, now: datetime = NOW) -> Verdict:
        return self.protection.policy.verdict(one, self.known, now)

    def settle(self, one: Invitation, at: datetime = NOW, outcome: Outcome = Outcome.SENT) -> None:
        cap = one.protection.cap
        settled = Settlement(
            invitation=one.id,
            account="main",
            survey=one.survey,
            record_id=one.record_id,
            outcome=outcome,
            persons=self.protection.hashes.persons(one.protection.contact, one.email),
            cap=None if cap is None else self.protection.hashes.of(cap),
            happened_at=one.protection.happened_at,
            at=at,
        )
        self.known.memory.settled(settled.model_dump(mode="json"))


def reason(verdict: Verdict) -> Reason | None:
    return None if isinstance(verdict, Go) else verdict.reason


HOURS = st.tuples(st.integers(0, 1439), st.integers(1, 1440)).filter(lambda pair: pair[1] - pair[0] >= 10)


@settings(max_examples=300, deadline=None)
@given(
    HOURS,
    st.sampled_from(ZONES),
    st.sampled_from(["", "Mon-Fri ", "Sat,Sun ", "Fri-Mon "]),
    st.integers(0, 19 * 365 * 86400).map(lambda seconds: datetime(2009, 1, 1, tzinfo=UTC) + timedelta(0, seconds)),
    st.sets(st.integers(0, 3)),
)
def test_nothing_is_sent_outside_the_hours_and_the_wait_ends_at_the_first_minute_inside(
    hours: tuple[int, int], zone: str, days: str, now: datetime, holidays: set[int]
) -> None:
    """In every zone, on weekdays, holidays and the days on which clocks are set; compared minute by minute."""
    place = ZoneInfo(zone)
    text = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in hours)
    off = [(now.astimezone(place).date() + DAY * day).isoformat() for day in holidays]
    protect = {"send_between": f"{days}{text} {zone}", "holidays": off}
    sender = Sender(a=protect)
    wanted = {"": range(7), "Mon-Fri ": range(5), "Sat,Sun ": (5, 6), "Fri-Mon ": (4, 5, 6, 0)}[days]

    def is_open(moment: datetime) -> bool:
        local = moment.astimezone(place)
        within = hours[0] <= local.hour * 60 + local.minute < hours[1]
        return within and local.weekday() in wanted and local.date().isoformat() not in off

    verdict = sender.verdict(sender.invite(), now)
    if isinstance(verdict, Go):
        assert is_open(now)
        return
    assert isinstance(verdict, Wait)
    assert verdict.until is not None
    assert verdict.reason is Reason.SEND_HOURS
    assert is_open(verdict.until)
    minute, skipped = now.replace(second=0, microsecond=0) + timedelta(minutes=1), 0
    while minute < verdict.until - timedelta(minutes=1):
        skipped += is_open(minute)
        minute += timedelta(minutes=1)
    assert skipped <= 60  # the last half minute of the hours, or the hour that is skipped when clocks are set


def test_the_customers_own_zone_counts_and_an_hour_that_does_not_exist_is_skipped() -> None:
    sender = Sender(a={"send_between": "02:00-03:00 America/New_York", "zone": "{{ record.Zone__c }}"})
    night = datetime(2026, 3, 8, 6, 30, tzinfo=UTC)  # 01:30 in New York, where 02:00 becomes 03:00 that day
    assert sender.verdict(sender.invite(), night) == Wait(datetime(2026, 3, 9, 6, tzinfo=UTC), Reason.SEND_HOURS)
    there = sender.invite(zone="Europe/Istanbul")
    assert sender.verdict(there, datetime(2026, 3, 7, 23, 30, tzinfo=UTC)) == Go()


ARRIVALS = st.lists(
    st.tuples(
        st.integers(0, 90 * 24),  # hours between
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["ada@example.com", "Ada@Example.com", "bob@example.com"]),
        st.sampled_from([None, "0035g00000ada00AAA", "0035g00000ada00"]),
    ),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(ARRIVALS)
def test_nobody_is_invited_twice_within_the_period_whatever_the_pattern(arrivals: list[Any]) -> None:
    """Once in 30 days by survey a, once in 10 days by any survey but c; by contact or address, whichever is equal."""
    sender = Sender({"once_per_any": "10d"}, a={"once_per": "30d"}, b={}, c={"except_from_any": True})
    now, sent = NOW, list[tuple[datetime, str, frozenset[str]]]()
    for hours, name, email, contact in arrivals:
        now += timedelta(hours=hours)
        one = sender.invite(name, email, contact=contact, once_per=30 * 86400 if name == "a" else None)
        persons = frozenset({email.lower(), (contact or email.lower())[:15]})
        before = [(at, by) for at, by, whom in sent if whom & persons]
        own = name == "a" and any(now - at < 30 * DAY for at, by in before if by == "a")
        any_ = name != "c" and any(now - at < 10 * DAY for at, by in before if by != "c")
        verdict = sender.verdict(one, now)
        assert isinstance(verdict, Stop if own or any_ else Go), (verdict, own, any_)
        if isinstance(verdict, Go):
            sender.settle(one, now)
            sent.append((now, name, persons))


def test_the_clock_set_back_invites_nobody_again() -> None:
    sender = Sender(a={"once_per": "30d"})
    sender.settle(sender.invite(), NOW)
    again = sender.invite(once_per=30 * 86400)
    assert reason(sender.verdict(again, NOW - 400 * DAY)) is Reason.INVITED_BEFORE


def test_one_that_may_have_been_sent_counts_as_sent() -> None:
    sender = Sender(a={"once_per": "30d"})
    sender.settle(sender.invite(), NOW, Outcome.UNKNOWN)
    assert reason(sender.verdict(sender.invite(once_per=86400.0))) is Reason.INVITED_BEFORE


def test_a_change_that_is_decided_anew_invites_no_address_a_second_time() -> None:
    """An invitation's id holds the place of its address, and a replay may find the addresses at other places."""
    sender = Sender(a={})
    change = {"record_id": "case-1", "protection": Protection(happened_at=NOW)}
    sender.settle(sender.invite(email="Ada@example.com").model_copy(update=change))
    again, other = (sender.invite(email=f"{name}@example.com").model_copy(update=change) for name in ("ada", "byron"))
    assert reason(sender.verdict(again)) is Reason.INVITED_BEFORE
    assert sender.verdict(other) == Go()
    later = again.model_copy(update={"protection": Protection(happened_at=NOW + timedelta(milliseconds=1))})
    another_record = again.model_copy(update={"record_id": "case-2"})
    assert [sender.verdict(later), sender.verdict(another_record)] == [Go(), Go()]


def test_who_was_invited_by_a_survey_that_is_not_in_the_file_any_more_is_invited_by_no_other() -> None:
    over_all = {"once_per_any": "30d"}
    before, after = Sender(over_all, campaign={}, a={}), Sender(over_all, a={})
    invited = before.invite("campaign")
    after.settle(invited)
    assert reason(after.verdict(after.invite(), NOW + DAY)) is Reason.INVITED_BY_ANOTHER


def test_whom_another_account_has_invited_counts_also_when_it_has_no_survey_in_the_file_any_more() -> None:
    accounts = {"main": Phones(), "other": Phones()}
    guard = ContactProtection({"a": survey()}, ProtectAll(once_per_any=30 * 86400.0), accounts)
    one, known = invitation(1, survey="a"), guard.known("main")
    for person in known.memory.persons(one):
        claim = Claim(person=person, account="other", invitation="before", at=NOW)
        guard.topics()[CLAIMS](claim_key(person, "other"), claim.model_dump_json().encode(), 0)
    assert reason(guard.policy.verdict(one, known, NOW + DAY)) is Reason.INVITED_BY_ANOTHER


def test_a_period_that_no_date_can_be_moved_by_is_refused_before_it_reaches_the_sender() -> None:
    assert period("36500d") == 36500 * 86400.0
    with pytest.raises(ValueError, match="100 years at most"):
        period("9999999999d")


@pytest.mark.parametrize("end", [Outcome.SENT, Outcome.SUPPRESSED])
def test_an_unknown_outcome_that_a_person_settles_counts_as_the_person_says(end: Outcome) -> None:
    """As after a restart, when Kafka has kept only the last settlement."""
    protect = {"total_cap": 3, "daily_cap": 3, "cap": {"by": "{{ record.B }}", "per_day": 3}}
    live, restarted = Sender(a=protect), Sender(a=protect)
    one = live.invite(cap="x", cap_per_day=3)
    live.settle(one, NOW - 3 * DAY, Outcome.UNKNOWN)
    live.settle(one, NOW, end)
    restarted.settle(one, NOW, end)
    counts = [
        (memory.sent_in_all("a"), memory.sent_on("a", NOW.date()), memory.sent_for("a", "x", NOW.date()))
        for memory in (live.known.memory, restarted.known.memory)
    ]
    assert counts == [(1, 1, 1) if end is Outcome.SENT else (0, 0, 0)] * 2


@pytest.mark.parametrize(
    ("zone", "night"),
    [
        ("America/Santiago", date(2026, 9, 5)),  # the clock goes from 24:00 to 1:00
        ("Africa/Cairo", date(2026, 4, 23)),
        ("America/Havana", date(2026, 10, 31)),  # and here from 1:00 to 0:00
        ("Europe/Berlin", date(2026, 3, 28)),
    ],
)
def test_a_full_day_ends_when_the_next_begins_also_where_the_clock_skips_midnight(zone: str, night: date) -> None:
    sender = Sender(a={"daily_cap": 1, "send_between": f"00:00-24:00 {zone}"})
    now = datetime(night.year, night.month, night.day, 23, 30, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    sender.settle(sender.invite(), now - timedelta(hours=3))
    verdict = sender.verdict(sender.invite(), now)
    assert isinstance(verdict, Wait)
    assert verdict.until is not None
    assert verdict.until > now
    just_before = verdict.until - timedelta(seconds=1)
    days = [moment.astimezone(ZoneInfo(zone)).date() for moment in (just_before, verdict.until)]
    assert days == [night, night + DAY]


def test_a_value_that_has_its_quota_waits_for_the_next_day_while_others_go() -> None:
    sender = Sender(a={"cap": {"by": "{{ record.B }}", "per_day": 2}})
    full, other = ({"cap": cap, "cap_per_day": 2} for cap in "xy")
    for _ in range(2):
        assert sender.verdict(sender.invite(**full)) == Go()
        sender.settle(sender.invite(**full))
    midnight = datetime(2026, 3, 3, tzinfo=UTC)
    assert sender.verdict(sender.invite(**full)) == Wait(midnight, Reason.CAP)
    assert sender.verdict(sender.invite(**other)) == Go()
    assert sender.verdict(sender.invite(**full), midnight) == Go()


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.integers(0, 9), max_size=40))
def test_caps_hold_on_every_day_and_in_all_and_stop_nothing_before_they_are_full(
    daily: int, total: int, hours: list[int]
) -> None:
    sender = Sender(a={"daily_cap": daily, "total_cap": 3 * total, "cap": {"by": "{{ record.B }}", "per_day": 2}})
    now, sent = NOW, Counter[date | tuple[date, str]]()
    for number, pause in enumerate(hours):
        now += timedelta(hours=pause)
        day, branch = now.date(), str(number % 2)
        one = sender.invite(email=f"{number}@example.com", cap=branch, cap_per_day=2)
        full = {
            Reason.TOTAL_CAP: sum(count for of, count in sent.items() if isinstance(of, date)) == 3 * total,
            Reason.DAILY_CAP: sent[day] == daily,
            Reason.CAP: sent[day, branch] == 2,
        }
        verdict = sender.verdict(one, now)
        assert reason(verdict) == next((cap for cap, is_full in full.items() if is_full), None)
        if isinstance(verdict, Wait):
            assert verdict.until == datetime.combine(day + DAY, datetime.min.time(), UTC)
        if isinstance(verdict, Go):
            sender.settle(one, now)
            sent.update([day, (day, branch)])


def test_the_survey_with_the_highest_priority_goes_first() -> None:
    sender = Sender({"once_per_any": "10d"}, a={"priority": 5}, b={}, c={"except_from_any": True})
    created = {"created_at": NOW}
    low, high = (sender.invite(name).model_copy(update=created) for name in "ba")
    assert sender.verdict(low) == Wait(NOW + timedelta(seconds=5), Reason.PRIORITY)
    assert sender.verdict(high) == Go()
    assert sender.verdict(sender.invite("c").model_copy(update=created)) == Go()
    assert sender.verdict(low, NOW + timedelta(seconds=5)) == Go()
    sender.settle(high, NOW)
    assert reason(sender.verdict(low, NOW + timedelta(seconds=5))) is Reason.INVITED_BY_ANOTHER


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({"expires_at": NOW}, (Outcome.EXPIRED, Reason.EXPIRED)),
        ({"happened_at": NOW - 3 * DAY}, (Outcome.SUPPRESSED, Reason.TOO_OLD)),
        ({"not_before": NOW + DAY}, Reason.DELAY),
        ({"happened_at": NOW - DAY, "expires_at": NOW + DAY, "not_before": NOW}, None),
    ],
)
def test_age_delay_and_expiry(terms: dict[str, Any], expected: object) -> None:
    sender = Sender(a={"max_age": "2d"})
    verdict = sender.verdict(sender.invite(**terms))
    found = (verdict.outcome, verdict.reason) if isinstance(verdict, Stop) else reason(verdict)
    assert found == expected


@pytest.mark.parametrize(
    ("key", "stops"),
    [
        ("email/ADA@example.com", True),
        ("email/ada@example.com/a", True),
        ("email/ada@example.com/b", False),
        ("contact/0035g00000ada00AAA", True),
        ("contact/0035g00000ada01", False),
    ],
)
def test_the_suppression_list_names_addresses_and_contacts_for_one_survey_or_all(key: str, stops: bool) -> None:
    sender = Sender(a={}, b={})
    entry = Suppression(email="ada@example.com", by="legal", at=NOW, until=NOW + DAY)
    one = sender.invite(contact="0035g00000ada00")
    sender.protection.people.listed(key.encode(), entry.model_dump_json().encode())
    assert (reason(sender.verdict(one)) is Reason.ON_SUPPRESSION_LIST) is stops
    assert sender.verdict(one, NOW + DAY) == Go()
    sender.protection.people.listed(key.encode(), None)
    assert sender.verdict(one) == Go()


@pytest.mark.parametrize("email", ["ada@example.com", "ada@work.example"])
def test_a_contact_on_the_list_gets_nothing_at_any_of_several_addresses(email: str) -> None:
    sender = Sender(a={})
    one = sender.invite(contact=None, owner="0035g00000ada00AAA", email=email)
    assert sender.verdict(one) == Go()
    sender.protection.people.listed(
        b"contact/0035g00000ada00", Suppression(by="legal", at=NOW).model_dump_json().encode()
    )
    assert reason(sender.verdict(one)) is Reason.ON_SUPPRESSION_LIST


def test_an_entry_that_cannot_be_read_stops_the_person() -> None:
    """Another system may have written it: better nobody is asked than somebody who must not be."""
    sender = Sender(a={})
    with pytest.raises(Exception, match="not a readable Suppression"):
        sender.protection.people.listed(suppression_key("ada@example.com", None, None).encode(), b"{")
    assert reason(sender.verdict(sender.invite())) is Reason.ON_SUPPRESSION_LIST


@given(st.permutations(range(12)), st.sampled_from(["release", "drop", "spread"]))
def test_the_brake_holds_a_flood_in_any_order_until_a_person_decides(order: list[int], decision: str) -> None:
    """Twelve changes within an hour, where eight are allowed; afterwards the ordinary ones go on."""
    sender = Sender(a={"brake": "8/1h"})
    flood = [sender.invite(email=f"{n}@example.com", happened_at=NOW + timedelta(minutes=4 * n)) for n in range(12)]
    for number in order:
        sender.known.memory.brakes.saw("a", flood[number].protection.happened_at)
    now = NOW + timedelta(hours=2)
    assert all(sender.verdict(one, now) == Wait(None, Reason.BRAKE) for one in flood)
    action = Action(
        id="1", kind="brake", target="main/a", decision=decision, by="ada", reason="r", at=now, params={"days": 2}
    )
    sender.protection.actions.take(b"main/a", action.model_dump_json().encode())
    verdicts = [sender.verdict(one, now) for one in flood]
    if decision == "release":
        assert verdicts == [Go()] * 12
    elif decision == "drop":
        assert {reason(verdict) for verdict in verdicts} == {Reason.DROPPED}
    else:
        turns = [verdict.until for verdict in verdicts if isinstance(verdict, Wait) and verdict.until]
        assert all(now <= turn <= now + 2 * DAY for turn in turns)
        assert len(set(turns)) > 6
    later = sender.invite(happened_at=now + timedelta(minutes=1))
    sender.known.memory.brakes.saw("a", later.protection.happened_at)
    assert sender.verdict(later, now + timedelta(minutes=2)) == Go()


@pytest.mark.parametrize(("later", "is_held"), [(1, False), (6, True)])
def test_changes_that_come_before_the_decision_but_were_made_after_it_are_counted_anew(
    later: int, is_held: bool
) -> None:
    """The clock of whoever decides may be behind Salesforce's."""
    sender, second = Sender(a={"brake": "5/1h"}), timedelta(seconds=1)
    flood = [sender.invite(email=f"{n}@example.com", happened_at=NOW + n * second) for n in range(6)]
    after = [sender.invite(email=f"{n}@later.com", happened_at=NOW + (60 + n) * second) for n in range(later)]
    for one in (*flood, *after):
        sender.known.memory.brakes.saw("a", one.protection.happened_at)
    at = NOW + 30 * second
    action = Action(id="1", kind="brake", target="main/a", decision="release", by="ada", reason="r", at=at)
    sender.protection.actions.take(b"main/a", action.model_dump_json().encode())
    now = NOW + timedelta(minutes=5)
    assert [sender.verdict(one, now) for one in flood] == [Go()] * 6
    assert [sender.verdict(one, now) for one in after] == [Wait(None, Reason.BRAKE) if is_held else Go()] * later


def test_what_waits_when_the_sender_starts_counts_for_the_brake() -> None:
    sender = Sender(a={"brake": "3/1h"})
    for number in range(4):
        assert reason(sender.verdict(sender.invite(happened_at=NOW))) is None, number
        sender.known.memory.waits("a", NOW, is_held=False)
    assert sender.verdict(sender.invite(happened_at=NOW)) == Wait(None, Reason.BRAKE)


def test_a_few_over_a_longer_time_do_not_brake() -> None:
    sender = Sender(a={"brake": "8/1h"})
    for hours in range(100):
        sender.known.memory.brakes.saw("a", NOW + timedelta(hours=hours))
    assert sender.verdict(sender.invite()) == Go()


def test_a_survey_that_is_gone_invites_nobody() -> None:
    sender = Sender(a={})
    assert reason(sender.verdict(sender.invite("gone"))) is Reason.SURVEY_REMOVED


def test_an_answer_with_a_list_or_an_object_for_an_address_is_read_all_the_same() -> None:
    """A webhook holds what a person put together. The next key that names the person counts."""
    sender = Sender(a={"once_per": "30d", "counts": "answers"})
    body = {"external_id": {"id": 1}, "email": ["ada@example.com"], "customer_email": "Ada@example.com"}
    answer = Feedback(id="f", account="main", received_at=NOW, body=body)
    sender.protection.people.answered(answer.model_dump_json().encode())
    assert reason(sender.verdict(sender.invite(once_per=30 * 86400.0))) is Reason.ANSWERED_BEFORE
    assert sender.verdict(sender.invite(email="bora@example.com", once_per=30 * 86400.0)) == Go()


@pytest.mark.parametrize("over_all", [{}, {"once_per_any": "30d", "counts": "answers"}])
def test_where_answers_count_an_invitation_stops_nothing_and_an_answer_does_until_its_period_ends(
    over_all: dict[str, Any],
) -> None:
    """For the survey's own period, and for the one over all surveys."""
    sender = Sender(over_all, a={} if over_all else {"once_per": "30d", "counts": "answers"})
    terms = {} if over_all else {"once_per": 30 * 86400.0}
    sender.settle(sender.invite(**terms))
    assert sender.verdict(sender.invite(**terms), NOW + DAY) == Go()
    answer = Feedback(id="f", account="main", received_at=NOW, body={"email": "ada@example.com"})
    sender.protection.people.answered(answer.model_dump_json().encode())
    assert reason(sender.verdict(sender.invite(**terms), NOW + 30 * DAY - DAY / 24)) is Reason.ANSWERED_BEFORE
    assert sender.verdict(sender.invite(**terms), NOW + 30 * DAY) == Go()


def test_whom_another_account_claims_is_left_alone_once_that_claim_stands() -> None:
    surveys = {"a": survey(), "free": survey(except_from_any=True), "b": survey(account="other")}
    guard = ContactProtection(surveys, ProtectAll.model_validate({"once_per_any": "30d"}))
    known, one = guard.known("main"), invitation(1, survey="a")
    for person in known.memory.persons(one):
        claim = Claim(person=person, account="other", invitation="2", at=NOW)
        guard.topics()[CLAIMS](claim_key(person, "other"), claim.model_dump_json().encode(), 0)

    def verdict(after: timedelta, of: Invitation = one) -> Verdict:
        return guard.policy.verdict(of, known, NOW + after)

    stands = timedelta(seconds=60)
    assert verdict(stands / 2) == Wait(NOW + stands, Reason.IN_DOUBT)
    assert reason(verdict(stands)) is reason(verdict(30 * DAY - DAY / 24)) is Reason.INVITED_BY_ANOTHER
    assert verdict(30 * DAY) == verdict(stands, invitation(1, survey="free")) == Go()


@pytest.mark.parametrize("written", ["+90 533 000 00 01", "905330000001", "0533 000 00 01", "00905330000001"])
def test_who_answered_is_known_by_the_phone_number_however_it_is_written(written: str) -> None:
    surveys = {"a": survey(once_per="30d", counts="answers")}
    guard = ContactProtection(surveys, ProtectAll(), {"main": Phones(region="TR")})
    answer = Feedback(id="f", account="main", received_at=NOW, body={"phone_number": written})
    guard.people.answered(answer.model_dump_json().encode())
    one = invitation(1, survey="a", email=None, phone="+905330000001", protection=Protection(once_per=30 * 86400.0))
    assert reason(guard.policy.verdict(one, guard.known("main"), NOW)) is Reason.ANSWERED_BEFORE


def test_an_entry_that_ends_after_the_last_date_has_no_end() -> None:
    sender = Sender(a={})
    value = (
        b'{"email": "ada@example.com", "by": "me", "at": "2026-01-01T00:00:00Z", "until": "9999-12-31T23:59:59-05:00"}'
    )
    sender.protection.people.listed(b"email/ada@example.com", value)
    assert reason(sender.verdict(sender.invite())) is Reason.ON_SUPPRESSION_LIST
