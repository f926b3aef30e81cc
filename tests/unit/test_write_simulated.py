"""write in simulated time: no answer is lost, each record keeps the newest, and no rule costs another anything."""

from collections import Counter

from helpers.simulated_cells import CELLS, HEALTHY, PROMPT, Scenario
from helpers.simulated_play import play
from helpers.simulated_workers import run
from helpers.simulated_write import WriteWorld
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cells_simulated import BAD, scenarios


@settings(max_examples=100, deadline=None)
@given(scenarios(st.just(True), BAD))
def test_no_answer_is_lost_and_none_overwrites_a_newer_one_whatever_befalls_rules_and_workers(
    scenario: Scenario,
) -> None:
    play(WriteWorld(scenario), run, check)


def check(world: WriteWorld) -> None:
    everything = {*range(len(world.written_at))}
    for cell in CELLS:
        done, superseded = {*world.done[cell]}, world.superseded[cell]
        bad = {n for n in everything if world.kind(cell, n) in {"refused", "always a 500"}}
        unfit = {n for n in everything if world.kind(cell, n) == "does not fit"}
        assert done | world.letters[cell] | superseded == everything
        assert bad - superseded <= world.letters[cell] <= bad
        assert unfit - superseded <= world.aside[cell] <= unfit
        for record, number in world.stored[cell].items():
            assert number == max((n for n in done if f"record-{n % 3}" == record), key=world.rank)
    assert f"stage/{HEALTHY}" not in world.ever_held
    if world.scenario.is_calm():
        assert world.late[HEALTHY] <= PROMPT
        for cell in CELLS:
            assert Counter(world.done[cell]) == Counter({*world.done[cell]} - world.superseded[cell])
