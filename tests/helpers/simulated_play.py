"""What the simulations share: what happens in a scenario, and how a failure tells what happened in it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from hypothesis import strategies as st


@dataclass(frozen=True)
class Happening:
    after: float  # seconds after the previous one
    what: str
    whom: int  # of the workers, cells, accounts or channels
    seconds: float


class World(Protocol):
    """`history` lists what happened, for reading after a failure."""

    history: list[str]


W = TypeVar("W", bound=World)


def happenings(*what: str, gap: float, longest: float) -> st.SearchStrategy[list[Happening]]:
    """Up to 12 happenings, `gap` seconds apart at most, some of them close together."""
    one = st.builds(
        Happening,
        after=st.floats(0, gap) | st.floats(0, 1),
        what=st.sampled_from(what),
        whom=st.integers(0, 2),
        seconds=st.floats(1, longest),
    )
    return st.lists(one, max_size=12)


def play(world: W, run: Callable[[W], None], check: Callable[[W], None]) -> None:
    """Runs the world and checks it. A failure's notes are the world's history."""
    try:
        run(world)
        check(world)
    except BaseException as error:
        error.add_note("\n".join(world.history))
        raise
