"""Measures how soon many due invitations are sent, with one invitation in a call and with the default of many.

Claim: 8,000 due invitations are sent within one of Pisano's longest windows, 625 s, at 50 invitations a call. The real
sender of one account runs in simulated time, with the real limiter and Pisano's four limits, a ledger whose writes take
30 ms, and a Pisano whose calls take 100 ms. Every limit is checked over all calls. The comparison with one invitation
in a call stops after the same time. With --quick there are 2,000 invitations.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import _command
from helpers.invitations import invitation
from helpers.simulated_loop import simulate
from helpers.simulated_sender import Pisano, World
from rich.table import Table

from connector.config import Account
from connector.limits import Window

LOADS = {"quick": 2_000, "full": 8_000}
WINDOW = 625.0  # seconds
TICK = 1e-6  # simulated seconds that a round of the event loop takes
AT_ONCE = Account.model_fields["max_recipients_per_call"].default


@dataclass(frozen=True)
class Run:
    """`seconds` until the last invitation was sent, or the time after which the script stopped."""

    at_once: int
    sent: int
    calls: int
    seconds: float
    exceeded: list[str]


async def _run(count: int, at_once: int) -> Run:
    pisano = Pisano()
    world = World(pisano, at_once=at_once)
    began = asyncio.get_running_loop().time()
    delivering = asyncio.create_task(world.deliver(*map(invitation, range(count))))
    await asyncio.wait({delivering}, timeout=WINDOW)
    delivering.cancel()
    times = [at - began for at, _ in pisano.calls]
    limits = Account.model_fields["limits"].default
    return Run(at_once, len(pisano.e_mailed), len(times), max(times), _exceeded(times, limits))


def _exceeded(times: Sequence[float], limits: Sequence[Window]) -> list[str]:
    return [
        str(window)
        for window in limits
        if any(later - first < window.seconds for first, later in zip(times, times[window.limit :], strict=False))
    ]


def measure(quick: bool) -> _command.Result:
    count = LOADS["quick" if quick else "full"]
    runs = [simulate(_run(count, at_once), tick=TICK) for at_once in (1, AT_ONCE)]
    figures: dict[str, Any] = {"name": "batching", "due": count, "runs": [asdict(run) for run in runs]}
    table = Table("in a call", "sent", "calls", "seconds", "invitations a call")
    for run in runs:
        each = f"{run.sent / run.calls:.1f}"
        table.add_row(str(run.at_once), f"{run.sent:,} of {count:,}", str(run.calls), f"{run.seconds:.0f}", each)
    many, found = runs[1], [f"{run.at_once} in a call exceed {limit}" for run in runs for limit in run.exceeded]
    if many.sent < count:
        found.append(f"{many.sent:,} of {count:,} invitations are sent in {WINDOW:g} s at {AT_ONCE} in a call")
    return _command.Result(figures, table, found)


if __name__ == "__main__":
    _command.main(__doc__ or "", measure)
