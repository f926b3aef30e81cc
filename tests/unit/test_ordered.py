"""OrderedAcks: the commit position never passes a record that is not done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.kafka.ordered import OrderedAcks


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
