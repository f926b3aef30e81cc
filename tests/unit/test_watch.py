"""Whether a consumer really stands still or only seems to, judged from two looks at it."""

import dataclasses

import pytest
from aiokafka import TopicPartition

from connector.kafka.watch import Consumption, Look, why_it_stands_still

PLACE = TopicPartition("in", 0)
OTHER = TopicPartition("in", 1)


def a_look(*, end: int = 10, committed: int = 4, fetched: int = 4, finished: int | None = 4, **own: object) -> Look:
    """A member that has finished all its records and could get six more."""
    consumption = Consumption(
        is_member=True, fetched={PLACE: fetched}, finished={} if finished is None else {PLACE: finished}
    )
    return Look(dataclasses.replace(consumption, **own), {PLACE: end}, {PLACE: committed})  # type: ignore[arg-type]


def test_a_consumer_that_takes_nothing_of_what_is_there_stands_still() -> None:
    assert why_it_stands_still(a_look(), a_look()) == (
        "it takes no record of in/0, where there are some from offset 4 on"
    )


def test_a_consumer_that_does_not_commit_what_is_finished_stands_still() -> None:
    look = a_look(end=10, fetched=10, finished=9)
    assert why_it_stands_still(look, look) == "it does not commit offset 9 of in/0"


def test_a_consumer_that_drops_what_it_has_fetched_stands_still() -> None:
    look = a_look(fetched=10, finished=None, got={PLACE: 9}, handed_out={PLACE: 7})
    assert why_it_stands_still(look, look) == (
        "it has fetched in/0 up to offset 8 and does not take these records into work"
    )
    assert why_it_stands_still(look, a_look(fetched=10, finished=None, got={PLACE: 9}, handed_out={PLACE: 8})) is None


def test_a_consumer_outside_its_group_stands_still() -> None:
    lost = Look(Consumption(is_member=False), {PLACE: 10}, {})
    assert why_it_stands_still(lost, lost) == "it is no member of its group, or does not answer"


@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param(a_look(end=4), a_look(end=4), id="nothing to do"),
        pytest.param(a_look(end=4), a_look(end=10), id="records that have only just come"),
        pytest.param(a_look(), a_look(fetched=5), id="a step"),
        pytest.param(a_look(), a_look(handed_out={PLACE: 3}), id="a step within what was fetched before"),
        pytest.param(a_look(held_back=True), a_look(held_back=True), id="held back on purpose"),
        pytest.param(a_look(held_back=True), a_look(), id="held back until now"),
        pytest.param(a_look(fetched=10, finished=None), a_look(fetched=10, finished=None), id="work in flight"),
        pytest.param(
            a_look(fetched=10, finished=9), a_look(fetched=10, finished=10, committed=9), id="commits that follow"
        ),
        pytest.param(a_look(), Look(Consumption(is_member=False), {OTHER: 3}, {}), id="a rebalance that begins"),
        pytest.param(Look(Consumption(is_member=False), {OTHER: 3}, {}), a_look(), id="a rebalance that ends"),
        pytest.param(
            a_look(),
            Look(Consumption(is_member=True, fetched={OTHER: 0}), {OTHER: 3}, {OTHER: 0}),
            id="other partitions than before",
        ),
    ],
)
def test_whoever_takes_a_step_or_has_none_to_take_is_well(before: Look, now: Look) -> None:
    assert why_it_stands_still(before, now) is None


def test_the_lag_counts_from_what_is_committed_while_records_are_in_flight() -> None:
    """With no record in flight, it counts from the fetched position: nothing is left after a transaction's marker."""
    assert a_look(end=10, committed=4, fetched=9, in_flight=5).lag == 6
    assert a_look(end=10, committed=9, fetched=10).lag == 0


def test_the_first_unfinished_record_of_each_partition_is_known_where_there_is_one() -> None:
    """Its age is the lag in seconds."""
    assert a_look(end=10, committed=4, fetched=9, in_flight=5).unfinished == {PLACE: 4}
    assert a_look(end=10, committed=9, fetched=9).unfinished == {PLACE: 9}
    assert a_look(end=10, committed=9, fetched=10).unfinished == {}


def test_what_was_finished_between_two_looks_counts_the_partitions_that_are_in_both() -> None:
    before, now = a_look(committed=4), a_look(committed=9)
    assert now.since(before) == 5
    assert before.since(now) == 0  # somebody set the offset back
    other = Look(Consumption(is_member=True, fetched={OTHER: 3}), {OTHER: 3}, {OTHER: 3})
    assert other.since(before) == 0
