"""trigger in simulated time: no change event is lost for any survey, and no survey costs another anything."""

from helpers.simulated_cells import Scenario
from helpers.simulated_play import play
from helpers.simulated_trigger import TriggerWorld
from helpers.simulated_workers import run
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cells_simulated import check, scenarios


@settings(max_examples=80, deadline=None)
@given(scenarios(st.just(False), st.just(0.0)))
def test_no_invitation_is_lost_whatever_befalls_surveys_and_workers(scenario: Scenario) -> None:
    play(TriggerWorld(scenario), run, check_without_letters)


def check_without_letters(world: TriggerWorld) -> None:
    check(world)
    assert not any(world.letters.values())
