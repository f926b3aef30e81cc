"""Tries held cells at once when an operator asks for it (`connector held release`)."""

import asyncio
from functools import partial
from typing import NoReturn

import structlog

from connector.cells import Cells
from connector.config import Kafka
from connector.decisions import Action
from connector.errors import Fatal
from connector.kafka.follower import Follower
from connector.records import read

log = structlog.get_logger(__name__)

ACTIONS = "connector.actions"
_PREFIX = "cell/"
_TRY_AGAIN = 300.0  # seconds after Kafka refused us; held cells go on by themselves as soon


async def follow(kafka: Kafka, cells: Cells) -> NoReturn:
    """Follows the decisions until it is cancelled.

    At its start it sees the earlier ones again. They do no harm: a cell that is held by then is only tried earlier.
    """
    follower = Follower(kafka, ACTIONS, partial(take, cells))
    while True:
        try:
            await follower.run()
        except Fatal as error:
            log.warning("releases_not_followed", reason=str(error), next_try_in=_TRY_AGAIN)
        await asyncio.sleep(_TRY_AGAIN)


def take(cells: Cells, key: bytes | None, value: bytes | None, _: int) -> None:
    """Takes a record of `connector.actions`. Raises Rejected when it is about a cell and cannot be read."""
    if value is None or not (key or b"").startswith(_PREFIX.encode()):
        return
    action = read(Action, value)
    if action.kind == "cell":
        cells.probe_now(action.target.removeprefix(_PREFIX))
