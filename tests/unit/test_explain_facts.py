"""A record becomes a fact: what it says and which ids it has, without personal data."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from faust.types import TP
from helpers.config_files import MINIMAL, read
from helpers.made_up_topics import COMMENT, START, MadeUpTopics, case_id

from connector.config import Config, catalogue
from connector.decisions import Action, Suppression
from connector.explain import Facts, Kind
from connector.explain.words import words
from connector.kafka.cloud_events import OutRecord
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.inbound import InRecord
from connector.kafka.parking import Parking
from connector.masking import mask_emails
from connector.protection import Hashes
from connector.records import Feedback

ADA = "Ada.Byron@acme.com"
CASE = case_id(1)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return read(tmp_path, MINIMAL)


@pytest.fixture
def topics(config: Config) -> MadeUpTopics:
    return MadeUpTopics(config)


@pytest.fixture
def facts(config: Config) -> Facts:
    return Facts(config, Hashes("key"))


def dead_letter(config: Config, topics: MadeUpTopics, record: InRecord) -> InRecord:
    letters = DeadLetters(config.kafka, "write", lambda *_: None)
    made = letters.of_record(record, "write_rejected", ValueError(f"no place for {ADA}"), "write/response")
    return topics.place("connector.deadletters", made.key, made.value, made.headers, START)


async def parked(config: Config, topics: MadeUpTopics, record: InRecord) -> InRecord:
    written: list[OutRecord] = []

    async def publish(records: Sequence[OutRecord]) -> list[int]:
        written.extend(records)
        return [0]

    lot = Parking(config.kafka, "send", publish).lot(TP(record.topic, record.partition), "main/closed-case")
    lot.announce()
    await lot.put(record)
    [made] = written
    return topics.place("connector.parked", made.key, made.value, made.headers, START)


def test_every_topic_is_told_that_says_more_of_a_customer_than_the_others(config: Config, facts: Facts) -> None:
    """A new topic needs a reader, or a place here. What a claim decided, the outcome says."""
    untold = {topic.name for topic in catalogue.topics_for(config)} - {*facts.topics}
    assert untold <= {"salesforce.positions", "pisano.claims"}


def test_a_round_trip_has_the_ids_that_lead_from_one_record_to_the_next(topics: MadeUpTopics, facts: Facts) -> None:
    change = topics.change(CASE, START)
    invitation, record = topics.invitation(change, CASE, ADA, START, contact="003000000000001AAA")
    found = [facts.of(each) for each in (change, record, *topics.call("a" * 32, {invitation: CASE}, START))]
    found += [facts.of(each) for each in topics.answer(CASE, ADA, START, again=1)]
    told = [fact for fact in found if fact]
    assert [fact.kind for fact in told] == [
        Kind.CHANGE,
        Kind.INVITATION,
        Kind.ATTEMPT,
        Kind.ATTEMPT,
        Kind.OUTCOME,
        Kind.FEEDBACK,
        Kind.FEEDBACK,
        Kind.WRITE,
        Kind.WRITE,
        Kind.CHANGE,
    ]
    change_, invited, begun, _, outcome, answered, _, response, detractor, own = told
    assert change_.ids["event"] == invited.ids["event"]
    assert change_.ids["trace"] == invited.ids["trace"]
    assert begun.ids["invitation"] == outcome.ids["invitation"] == invited.ids["invitation"]
    assert begun.ids["attempt"] == outcome.ids["attempt"]
    assert answered.ids["feedback"] == response.ids["feedback"] == detractor.ids["feedback"]
    assert answered.ids["trace"] == response.ids["trace"]
    assert [fact.id("record") for fact in (change_, invited, outcome, answered, detractor, own)] == [CASE[:15]] * 6
    assert {*answered.ids["person"]} < {*invited.ids["person"]}  # an address, and an address and a contact
    assert (change_.details.get("ours"), own.details.get("ours")) == (None, True)


async def test_no_fact_holds_personal_data(config: Config, topics: MadeUpTopics, facts: Facts) -> None:
    change = topics.change(CASE, START)
    _, record = topics.invitation(change, CASE, ADA, START, detail=f"{mask_emails(ADA)} left out")
    listed = Suppression(email=ADA, by="the shop", why=COMMENT, at=START)
    suppressed = topics.put("pisano.suppressions", f"email/{ADA}", listed, START)
    answers = [*topics.answer(CASE, ADA, START)]
    correlated = topics.put("pisano.feedback", ADA, Feedback.model_validate_json(answers[0].value or b""), START)
    answers.append(correlated)  # a configuration may take the address as the correlation key
    held = [dead_letter(config, topics, answers[0]), await parked(config, topics, record)]
    unreadable = topics.place("pisano.feedback", b"x", f'{{"email": "{ADA}"}}'.encode(), (), START)
    for each in (change, record, suppressed, *answers, *held, unreadable):
        fact = facts.of(each)
        assert fact
        said = (repr(fact) + words(fact)).lower()
        for personal in (ADA, "ada.byron", COMMENT):
            assert personal.lower() not in said


def test_a_retry_names_its_dead_letter(topics: MadeUpTopics, facts: Facts) -> None:
    change = topics.change(CASE, START)
    _, record = topics.invitation(change, CASE, ADA, START)
    retry = replace(record, headers=(*record.headers, ("dl_retry", b"0/1234")))
    fact = facts.of(retry)
    assert fact is not None
    assert words(fact).endswith(" (retry of the dead letter 0/1234)")
    assert fact.ids == getattr(facts.of(record), "ids", None)


async def test_a_record_that_lies_in_another_gives_it_its_ids(
    config: Config, topics: MadeUpTopics, facts: Facts
) -> None:
    invitation, record = topics.invitation(topics.change(CASE, START), CASE, ADA, START)
    [feedback, *_] = topics.answer(CASE, ADA, START)
    letter, lot = facts.of(dead_letter(config, topics, feedback)), facts.of(await parked(config, topics, record))
    known = facts.of(feedback)
    assert letter
    assert lot
    assert known
    assert (letter.kind, letter.code, letter.ids) == (Kind.DEAD_LETTER, "write_rejected", known.ids)
    assert (
        words(letter) == "write gave up on pisano.feedback/0/0: write_rejected: ValueError: no place for A***@acme.com"
    )
    assert (lot.kind, lot.ids["invitation"]) == (Kind.PARKED, (invitation,))
    assert words(lot) == "send parked pisano.invitations/0/0 for the held cell main/closed-case"


def test_an_invitation_waits_until_a_time_or_for_a_person(topics: MadeUpTopics, facts: Facts) -> None:
    id_, record = topics.invitation(topics.change(CASE, START), CASE, ADA, START)
    found = []
    for until in ("2026-01-02T09:00:00+00:00", ""):
        ours = {"pk_topic": record.topic, "pk_partition": "0", "pk_offset": "0", "wt_until": until}
        headers = [*record.headers, *((name, text.encode()) for name, text in ours.items())]
        found.append(facts.of(topics.place("pisano.waiting", b"main/x", record.value, headers, START)))
    assert [fact and fact.id("invitation") for fact in found] == [id_, id_]
    said = [words(fact) for fact in found if fact]
    assert said == ["waits until 2026-01-02 09:00:00 UTC", "waits for a person to decide"]
    assert facts.of(topics.place("pisano.waiting", b"main/x", None, (), START)) is None


def test_an_address_is_the_same_person_whatever_its_capitals(topics: MadeUpTopics, facts: Facts) -> None:
    change = topics.change(CASE, START)
    _, record = topics.invitation(change, CASE, ADA.upper(), START)
    [feedback, *_] = topics.answer(CASE, f" {ADA.lower()} ", START)
    removed = topics.place("pisano.suppressions", f"email/{ADA}/closed-case".encode(), None, (), START)
    found = [facts.of(each) for each in (record, feedback, removed)]
    assert [fact and fact.ids["person"] for fact in found] == [facts.persons(None, ADA)] * 3
    assert found[2]
    assert words(found[2]) == "taken from the suppression list, for closed-case"


def test_an_end_says_nothing_and_what_cannot_be_read_says_so(topics: MadeUpTopics, facts: Facts) -> None:
    for topic in ("pisano.attempts", "salesforce.writes", "connector.actions"):
        assert facts.of(topics.place(topic, b"key", None, (), START)) is None
    assert facts.of(topics.place("connector.parked", b"lot", None, [("pk_done", b"3")], START)) is None
    year_0 = Suppression(email=ADA, by="the shop", at=datetime.fromisoformat("0001-01-01T00:00+05:00"))
    fact = facts.of(topics.put("pisano.suppressions", f"email/{ADA}", year_0, START))
    assert fact
    assert (fact.kind, fact.at) == (Kind.UNREADABLE, START)
    for topic in ("salesforce.cdc.Case", "pisano.attempts", "connector.deadletters", "pisano.suppressions"):
        fact = facts.of(topics.place(topic, b"key", b"no JSON", (), START))
        assert fact
        assert (fact.kind, fact.at) == (Kind.UNREADABLE, START)
        assert words(fact).startswith("cannot be read: ")


@pytest.mark.parametrize("email", [["a@acme.com"], {"x": 1}, 7, None, ""])
def test_a_body_may_hold_anything_where_the_address_should_be(
    email: object, topics: MadeUpTopics, facts: Facts
) -> None:
    fact = facts.of(next(topics.answer(CASE, email, START)))
    assert fact
    assert fact.kind is Kind.FEEDBACK


def test_a_decision_leads_to_its_invitation(topics: MadeUpTopics, facts: Facts) -> None:
    at = START + timedelta(hours=1)
    given = {"by": "eve", "reason": f"{ADA} called", "at": at, "id": "1" * 32}
    settle = Action(kind="settle", target=f"main/{'2' * 32}", decision="sent", **given)
    brake = Action(kind="brake", target="main/closed-case", decision="release", **given)
    found = [facts.of(topics.put("connector.actions", each.target, each, at)) for each in (settle, brake)]
    assert [fact and (fact.at, fact.id("invitation")) for fact in found] == [(at, "2" * 32), (at, None)]
    assert [fact and words(fact) for fact in found] == [
        f"eve decided sent about the invitation {'2' * 32}: A***@acme.com called",
        "eve decided release about the survey closed-case: A***@acme.com called",
    ]
