"""trigger in simulated time: no change event is lost for any survey, and no survey costs another anything."""

from helpers.simulated_cells import Scenario, run
from helpers.simulated_trigger import TriggerWorld
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cells_simulated import CALM, check, happenings

SCENARIOS = st.builds(
    Scenario,
    seed=st.integers(0, 2**32),
    keeps_order=st.just(False),
    in_flight=st.sampled_from([2, 5, 100]),
    bad=st.just(0.0),
    happenings=happenings(*CALM) | happenings(*CALM, "start", "stop", "rebalance", "kill", "freeze"),
)


@settings(max_examples=80, deadline=None)
@given(SCENARIOS)
def test_no_invitation_is_lost_whatever_befalls_surveys_and_workers(scenario: Scenario) -> None:
    world = TriggerWorld(scenario)
    try:
        run(world)
        check(world)
        assert not any(world.letters.values())
    except BaseException as error:
        error.add_note("\n".join(world.history))
        raise
