"""OrderedAcks: the commit position never passes a record that is not done."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.kafka.ordered import OrderedAcks, Read


@given(st.data(), st.lists(st.integers(1, 4), min_size=1, max_size=40))
def test_position_is_behind_the_longest_finished_head_whatever_the_order(data: st.DataObject, steps: list[int]) -> None:
    """The position is exact after each step, with holes in the offsets and any order of finishing."""
    offsets = [sum(steps[: i + 1]) for i in range(len(steps))]
    acks = OrderedAcks()
    for offset in offsets:
        acks.add(offset)
    assert acks.position is None
    done: set[int] = set()
    for offset in data.draw(st.permutations(offsets)):
        acks.done(offset)
        done.add(offset)
        head = [o for i, o in enumerate(offsets) if done.issuperset(offsets[: i + 1])]
        assert acks.position == (head[-1] + 1 if head else None)
        assert acks.in_flight == len(offsets) - len(head)


def test_a_record_delivered_out_of_order_is_refused() -> None:
    acks = OrderedAcks()
    acks.add(5)
    with pytest.raises(ValueError, match="offset 5 was delivered after 5"):
        acks.add(5)
    acks.done(5)
    with pytest.raises(ValueError, match="offset 5"):
        acks.add(5)


class Partition:
    """A partition with records and markers, and one group that reads it: fetched, then delivered, then finished."""

    def __init__(self) -> None:
        self.log: list[bool] = []  # whether there is a record at the offset
        self.finished: set[int] = set()
        self.committed = 0
        self.assign()

    def assign(self) -> None:
        """The partition begins again at what is committed, with nothing fetched."""
        self.acks, self.read = OrderedAcks(), Read(self.committed)
        self.fetched: list[int] = []
        self.delivered: list[int] = []

    def fetch(self, most: int) -> None:
        position, behind = self.read.position, self.read.behind
        for offset in range(position, min(position + most, len(self.log))):
            position = offset + 1
            if self.log[offset]:
                self.fetched.append(offset)
                behind = offset + 1
        first = self.read.first if self.read.first is not None else next(iter(self.fetched), None)
        self.read = Read(position, behind, first)

    def deliver(self) -> None:
        if self.fetched:
            self.delivered.append(self.fetched.pop(0))
            self.acks.add(self.delivered[-1])

    def finish(self, which: int) -> None:
        if self.delivered:
            offset = self.delivered.pop(which % len(self.delivered))
            self.finished.add(offset)
            self.acks.done(offset)

    def commit(self, *, read: bool = True) -> None:
        position = self.acks.committable(self.read if read else None)
        if position is not None:
            assert position >= self.committed
            self.committed = position
        assert not [at for at in range(self.committed) if self.log[at] and at not in self.finished]


STEPS = st.one_of(
    st.tuples(st.just("write"), st.lists(st.booleans(), min_size=1, max_size=4)),
    st.tuples(st.just("fetch"), st.integers(1, 4)),
    st.tuples(st.just("deliver"), st.just(0)),
    st.tuples(st.just("finish"), st.integers(0, 5)),
    st.tuples(st.just("assign"), st.just(0)),
)


@given(st.lists(STEPS, max_size=80))
def test_markers_are_committed_once_all_records_before_them_are_done_and_never_sooner(
    steps: list[tuple[str, Any]],
) -> None:
    """Whatever is fetched and delivered when, in any order of finishing, with rebalances between."""
    partition = Partition()
    for what, how in steps:
        match what:
            case "write":
                partition.log += how
            case "fetch":
                partition.fetch(how)
            case "deliver":
                partition.deliver()
            case "finish":
                partition.finish(how)
            case "assign":
                partition.assign()
        partition.commit()
    partition.fetch(len(partition.log))
    while partition.fetched:
        partition.deliver()
    while partition.delivered:
        partition.finish(0)
    partition.commit()
    assert partition.committed == len(partition.log)


def test_without_the_consumers_position_only_finished_records_are_committed() -> None:
    partition = Partition()
    partition.log = [True, False]
    partition.fetch(2)
    partition.deliver()
    partition.finish(0)
    partition.commit(read=False)
    assert partition.committed == 1


def test_nothing_is_committed_once_a_fetched_record_was_never_delivered() -> None:
    """Faust dropped what it had fetched first. A commit behind the later records would skip it for good."""
    acks = OrderedAcks()
    acks.add(30)
    acks.done(30)
    assert acks.committable(Read(position=31, behind=31, first=0)) is None
    assert acks.committable(None) is None
