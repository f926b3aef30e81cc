"""What counts as missing when the topics are compared: outcomes, waits, dead letters and parked records."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.config_files import MINIMAL, read
from helpers.made_up_topics import START, MadeUpTopics, case_id

from connector.config import Kafka
from connector.errors import Rejected
from connector.kafka.carried import carried
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.inbound import InRecord
from connector.operate.findings import Findings
from connector.operate.known import Known
from connector.records import ChangeEvent, Feedback, Invitation, Write

CASE = case_id(1)
PARKED = (("pk_stage", b"send"), ("pk_cell", b"main/closed-case"))


@pytest.fixture
def made(tmp_path: Path) -> MadeUpTopics:
    return MadeUpTopics(read(tmp_path, MINIMAL))


def an_invitation(made: MadeUpTopics) -> tuple[Invitation, InRecord]:
    _, record = made.invitation(made.change(CASE, START), CASE, "ada@example.com", START)
    return Invitation.model_validate_json(record.value or b""), record


def test_a_change_counts_only_if_it_is_as_new_as_the_records_last_one(made: MadeUpTopics) -> None:
    known = Known()
    for at in (START + timedelta(hours=1), START):  # in any order: they come from several partitions
        known.take_change(ChangeEvent.model_validate_json(made.change(CASE, at).value or b""))
    assert known.has_change(CASE, START + timedelta(hours=1))
    assert not known.has_change(CASE, START + timedelta(hours=2))
    assert not known.has_change(case_id(2), START)


def test_an_invitation_without_any_sign_has_no_outcome(made: MadeUpTopics) -> None:
    invitation, _ = an_invitation(made)
    known = Known()
    assert not known.is_settled_or_waits(invitation)
    *calls, outcome = made.call("c1", {invitation.id: CASE}, START)
    for record in calls:
        known.take_outcome(record)
    assert not known.is_settled_or_waits(invitation)
    known.take_outcome(outcome)
    assert known.is_settled_or_waits(invitation)


def test_an_invitation_that_waits_is_not_missing_and_one_that_no_longer_waits_is(made: MadeUpTopics) -> None:
    invitation, _ = an_invitation(made)
    known, key = Known(), f"main/{invitation.id}".encode()
    known.take_waiting(made.place("pisano.waiting", key, b"{}", (), START))
    assert known.is_settled_or_waits(invitation)
    known.take_waiting(made.place("pisano.waiting", key, None, (), START))
    assert not known.is_settled_or_waits(invitation)


def test_a_parked_record_is_not_missing_until_its_lot_is_worked_off(made: MadeUpTopics) -> None:
    invitation, record = an_invitation(made)
    known = Known()
    record = replace(record, headers=[*record.headers, ("ce_id", invitation.id.encode())])  # as trigger writes it
    parked = [*carried(record), *PARKED]
    known.take_parked(made.place("connector.parked", b"lot", record.value, parked, START))
    assert known.is_settled_or_waits(invitation)
    marks = [("pk_stage", b"send"), ("pk_done", b"1")]
    known.take_parked(made.place("connector.parked", b"another lot", None, marks, START))
    assert known.is_settled_or_waits(invitation)
    known.take_parked(made.place("connector.parked", b"lot", None, marks, START))
    assert not known.is_settled_or_waits(invitation)


def test_a_dead_letter_excuses_only_its_own_cell(made: MadeUpTopics) -> None:
    cause = made.change(CASE, START)
    event = ChangeEvent.model_validate_json(cause.value or b"").id
    known = Known()
    cause = replace(cause, headers=[*cause.headers, ("ce_id", event.encode())])  # as capture writes it
    letters = DeadLetters(Kafka(bootstrap_servers="nowhere:1"), "trigger", lambda *_: None)
    letter = letters.of_record(cause, "gap", Rejected("no"), "trigger/closed-case")
    known.take_letter(made.place("connector.deadletters", letter.key, letter.value, letter.headers, START))
    assert known.is_decided(event, "closed-case")
    assert not known.is_decided(event, "escalated-case")


def test_an_invitation_whose_account_is_gone_is_a_dead_letter(made: MadeUpTopics) -> None:
    """send takes its record for one that cannot be read."""
    invitation, record = an_invitation(made)
    known = Known()
    record = replace(record, headers=[*record.headers, ("ce_id", invitation.id.encode())])  # as trigger writes it
    letters = DeadLetters(Kafka(bootstrap_servers="nowhere:1"), "send", lambda *_: None)
    letter = letters.of_record(record, "unknown_account", Rejected("no"), "send/unreadable")
    known.take_letter(made.place("connector.deadletters", letter.key, letter.value, letter.headers, START))
    assert known.is_settled_or_waits(invitation)


def test_a_change_is_decided_by_an_invitation_of_the_same_survey(made: MadeUpTopics) -> None:
    invitation, _ = an_invitation(made)
    known = Known()
    assert not known.is_decided(invitation.cause, "closed-case")
    known.take_invitation(invitation)
    assert known.is_decided(invitation.cause, "closed-case")
    assert not known.is_decided(invitation.cause, "escalated-case")


def test_an_answer_is_written_by_each_rule_of_its_own(made: MadeUpTopics) -> None:
    given, response, _, _ = made.answer(CASE, "ada@example.com", START)
    feedback = Feedback.model_validate_json(given.value or b"").id
    known = Known()
    known.take_write(Write.model_validate_json(response.value or b""))
    assert known.is_written(feedback, "response")
    assert not known.is_written(feedback, "detractor")


def test_a_difference_counts_once_and_only_the_first_thousand_are_named() -> None:
    findings = Findings()
    for number in [*range(1_002), 0, 1_001]:
        findings.add("no_outcome", "closed-case", str(number))
    findings.add("no_outcome", "escalated-case", "0")
    first, second = findings.differences.values()
    assert (first.count, len(first.ids), second.count) == (1_002, 1_000, 1)
