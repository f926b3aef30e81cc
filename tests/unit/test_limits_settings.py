"""Which windows are allowed, how much of them is left for us, and how 429s close the gate."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest
from helpers.simulated_loop import simulate
from pydantic import ValidationError

from connector.config import Account
from connector.limits import StackedLimiter, Window

PISANO = [Window(20, 5.0), Window(40, 25.0), Window(80, 125.0), Window(160, 625.0)]


def limiter(windows: list[Window], **more: Any) -> StackedLimiter:
    return StackedLimiter(windows, clock=asyncio.get_running_loop().time, **more)


def waits(*before_each: Callable[[StackedLimiter], None]) -> list[float]:
    """How many seconds each call of a new limiter with Pisano's windows waits, after these events before it."""

    async def call() -> list[float]:
        gate, waited = limiter(PISANO), list[float]()
        for happen in before_each:
            happen(gate)
            waited.append(await gate.acquire())
        return waited

    return simulate(call())


def refused(retry_after: float | None = None) -> Callable[[StackedLimiter], None]:
    return lambda gate: gate.close_after_429(retry_after)


def test_429s_in_a_row_close_the_gate_up_the_ladder_and_a_success_begins_it_anew() -> None:
    assert waits(*[refused()] * 5) == [5.0, 25.0, 125.0, 625.0, 625.0]
    assert waits(refused(), refused(), StackedLimiter.note_success, refused()) == [5.0, 25.0, 0.0, 5.0]


def test_retry_after_is_believed_once_for_each_window_and_then_the_longest_is_waited_out() -> None:
    """It may name the end of the first full window while a longer window is full too, but no fifth (pisano §6)."""
    assert waits(*map(refused, (2.0, 0.0, 700.0, 2.0))) == [2.0, 0.0, 700.0, 2.0]
    assert waits(*map(refused, (2.0, 2.0, 2.0, 2.0, 2.0, 700.0))) == [2.0, 2.0, 2.0, 2.0, 625.0, 700.0]


def test_a_closing_holds_back_who_waits_already_and_is_never_shortened() -> None:
    async def close() -> float:
        loop, gate = asyncio.get_running_loop(), limiter([Window(1, 5.0)])
        await gate.acquire()
        loop.call_at(4.0, gate.close_for, 20.0)
        loop.call_at(4.5, gate.close_for, 1.0)
        await gate.acquire()
        return loop.time()

    assert simulate(close()) == 24.0


@pytest.mark.parametrize(("share", "left"), [(0.0, 40), (0.1, 36), (0.3, 28), (0.9, 4), (0.99, 1)])
def test_a_reserved_share_leaves_exactly_the_rest_and_at_least_one_call(share: float, left: int) -> None:
    async def burst() -> int:
        gate, calls = limiter([Window(40, 5.0)], reserved=share), 0
        while gate.has_capacity():
            await gate.acquire()
            calls += 1
        assert list(gate.used()) == [(Window(40, 5.0), calls)]
        return calls

    assert simulate(burst()) == left


def test_padding_lengthens_every_window() -> None:
    async def burst() -> list[float]:
        gate = limiter([Window(1, 5.0), Window(2, 25.0)], padding=0.5)
        return [await gate.acquire() for _ in range(3)]

    assert simulate(burst()) == [0.0, 5.5, 20.0]


def test_a_call_may_be_counted_when_it_arrived() -> None:
    async def slow_call() -> float:
        gate = limiter([Window(1, 5.0)])
        await gate.acquire()
        await asyncio.sleep(3)
        gate.count_now()
        return await gate.acquire()

    assert simulate(slow_call()) == 5.0


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [(0, 5), (-1, 5), (2.5, 5), (math.nan, 5), (1, 0), (1, -5), (1, math.nan), (1, math.inf)],
)
def test_a_window_that_is_none_is_refused(limit: int, seconds: float) -> None:
    with pytest.raises(ValueError, match="a window has a limit of at least 1"):
        Window(limit, seconds)


@pytest.mark.parametrize("text", ["", "20", "20/5", "20/5d", "-1/5s", "0/5s", "5/0s", "1/" + "9" * 400 + "s"])
def test_a_limit_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"20/5s|at least 1"):
        Window.parse(text)


def test_limits_are_read_as_they_are_written() -> None:
    texts = ("20/5s", " 40 / 2m", "9/1.5h")
    assert [Window.parse(text) for text in texts] == [Window(20, 5.0), Window(40, 120.0), Window(9, 5400.0)]
    assert [str(window) for window in PISANO] == ["20/5s", "40/25s", "80/125s", "160/625s"]


@pytest.mark.parametrize(
    ("windows", "wrong"),
    [
        ([], {}),
        (PISANO, {"reserved": 1.0}),
        (PISANO, {"reserved": -0.1}),
        (PISANO, {"reserved": math.nan}),
        (PISANO, {"padding": -1.0}),
        (PISANO, {"padding": math.nan}),
    ],
)
def test_settings_that_no_limiter_can_have_are_refused(windows: list[Window], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a (limiter|window)"):
        StackedLimiter(windows, **wrong)


def test_a_budget_that_is_reserved_whole_is_refused_when_the_configuration_is_read() -> None:
    """Later, at the first invitation, no person may be there to fix it (rule 8)."""
    settings = {"base_url": "https://example.com", "auth": {"method": "static_token", "token": "made-up"}}
    assert Account.model_validate({**settings, "limit_reserved": "99%"}).limit_reserved == 0.99
    with pytest.raises(ValidationError, match="less than 1"):
        Account.model_validate({**settings, "limit_reserved": "100%"})
