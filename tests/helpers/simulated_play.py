"""What the simulations share: how a scenario is drawn, and how a failure tells what happened in it."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st


class World(Protocol):
    """`history` lists what happened, for reading after a failure."""

    history: list[str]


W = TypeVar("W", bound=World)


def happenings(kind: Callable[..., Any], *what: str, gap: float, longest: float) -> st.SearchStrategy[list[Any]]:
    """Up to 12 of a `kind` of happening, `gap` seconds apart at most, some of them close together."""
    one = st.builds(
        kind,
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
