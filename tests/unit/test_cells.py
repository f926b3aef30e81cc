"""Cells: a failure holds one cell. The worker probes it at growing intervals, and it goes on by itself."""

import asyncio
from contextlib import nullcontext
from functools import partial
from itertools import pairwise

import pytest
from helpers.simulated_loop import simulate

from connector.cells import FIRST_PROBE, LONGEST_PROBE, Breaker, Cells
from connector.errors import ConnectorError, Fatal, Rejected, Retryable
from connector.kafka.cell_work import UNREADABLE, CellWork
from connector.kafka.inbound import InRecord


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_held_cell_is_probed_at_growing_intervals_and_released_by_what_works() -> None:
    """One probe at a time, in the order of the waiting work; the rest goes on at once when a probe works."""

    async def play() -> tuple[list[tuple[int, float]], float]:
        cell = Cells().at("write/detractor")
        cell.hold(Fatal("no such field"), "configuration")
        tries: list[tuple[int, float]] = []

        async def work(number: int) -> None:
            while True:
                async with cell.turn():
                    tries.append((number, now()))
                    if now() > 100:
                        cell.works()
                        return
                    cell.hold(Fatal("no such field"), "configuration")

        await asyncio.gather(*(work(number) for number in range(3)))
        return tries, now()

    tries, ended = simulate(play())
    assert [at for _, at in tries][:5] == [5, 15, 35, 75, 155]
    assert ended == 155, "waiting work goes on as soon as a probe works"
    assert len(tries) == 7


def test_probes_come_every_five_minutes_in_the_long_run() -> None:
    async def play() -> list[float]:
        cell, tries = Cells().at("send/main"), []
        cell.hold(Fatal("the token is refused"), "configuration")
        while len(tries) < 20:
            async with cell.turn():
                tries.append(now())
        return tries

    tries = simulate(play())
    assert tries[0] == FIRST_PROBE
    assert {later - earlier for earlier, later in pairwise(tries[10:])} == {LONGEST_PROBE}


def test_a_held_parent_holds_its_children_and_no_other_cell() -> None:
    """One probe serves all children; if it works for one child, the parent is released."""

    async def play() -> tuple[list[str], dict[str, str]]:
        cells, done = Cells(), []
        cells.at("send/main").hold(Fatal("refused", whole=True), "configuration")

        async def work(name: str) -> None:
            async with cells.at(name).turn():
                done.append(f"{name} at {now():g}")
                await asyncio.sleep(1)
                cells.at(name).works()

        await asyncio.gather(*map(work, ("send/main/a", "send/main/b", "send/other/a")))
        return done, cells.held()

    assert simulate(play()) == (["send/other/a at 0", "send/main/a at 5", "send/main/b at 6"], {})


def test_a_child_that_stays_at_fault_does_not_spin_when_its_parent_is_probed_by_it() -> None:
    async def play() -> int:
        cells, tries = Cells(), 0
        parent, child = cells.at("send/main"), cells.at("send/main/a")
        parent.hold(Fatal("refused", whole=True), "configuration")
        while now() < 3600:
            async with child.turn():
                tries += 1
                child.hold(Fatal("no such campaign"), "configuration")
        return tries

    assert simulate(play()) < 25


def test_a_waiter_that_is_cancelled_leaves_its_turn_to_the_next() -> None:
    async def play() -> float:
        cell = Cells().at("trigger/a")
        cell.hold(Fatal("no"), "configuration")

        async def work() -> float:
            async with cell.turn():
                return now()

        first, second = asyncio.create_task(work()), asyncio.create_task(work())
        await asyncio.sleep(1)
        first.cancel()
        return await second

    assert simulate(play()) == FIRST_PROBE


def test_the_breaker_tells_a_flood_from_single_refusals() -> None:
    breaker = Breaker(run=3, share=0.5, of=10)
    assert [breaker.refused() for _ in range(4)] == [False, False, False, True]
    breaker.reset()
    told = []
    for _ in range(6):  # two of three fail, but never more than two in a row
        told += [breaker.refused(), breaker.refused()]
        breaker.passed()
    assert any(told)
    assert not any(told[:6])
    quiet = Breaker(run=3, share=0.5, of=10)
    for _ in range(100):
        assert not quiet.refused()
        quiet.passed()
        quiet.passed()


@pytest.mark.parametrize(
    ("errors", "raised"),
    [
        ([Rejected("refused"), None], "refused"),
        ([Rejected("refused"), Retryable("away")], "away"),
        ([Fatal("no field"), Retryable("away")], "no field"),
        ([None, None], None),
    ],
)
def test_a_record_that_can_be_read_again_has_the_work_of_each_cell_whatever_becomes_of_the_others(
    errors: list[Exception | None], raised: str | None
) -> None:
    """A dead letter for one must not cost another its work, so what may work later is raised first."""
    done: list[int] = []

    async def work(number: int, error: Exception | None) -> None:
        done.append(number)
        if error:
            raise error

    async def bury(*_: object) -> None:
        raise AssertionError("nothing is buried here")

    parts = {f"rule-{number}": partial(work, number, error) for number, error in enumerate(errors)}
    again = CellWork("write", lambda _: parts, bury, Cells()).part(InRecord("t", 0, 0, b"", b"", (), 0.0), UNREADABLE)
    with nullcontext() if raised is None else pytest.raises(ConnectorError, match=raised):
        simulate(again())
    assert done == [0, 1]
