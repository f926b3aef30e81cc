"""When waiting invitations are due."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from connector.kafka.agenda import Agenda

START = datetime(2026, 1, 1, tzinfo=UTC)
WAITS = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.none() | st.integers(0, 50)), max_size=60)


@given(WAITS, st.sets(st.integers(0, 59)))
def test_what_is_dropped_is_not_taken(waits: list[tuple[str, int | None]], dropped: set[int]) -> None:
    agenda = Agenda()
    for offset, (survey, minutes) in enumerate(waits):
        agenda.put(survey, None if minutes is None else START + timedelta(minutes=minutes), offset)
    agenda.drop(dropped)
    taken: list[int] = []
    for survey in ("a", "b"):
        agenda.release(survey)
        taken += agenda.take(survey, START + timedelta(days=1), len(waits) + 1)
    assert sorted(taken) == [offset for offset in range(len(waits)) if offset not in dropped]


@given(WAITS, st.lists(st.integers(0, 60), max_size=8).map(sorted), st.integers(1, 10))
def test_each_is_taken_once_in_the_order_of_its_time_and_never_early(
    waits: list[tuple[str, int | None]], looks: list[int], at_most: int
) -> None:
    agenda = Agenda()
    for offset, (survey, minutes) in enumerate(waits):
        agenda.put(survey, None if minutes is None else START + timedelta(minutes=minutes), offset)
    taken: dict[str, list[int]] = {"a": [], "b": []}
    for look in looks:
        now = START + timedelta(minutes=look)
        for survey, so_far in taken.items():
            new = agenda.take(survey, now, at_most)
            assert len(new) <= at_most
            assert all(minutes is not None and minutes <= look for _, minutes in (waits[offset] for offset in new))
            so_far.extend(new)
            at = agenda.next_at(survey)
            assert len(new) == at_most or at is None or at > now.timestamp()
    end = START + timedelta(days=1)
    for survey, so_far in taken.items():
        so_far.extend(agenda.take(survey, end, len(waits)))
        times = [waits[offset][1] for offset in so_far]
        assert times == sorted(times, key=lambda minutes: minutes or 0)
        assert agenda.count(survey) == sum(each == (survey, None) for each in waits)
        agenda.release(survey)
        so_far.extend(agenda.take(survey, end, len(waits)))
        assert sorted(so_far) == [offset for offset, (whose, _) in enumerate(waits) if whose == survey]
        assert agenda.count(survey) == 0
