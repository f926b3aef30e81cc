"""How long the pauses are between two tries."""

import asyncio
from itertools import pairwise

from helpers.simulated_loop import simulate

from connector.errors import Retryable
from connector.retry import kept_up


def begins(lasts: float, times: int) -> list[float]:
    """When work begins that goes on for `lasts` seconds each time, and at last ends well."""
    began: list[float] = []

    async def work() -> str:
        began.append(asyncio.get_running_loop().time())
        if len(began) > times:
            return "the end"
        await asyncio.sleep(lasts)
        raise Retryable("a lost connection")

    assert simulate(kept_up(work)) == "the end"
    return began


def test_the_pauses_are_short_again_after_work_went_on_for_a_while() -> None:
    assert max(after - before - 90 for before, after in pairwise(begins(lasts=90, times=50))) < 1


def test_the_pauses_grow_to_a_minute_while_work_fails_at_once() -> None:
    pauses = [after - before for before, after in pairwise(begins(lasts=0.1, times=50))]
    assert pauses[0] < 1
    assert 50 < pauses[-1] < 61
