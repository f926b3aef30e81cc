"""StackedLimiter: no window of time breaks a limit, calls are served in order, and no call waits longer than needed."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle

import pytest
from aiolimiter import AsyncLimiter
from helpers.simulated_loop import simulate
from hypothesis import given
from hypothesis import strategies as st

from connector.limits import StackedLimiter, Window

Visit = tuple[float, float | None]  # seconds after the previous visit, and until it is cancelled

SECONDS = st.sampled_from([0.7, 1.0, 2.5, 3.3, 5.0]) | st.floats(0.01, 10)
WINDOWS = st.lists(st.builds(Window, st.integers(1, 4), SECONDS), min_size=1, max_size=3)
VISITS = st.lists(
    st.tuples(st.just(0.0) | SECONDS, st.none() | st.none() | st.just(0.0) | SECONDS), min_size=1, max_size=15
)
ORIGIN = st.sampled_from([0.0, 1e5 / 3])  # start of the clock: larger values are rounded more coarsely
SOONER = st.lists(st.floats(0.7, 1.0), min_size=1, max_size=3)
LATER = st.lists(st.floats(0.7, 2.0), min_size=1, max_size=5)


def limiter(windows: Iterable[Window], stretch: Iterable[float] = (1.0,)) -> StackedLimiter:
    """A limiter in the running loop's time. Its sleeps take `stretch` times as long as they should."""
    stretches = cycle(stretch)

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds * next(stretches))

    return StackedLimiter(windows, clock=asyncio.get_running_loop().time, sleep=sleep)


@dataclass
class Caller:
    """When the caller came, whether it got a permit, and when it left the line."""

    came: float
    permitted: bool = False
    left: float = math.nan

    async def call(self, gate: StackedLimiter) -> None:
        await gate.acquire()
        self.permitted = True

    def leave(self, _: object) -> None:
        self.left = asyncio.get_running_loop().time()


async def play(windows: Sequence[Window], visits: Iterable[Visit], stretch: Iterable[float]) -> list[Caller]:
    """Returns what happened to each caller, in the order of arrival."""
    loop, gate = asyncio.get_running_loop(), limiter(windows, stretch)
    callers, tasks = list[Caller](), list[asyncio.Task[None]]()
    for gap, patience in visits:
        await asyncio.sleep(gap)
        caller = Caller(loop.time())
        task = loop.create_task(caller.call(gate))
        task.add_done_callback(caller.leave)
        if patience is not None:
            loop.call_later(patience, task.cancel)
        callers.append(caller)
        tasks.append(task)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [caller.permitted for caller in callers] == [not task.cancelled() for task in tasks]
    return callers


def holds(window: Window, calls: Sequence[float]) -> bool:
    """Whether no half-open span of that length holds too many calls, in exact arithmetic. Testing spans that begin at a
    call is enough.
    """
    pairs = zip(calls, calls[window.limit :], strict=False)
    return all(Fraction(later) - Fraction(first) >= Fraction(window.seconds) for first, later in pairs)


def earliest(calls: Sequence[float], since: float, windows: Iterable[Window]) -> float:
    """The slow but sure way: tries each moment at which a call leaves a window, in exact arithmetic."""
    ends = {Fraction(call) + Fraction(window.seconds) for call in calls for window in windows}
    return next(
        moment
        for moment in sorted({since, *(end for end in map(first_float, ends) if end > since)})
        if all(sum(Fraction(moment) - Fraction(c) < Fraction(w.seconds) for c in calls) < w.limit for w in windows)
    )


def first_float(moment: Fraction) -> float:
    nearest = float(moment)
    return nearest if Fraction(nearest) >= moment else math.nextafter(nearest, math.inf)


@given(WINDOWS, VISITS, SOONER, ORIGIN)
def test_each_is_let_through_in_turn_at_the_earliest_moment_there_is(
    windows: list[Window], visits: list[Visit], sooner: list[float], origin: float
) -> None:
    """Callers come and are cancelled at any time, even when their turn comes; and sleeps may end too soon.

    The expected moments depend only on the permitted calls: a cancelled caller uses no permit and passes none on.
    """
    calls, first_in_line = list[float](), 0.0
    for caller in simulate(play(windows, visits, sooner), origin):
        if caller.permitted:
            assert caller.left == earliest(calls, max(caller.came, first_in_line), windows)
            calls.append(caller.left)
        first_in_line = max(first_in_line, caller.left)
    assert all(holds(window, calls) for window in windows)


@given(WINDOWS, VISITS, LATER, ORIGIN)
def test_no_window_holds_more_than_its_limit_however_late_a_sleep_ends(
    windows: list[Window], visits: list[Visit], later: list[float], origin: float
) -> None:
    calls = [caller.left for caller in simulate(play(windows, visits, later), origin) if caller.permitted]
    assert calls == sorted(calls)
    assert all(holds(window, calls) for window in windows)


def test_a_greedy_caller_gets_all_that_pisano_allows_and_no_call_more() -> None:
    async def greedy() -> Counter[float]:
        gate = limiter([Window(20, 5.0), Window(40, 25.0), Window(80, 125.0), Window(160, 625.0)])
        calls = Counter[float]()
        for _ in range(320):
            await gate.acquire()
            calls[asyncio.get_running_loop().time()] += 1
        return calls

    bursts = [0, 5, 25, 30, 125, 130, 150, 155]
    assert simulate(greedy()) == {start + burst: 20 for start in (0, 625) for burst in bursts}


@given(WINDOWS, st.lists(st.floats(-20, 20), max_size=20), st.integers(1, 12))
async def test_a_clock_that_jumps_breaks_no_window(windows: list[Window], jumps: list[float], count: int) -> None:
    """It jumps forward or back, between two calls or while one sleeps; the windows follow the clock's reading."""
    now, pending = 100.0, iter(jumps)

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds + next(pending, 0.0)

    gate = StackedLimiter(windows, clock=lambda: now, sleep=sleep)
    calls = []
    for _ in range(count):
        await gate.acquire()
        calls.append(now)
        now += next(pending, 0.0)
    assert all(holds(window, sorted(calls)) for window in windows)


@given(WINDOWS, st.lists(st.floats(-30, 30), max_size=12))
async def test_calls_made_before_count_in_whatever_order_they_are_told(
    windows: list[Window], starts: list[float]
) -> None:
    """A call that lies in the future by another worker's clock counts as made now, so it closes the gate no longer."""
    gate = StackedLimiter(windows, clock=lambda: 0.0)
    gate.seed(starts)
    assert gate.wait() == earliest([min(start, 0.0) for start in starts], 0.0, windows)


def test_thousands_of_callers_are_served_in_order_though_a_third_of_them_go_away() -> None:
    async def crowd() -> list[int]:
        gate, served = limiter([Window(100, 1.0), Window(1000, 20.0)]), list[int]()

        async def call(number: int) -> None:
            await gate.acquire()
            served.append(number)

        tasks = [asyncio.create_task(call(number)) for number in range(6000)]
        await asyncio.sleep(0.5)
        for task in tasks[200::3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert asyncio.get_running_loop().time() == 80.0  # 4,066 are left, and 1,000 get a permit every 20 s
        return served

    assert simulate(crowd()) == [number for number in range(6000) if number < 200 or (number - 200) % 3]


async def _first_is_cancelled_at(moment: float) -> tuple[bool, float]:
    """Whether the first of two callers was served despite the cancellation, and when the second was served."""
    loop, gate = asyncio.get_running_loop(), limiter([Window(1, 5.0)])
    await gate.acquire()
    first, second = asyncio.create_task(gate.acquire()), asyncio.create_task(gate.acquire())
    await asyncio.sleep(0)
    loop.call_at(moment, first.cancel)
    await second
    return not first.cancelled(), loop.time()


def test_a_caller_cancelled_at_the_very_moment_of_its_permit_leaves_it_to_the_next() -> None:
    assert simulate(_first_is_cancelled_at(3.0)) == (False, 5.0)
    assert simulate(_first_is_cancelled_at(5.0)) == (False, 5.0)
    assert simulate(_first_is_cancelled_at(5.1)) == (True, 10.0)


@pytest.mark.parametrize("make", [lambda: limiter([Window(2, 5.0)]), lambda: AsyncLimiter(2, 5.0)])
def test_it_is_used_as_aiolimiter_is(make: Callable[[], StackedLimiter | AsyncLimiter]) -> None:
    async def use() -> None:
        gate = make()
        assert gate.has_capacity()
        async with gate:
            assert gate.has_capacity(1)
        await gate.acquire(1)
        assert not gate.has_capacity()
        with pytest.raises(ValueError, match=r"(?i)call|amount"):
            await gate.acquire(3)

    simulate(use())


def test_there_is_no_capacity_for_somebody_new_while_others_wait() -> None:
    async def ask() -> list[bool]:
        gate, answers = limiter([Window(2, 5.0)]), list[bool]()
        gate.seed([0.0, 0.0])

        async def call() -> None:
            await gate.acquire()
            answers.append(gate.has_capacity())

        await asyncio.gather(call(), call())  # at the first answer one permit is left, for the second caller
        await asyncio.sleep(5)
        return [*answers, gate.has_capacity()]

    assert simulate(ask()) == [False, False, True]
