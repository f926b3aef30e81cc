"""What write remembers of a partition: which bodies are the same answer, and which writes are done."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.records import Feedback, Write
from connector.salesforce import RecordWrite
from connector.stages._done import Done

BEGIN = datetime.now(UTC) - timedelta(days=10)
KEPT = timedelta(days=60)


def feedback(minute: int, span: int | None = 100, id_: str = "ab" * 16) -> Feedback:
    at = BEGIN + timedelta(minutes=minute)
    until = None if span is None else at + timedelta(minutes=span)
    return Feedback(id=id_, account="main", received_at=at, repeats_until=until, body={})


def write(answer: str, made_of: Feedback) -> Write:
    return Write(
        id=answer,
        feedback=made_of.id,
        rule="rule",
        operation="update",
        object="Case",
        key_field="Id",
        key="5001",
        fields={},
        received_at=made_of.received_at,
        success=True,
        at=BEGIN,
    )


@given(st.lists(st.integers(0, 1000), min_size=1).map(sorted))
def test_an_answer_begins_with_the_first_equal_body_after_the_last_answer_cannot_be_repeated(
    minutes: list[int],
) -> None:
    done, first = Done(KEPT), minutes[0]
    answers = {}
    for minute in minutes:
        if minute > first + 100:
            first = minute
        answers.setdefault(first, set()).add(done.answer(feedback(minute))[0])
        assert done.answer(feedback(minute))[1].received_at == BEGIN + timedelta(minutes=first)
    assert all(len(ids) == 1 for ids in answers.values())
    assert len(set().union(*answers.values())) == len(answers)


@given(st.lists(st.integers(0, 1000), min_size=1).map(sorted), st.data())
def test_what_is_replayed_or_read_back_is_the_same_answer_again(minutes: list[int], data: st.DataObject) -> None:
    done, again = Done(KEPT), Done(KEPT)
    told = {minute: done.answer(feedback(minute)) for minute in minutes}
    for answer, made_of in told.values():
        again.read(write(answer, made_of))
    for minute in data.draw(st.permutations(minutes)):
        assert done.answer(feedback(minute)) == again.answer(feedback(minute)) == told[minute]


def test_what_its_body_names_is_the_same_answer_for_ever() -> None:
    done = Done(KEPT)
    assert {done.answer(feedback(minute, span=None))[0] for minute in (0, 1, 100_000)} == {"ab" * 16}


@pytest.mark.parametrize(("days", "remembers"), [(59, True), (62, False)])
def test_it_forgets_what_is_older_than_no_feedback_that_comes_again(days: int, remembers: bool) -> None:
    done, now = Done(KEPT), datetime.now(UTC)
    old, until = now - timedelta(days=days), now + timedelta(days=days)
    first = feedback(0).model_copy(update={"received_at": old, "repeats_until": now + timedelta(minutes=1)})
    done.read(write("ab" * 16, first).model_copy(update={"at": old, "answered_at": old}))
    done.read(write("cd" * 16, feedback(0, id_="ef" * 16)))  # the first of its day: now it looks for what is old
    assert "cd" * 16 in done
    assert ("ab" * 16 in done) is remembers
    planned = RecordWrite("update", "Case", "Id", "5001", {})
    assert done.newer("rule", planned, old - timedelta(days=1)) == (old if remembers else None)
    repeat = first.model_copy(update={"received_at": now, "repeats_until": until})
    assert done.answer(repeat)[1].received_at == (old if remembers else now)


def test_an_answer_without_a_time_is_never_an_older_one() -> None:
    done, now = Done(KEPT), datetime.now(UTC)
    planned = RecordWrite("update", "Case", "Id", "5001", {})
    done.remember("rule", planned, now)
    assert done.newer("rule", planned, now - timedelta(seconds=1)) == now
    assert done.newer("rule", planned, None) is None
    assert done.newer("rule", planned, now) is None


def test_a_time_far_ahead_that_an_earlier_version_has_written_supersedes_nothing() -> None:
    """After the upgrade it went on to supersede all answers to its record, until Kafka deletes that write."""
    done, now = Done(KEPT), datetime.now(UTC)
    planned = RecordWrite("update", "Case", "Id", "5001", {})
    done.read(write("ab" * 16, feedback(0)).model_copy(update={"answered_at": now + timedelta(days=300)}))
    assert done.newer("rule", planned, now) is None
    done.read(write("cd" * 16, feedback(0)).model_copy(update={"answered_at": now + timedelta(hours=1)}))
    assert done.newer("rule", planned, now) == now + timedelta(hours=1)
