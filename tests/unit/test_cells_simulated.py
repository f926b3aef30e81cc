"""A stage with cells in simulated time: nothing is lost, and no cell costs another anything.

Cells meet outages, faults that a person must mend, and records at fault; workers are killed, frozen, stopped and lose
their partition. The stage worker, the parking and the cells are the real ones.
"""

from collections import Counter

from helpers.simulated_cells import CELLS, HEALTHY, LONGEST, PROMPT, Happening, Scenario, What, World, run
from hypothesis import given, settings
from hypothesis import strategies as st


def happenings(*what: What) -> st.SearchStrategy[list[Happening]]:
    one = st.builds(
        Happening,
        after=st.floats(0, 40) | st.floats(0, 1),
        what=st.sampled_from(what),
        whom=st.integers(0, 2),
        seconds=st.floats(1, LONGEST),
    )
    return st.lists(one, max_size=12)


CALM: tuple[What, ...] = ("records", "records", "fatal", "outage", "mend")
SCENARIOS = st.builds(
    Scenario,
    seed=st.integers(0, 2**32),
    keeps_order=st.booleans(),
    in_flight=st.sampled_from([2, 5, 100]),
    bad=st.sampled_from([0.0, 0.0, 0.2]),
    happenings=happenings(*CALM) | happenings(*CALM, "start", "stop", "rebalance", "kill", "freeze"),
)


@settings(max_examples=120, deadline=None)
@given(SCENARIOS)
def test_no_record_is_lost_and_the_healthy_cell_is_never_late_or_doubled(scenario: Scenario) -> None:
    world = World(scenario)
    try:
        run(world)
        check(world)
    except BaseException as error:
        error.add_note("\n".join(world.history))
        raise


def check(world: World) -> None:
    """All is done, each cell's in order where that is to be kept, and the healthy cell's at once and once."""
    everything = range(len(world.written_at))
    for cell in CELLS:
        assert {*world.done[cell], *world.letters[cell]} >= {*everything}
    if world.scenario.is_calm():
        assert Counter(world.done[HEALTHY]) == Counter(everything)
        assert world.late[HEALTHY] <= PROMPT
        for cell in CELLS if world.scenario.keeps_order and world.scenario.in_flight == 2 else ():
            assert len(set(world.done[cell])) == len(world.done[cell])
