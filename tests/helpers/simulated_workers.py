"""Workers of a simulated stage and what befalls them: they start, stop, die, freeze and wake."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Any, Protocol

import pytest
import stamina

from connector.observe.tracing import tracing
from helpers.processes import Process, ProcessLoop, apart
from helpers.simulated_play import Happening

LONGEST = 45.0  # most seconds that a worker is frozen or cut off

_MOST = 3  # workers at a time


class Runner(Protocol):
    """What runs a stage: a StageWorker or a SharedWork."""

    failure: asyncio.Future[None]

    async def start(self) -> None: ...

    async def stop(self, drain: float) -> None: ...


def clock() -> float:
    return asyncio.get_running_loop().time()


async def run_stage(runner: Runner, stopping: asyncio.Event, drain: float) -> None:
    """Runs a stage like the service, until `stopping` is set. Raises what the stage fails with."""
    await runner.start()
    asked = asyncio.create_task(stopping.wait())
    await asyncio.wait({asked, runner.failure}, return_when=asyncio.FIRST_COMPLETED)
    if runner.failure.done():
        runner.failure.result()
    with suppress(TimeoutError):
        async with asyncio.timeout(drain + 10):
            await runner.stop(drain)


class Worker:
    """One process. It runs `main(stopping)`, which ends soon after `stopping` is set."""

    def __init__(self, name: str, main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
        self.name = name
        self.process = Process(name)
        self.stopping = asyncio.Event()
        self.ended = self.process.start(main(self.stopping))
        self.ended.add_done_callback(self.exit)

    def exit(self, _: object) -> None:
        self.process.running = False


class Workers:
    """A world with workers. `history` lists what happened, for reading after a failure.

    A subclass says what a worker runs (`main`), what goes on beside the workers (`beside`), what the whole play is
    (`story`), and what it replaces by simulations (`patch`).
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.history: list[str] = []
        self.workers: list[Worker] = []
        self.ever: list[Worker] = []  # with the dead ones

    async def main(self, stopping: asyncio.Event) -> None:
        raise NotImplementedError

    async def beside(self) -> None:
        """Ends with the story."""

    async def story(self) -> None:
        raise NotImplementedError

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        raise NotImplementedError

    def say(self, what: str) -> None:
        self.history.append(f"{clock():8.3f} {what}")

    async def play(self) -> None:
        beside = asyncio.create_task(self.beside())
        try:
            await self.story()
        finally:
            beside.cancel()
            for worker in self.ever:  # so that the loop can be closed
                worker.ended.remove_done_callback(worker.exit)
                worker.process.wake(self.random)

    def start(self) -> None:
        """Starts a worker, unless there are three."""
        if len([worker for worker in self.workers if not worker.stopping.is_set()]) < _MOST:
            self.ever.append(Worker(f"worker-{len(self.ever) + 1}", self.main))
            self.workers.append(self.ever[-1])

    def start_if_none_is_left(self) -> None:
        if all(worker.stopping.is_set() for worker in self.workers):
            self.start()

    def befall(self, happening: Happening) -> None:
        """A worker is to stop, is killed, or freezes. Nothing happens if there is no such worker."""
        self.workers = [worker for worker in self.workers if not worker.ended.done() or worker.ended.exception()]
        if happening.whom < len(self.workers):
            self.befall_worker(self.workers[happening.whom], happening)

    def befall_worker(self, worker: Worker, happening: Happening) -> None:
        self.say(f"{worker.name}: {happening.what} {happening.seconds:.1f}")
        if happening.what == "stop":
            worker.stopping.set()
        elif happening.what == "kill":
            worker.process.running = False
            self.workers.remove(worker)
        elif happening.what == "freeze" and worker.process.running:
            worker.process.running = False
            asyncio.get_running_loop().call_later(happening.seconds, self.wake, worker)

    def wake(self, worker: Worker) -> None:
        if worker in self.workers:
            self.say(f"{worker.name} wakes")
            worker.process.wake(self.random)

    def raise_failures(self) -> None:
        """Raises what a worker has failed with."""
        for worker in self.workers:
            if worker.ended.done():
                worker.ended.result()


def run(world: Workers) -> None:
    """Plays the world to its end, in simulated time."""
    with _no_hooks(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "apart", apart)
        world.patch(patch)
        with asyncio.Runner(loop_factory=ProcessLoop) as runner:
            runner.run(world.play())


@contextmanager
def _no_hooks() -> Iterator[None]:
    hooks = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(hooks)
