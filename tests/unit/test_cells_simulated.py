"""A stage with cells in simulated time: no record is lost, and no cell delays another.

Cells meet outages, faults that a person must fix, and bad records. Workers are killed, frozen and stopped, and lose
their partition. The stage worker, the parking and the cells are the real ones.
"""

from collections import Counter
from functools import partial

from helpers import simulated_play
from helpers.simulated_cells import CELLS, HEALTHY, PROMPT, Scenario, World
from helpers.simulated_play import Happening, play
from helpers.simulated_workers import LONGEST, run
from hypothesis import given, settings
from hypothesis import strategies as st

happenings = partial(simulated_play.happenings, gap=40, longest=LONGEST)


CALM = ("records", "records", "fatal", "outage", "mend")
ANYTHING = happenings(*CALM) | happenings(*CALM, "start", "stop", "rebalance", "kill", "freeze")


def scenarios(
    keeps_order: st.SearchStrategy[bool],
    bad: st.SearchStrategy[float],
    what: st.SearchStrategy[list[Happening]] = ANYTHING,
) -> st.SearchStrategy[Scenario]:
    return st.builds(
        Scenario,
        seed=st.integers(0, 2**32),
        keeps_order=keeps_order,
        in_flight=st.sampled_from([2, 5, 100]),
        bad=bad,
        happenings=what,
    )


BAD = st.sampled_from([0.0, 0.0, 0.2])  # share of bad records


def lost_while_parking() -> st.SearchStrategy[list[Happening]]:
    """A cell is held, and workers are lost soon after records arrive."""
    held = st.just([Happening(0.5, "fatal", 0, 1.0)])
    come = st.builds(Happening, after=st.floats(0, 3), what=st.just("records"), whom=st.just(0), seconds=st.just(1.0))
    lose = st.builds(
        Happening,
        after=st.floats(0, 8),
        what=st.sampled_from(["kill", "kill", "stop", "freeze"]),
        whom=st.just(0),
        seconds=st.just(30.0),
    )
    again = st.builds(Happening, after=st.floats(0, 3), what=st.just("start"), whom=st.just(0), seconds=st.just(1.0))
    round_ = st.tuples(st.lists(come, min_size=1, max_size=2), lose, again).map(lambda r: [*r[0], r[1], r[2]])
    rounds = st.lists(round_, min_size=1, max_size=3).map(lambda each: [one for part in each for one in part])
    return st.tuples(held, rounds).map(lambda parts: parts[0] + parts[1])


@settings(max_examples=60, deadline=None)
@given(scenarios(st.booleans(), st.just(0.0), lost_while_parking()))
def test_no_record_is_lost_when_its_worker_is_lost_while_it_is_parked(scenario: Scenario) -> None:
    play(World(scenario), run, check)


@settings(max_examples=120, deadline=None)
@given(scenarios(st.booleans(), BAD))
def test_no_record_is_lost_and_the_healthy_cell_is_never_late_or_doubled(scenario: Scenario) -> None:
    play(World(scenario), run, check)


def check(world: World) -> None:
    """All work is done, in order if the stage keeps order; the healthy cell's work is done at once and only once."""
    everything = range(len(world.written_at))
    for cell in CELLS:
        assert {*world.done[cell], *world.letters[cell]} >= {*everything}
    assert f"stage/{HEALTHY}" not in world.ever_held
    if world.scenario.is_calm():
        assert Counter(world.done[HEALTHY]) == Counter(everything)
        assert world.late[HEALTHY] <= PROMPT
        for cell in CELLS if world.scenario.keeps_order and world.scenario.in_flight == 2 else ():
            assert len(set(world.done[cell])) == len(world.done[cell])
