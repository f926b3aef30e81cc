"""A stage that fails is ended whole, whatever else happens meanwhile."""

import asyncio
from contextlib import suppress

from helpers.waiting import until

from connector.cells import Cells
from connector.errors import Fatal
from connector.wiring.supervisor import Supervisor


class SlowToEnd:
    """A runner whose stop takes until `may_end` is set."""

    ready = True

    def __init__(self) -> None:
        self.failure = asyncio.get_running_loop().create_future()
        self.may_end = asyncio.Event()
        self.said: list[str] = []

    async def start(self) -> None: ...

    def check(self) -> None: ...

    async def stop(self, _: float) -> None:
        self.said.append("begins to end")
        await self.may_end.wait()
        self.said.append("has ended")


async def nothing_is_missing() -> None: ...


async def test_a_service_that_stops_while_a_stage_ends_waits_for_that_stage() -> None:
    """Faust ends once: after a stop that was cut short, its thread and tasks stay, and the process with them."""
    runner = SlowToEnd()
    supervisor = Supervisor("stage", nothing_is_missing, lambda: runner, Cells().at("kafka/stage"))
    running = asyncio.create_task(supervisor.run())
    await until(lambda: supervisor.ready)
    supervisor.tell(Fatal("a topic is gone"))
    await until(lambda: runner.said)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    stopping = asyncio.create_task(supervisor.stop(1.0))
    runner.may_end.set()
    await stopping
    assert runner.said == ["begins to end", "has ended"]
