"""StackedLimiter never breaks a window of Pisano's, and lets through all calls that the windows allow.

The script compares it with two others, for the same caller who never pauses and in the same simulated time:

- a stack of aiolimiter's AsyncLimiter, one for each window, which lets nearly twice as many calls through;
- one call per 3.90625 s, which keeps every window, but takes ten minutes for what is allowed in three.

The simulated time is 62,500 s, a hundred of the longest windows. The time per decision is real and includes the event
loop's time.
"""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import _command
from aiolimiter import AsyncLimiter
from helpers.simulated_loop import simulate
from rich.table import Table

from connector.limits import StackedLimiter, Window

WINDOWS = [Window(20, 5.0), Window(40, 25.0), Window(80, 125.0), Window(160, 625.0)]  # pisano §6
LONGEST = WINDOWS[-1]
TICK = 1e-9  # simulated seconds that a round of the event loop takes
REPEATS = 3  # the fastest run counts: other work on the machine can only slow a run down

Acquire = Callable[[], Awaitable[object]]


def stacked() -> Acquire:
    return StackedLimiter(WINDOWS, clock=asyncio.get_running_loop().time).acquire


def aiolimiters() -> Acquire:
    limiters = [AsyncLimiter(window.limit, window.seconds) for window in WINDOWS]

    async def acquire() -> None:
        for limiter in limiters:
            await limiter.acquire()

    return acquire


def paced() -> Acquire:
    turn = 0.0

    async def acquire() -> None:
        nonlocal turn
        loop = asyncio.get_running_loop()
        await asyncio.sleep(turn - loop.time())
        turn = loop.time() + LONGEST.seconds / LONGEST.limit

    return acquire


CONTENDERS = {"limiter": stacked, "aiolimiter_stack": aiolimiters, "paced": paced}


@dataclass(frozen=True)
class Figures:
    """`worst`: calls in the fullest span of each length. `share`: the used part of what the longest window allows."""

    worst: dict[str, int]
    share: float
    first_minute: int
    microseconds_per_decision: float


async def greedy(contender: Callable[[], Acquire], seconds: float) -> list[float]:
    """Returns when each call was let through, for a caller who asks for the next call as soon as it has made one."""
    loop, acquire, calls = asyncio.get_running_loop(), contender(), list[float]()
    while True:
        await acquire()
        if loop.time() >= seconds:
            return calls
        calls.append(loop.time())


def measure(contender: Callable[[], Acquire], seconds: float) -> Figures:
    fastest = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        calls = simulate(greedy(contender, seconds), tick=TICK)
        fastest = min(fastest, (time.perf_counter() - began) / len(calls))
    return Figures(
        worst={f"{window.seconds:g}": _fullest(calls, window.seconds) for window in WINDOWS},
        share=len(calls) / (LONGEST.limit * seconds / LONGEST.seconds),
        first_minute=bisect_left(calls, 60.0),
        microseconds_per_decision=fastest * 1e6,
    )


def _fullest(calls: list[float], seconds: float) -> int:
    """The most calls in any half-open span. It is enough to look at the spans that begin at a call."""
    return max(bisect_left(calls, start + seconds) - index for index, start in enumerate(calls))


def compare(quick: bool) -> _command.Result:
    seconds = 6_250.0 if quick else 62_500.0
    found = {name: measure(contender, seconds) for name, contender in CONTENDERS.items()}
    ours, theirs, floor = found["limiter"], found["aiolimiter_stack"], found["paced"]
    limits = {f"{window.seconds:g}": window.limit for window in WINDOWS}
    ratios = {
        "first_minute_to_paced": ours.first_minute / floor.first_minute,
        "microseconds_to_paced": ours.microseconds_per_decision / floor.microseconds_per_decision,
        "microseconds_to_aiolimiter_stack": ours.microseconds_per_decision / theirs.microseconds_per_decision,
    }
    contradictions = []
    if ours.worst != limits:
        contradictions.append(f"the fullest windows held {ours.worst}, where the limits are {limits}")
    if ours.share < 1:
        contradictions.append(f"{1 - ours.share:.2%} of what the longest window allows was not used")
    figures: dict[str, Any] = {name: asdict(contender) for name, contender in found.items()}
    return _command.Result(
        {"simulated_seconds": seconds, "limits": limits, **figures, "ratios": ratios},
        _table(found, limits, ratios, seconds),
        contradictions,
    )


def _table(found: dict[str, Figures], limits: dict[str, int], ratios: dict[str, float], seconds: float) -> Table:
    table = Table(
        "",
        *(f"worst {length} s\n(limit {limit})" for length, limit in limits.items()),
        f"used of {LONGEST.limit}\nper {LONGEST.seconds:g} s",
        "in first\n60 s",
        "µs per\ndecision",
        title=f"A caller who never rests, over {seconds:,.0f} simulated seconds",
        caption=(
            f"In the first minute the limiter makes {ratios['first_minute_to_paced']:.1f} times the calls of pacing. "
            f"Its decision takes {ratios['microseconds_to_paced']:.2f} times as long as that of pacing, "
            f"and {ratios['microseconds_to_aiolimiter_stack']:.2f} times as long as the stack's."
        ),
    )
    for name, figures in found.items():
        worst = (
            f"{count}" if count <= limits[length] else f"[red]{count}[/] ({count / limits[length]:.2f}x)"
            for length, count in figures.worst.items()
        )
        table.add_row(
            name.replace("_", " "),
            *worst,
            f"{figures.share:.1%}",
            f"{figures.first_minute}",
            f"{figures.microseconds_per_decision:.1f}",
        )
    return table


if __name__ == "__main__":
    _command.main(__doc__, compare)
