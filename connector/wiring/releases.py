"""Carries out what operators decide about held cells: `connector held release` and `connector held skip`."""

import asyncio
from functools import partial
from typing import NoReturn

import structlog

from connector.cells import Cells
from connector.config import Kafka
from connector.decisions import Action
from connector.errors import Fatal
from connector.kafka.follower import Follower, parts_to
from connector.kafka.skipped import Skipped
from connector.records import read

log = structlog.get_logger(__name__)

ACTIONS = "connector.actions"
_PREFIX = "cell/"
_TRY_AGAIN = 300.0  # seconds after Kafka refused us; held cells go on by themselves as soon


async def follow(kafka: Kafka, cells: Cells, skipped: Skipped) -> NoReturn:
    """Follows the decisions until it is cancelled.

    At its start it sees the earlier ones again. They do no harm: a cell that is held by then is only tried earlier. If
    Kafka refuses us, parked records are worked off all the same.
    """
    follower = Follower(kafka, ACTIONS, parts_to(partial(take, cells, skipped)))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_when_caught_up(follower, skipped))
        while True:
            try:
                await follower.run()
            except Fatal as error:
                log.warning("releases_not_followed", reason=str(error), next_try_in=_TRY_AGAIN)
                skipped.known.set()
            await asyncio.sleep(_TRY_AGAIN)


async def _when_caught_up(follower: Follower, skipped: Skipped) -> None:
    await follower.caught_up()
    skipped.known.set()


def take(cells: Cells, skipped: Skipped, key: bytes | None, value: bytes | None, _: int) -> None:
    """Takes a record of `connector.actions`. Raises Rejected when it cannot be read and is about a cell or a parked
    record.
    """
    skipped.take(key, value)
    if value is None or not (key or b"").startswith(_PREFIX.encode()):
        return
    action = read(Action, value)
    if action.kind == "cell":
        cells.probe_now(action.target.removeprefix(_PREFIX))
