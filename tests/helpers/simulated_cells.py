"""Workers of a stage with cells, and their faults, in simulated time, for tests/unit/test_cells_simulated.py.

The group and the topics are in memory; `StageWorker`, `CellWork`, `Lots` and `Lot` are the real ones.
"""

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import stamina

from connector.cells import Cells
from connector.config import Kafka
from connector.errors import Fatal, Rejected, Retryable
from connector.kafka import stage_worker
from connector.kafka.cell_work import CellWork, Plan, Work
from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.kafka.lots import Lots
from connector.kafka.parking import Parking
from connector.kafka.stage_worker import Settle, StageWorker, nothing
from helpers.processes import Process, ProcessLoop, outside
from helpers.simulated_group import TOPIC, Group
from helpers.simulated_parking import SimulatedParking

KAFKA = Kafka(bootstrap_servers="nowhere:9092")
CELLS = ("a", "b", "c")
HEALTHY = "c"  # this cell never has a fault
LONGEST = 45.0  # most seconds that a worker is frozen
ENDS_WITHIN = 2_000.0  # seconds after the last fault: the worker probes a held cell every 300 s
PROMPT = 10.0  # seconds until the healthy cell has done its work: a full room parks, and a slow write takes 3 s

What = Literal["records", "start", "stop", "rebalance", "kill", "freeze", "fatal", "outage", "mend"]


@dataclass(frozen=True)
class Happening:
    after: float
    what: What
    whom: int
    seconds: float


@dataclass(frozen=True)
class Scenario:
    seed: int
    keeps_order: bool
    in_flight: int
    bad: float  # share of bad records in cells a and b
    happenings: list[Happening]

    def is_calm(self) -> bool:
        """Whether no worker is ever lost, so that no work is repeated or late."""
        return not {"start", "stop", "rebalance", "kill", "freeze"} & {each.what for each in self.happenings}


def clock() -> float:
    return asyncio.get_running_loop().time()


class Worker:
    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self.process = Process(name)
        self.stopping = asyncio.Event()
        self._world = world
        self.ended = self.process.start(self._run())
        self.ended.add_done_callback(self.exit)

    def exit(self, _: object) -> None:
        self.process.running = False

    async def _run(self) -> None:
        world, order = self._world, self._world.scenario.keeps_order
        plan, settle = world.stage()
        work = CellWork("stage", plan, world.bury, Cells(world.tell_held), keeps_order=order)
        lots = Lots(Parking(KAFKA, "stage", world.parking.park), world.scenario.in_flight, keeps_order=order)
        in_flight = world.scenario.in_flight
        worker = StageWorker("stage", KAFKA, [TOPIC.topic], work, in_flight=in_flight, lots=lots, settle=settle)
        await worker.start()
        stopping = asyncio.create_task(self.stopping.wait())
        await asyncio.wait({stopping, worker.failure}, return_when=asyncio.FIRST_COMPLETED)
        if worker.failure.done():
            worker.failure.result()
        with suppress(TimeoutError):
            async with asyncio.timeout(15):
                await worker.stop(5)


class World:
    """Plays a scenario. `done` holds the records that each cell stored, in order; `letters` are the dead letters."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.random = Random(scenario.seed)
        self.history: list[str] = []
        self.group = Group(self.random, self.say)
        self.parking = SimulatedParking(self.random)
        self.done: defaultdict[str, list[int]] = defaultdict(list)
        self.letters: defaultdict[str, set[int]] = defaultdict(set)
        self.late: Counter[str] = Counter()
        self.ever_held: set[str] = set()
        self.troubles: dict[str, Exception] = {}
        self.written_at: list[float] = []
        self.workers: list[Worker] = []
        self.ever: list[Worker] = []

    def say(self, what: str) -> None:
        self.history.append(f"{clock():8.3f} {what}")

    def tell_held(self, cell: str, _: str, held: bool) -> None:
        self.say(f"{cell} is {'held' if held else 'released'}")
        self.ever_held.add(cell)

    def stage(self) -> tuple[Plan, Settle]:
        """A worker's stage: its plan, and what it does before it loses partitions."""
        return self.plan, nothing

    def plan(self, record: InRecord) -> dict[str, Work]:
        number = self.number(record)
        return {cell: partial(self.work, cell, number) for cell in CELLS}

    async def work(self, cell: str, number: int) -> None:
        await outside(self._carry_out, cell, number)

    async def _carry_out(self, cell: str, number: int) -> None:
        await asyncio.sleep(self.random.uniform(0, 0.1))
        if error := self.troubles.get(cell):
            raise error
        if cell != HEALTHY and Random(f"{self.scenario.seed} {number}").random() < self.scenario.bad:
            raise Rejected(f"{cell}: at fault")
        self.take_note(cell, number)

    def take_note(self, cell: str, number: int) -> None:
        """The cell has done its work on the record."""
        self.done[cell].append(number)
        self.late[cell] = max(self.late[cell], int(clock() - self.written_at[number]))

    async def bury(self, record: InRecord, _: str, error: Exception) -> None:
        assert isinstance(error, Rejected), repr(error)
        (cell,) = re.findall(r"\b([abc]):", str(error))
        self.letters[cell].add(self.number(record))

    def number(self, record: InRecord) -> int:
        return int(record.value or b"")

    def value(self, number: int) -> bytes:
        return b"%d" % number

    async def play(self) -> None:
        group = asyncio.create_task(self.group.run())
        try:
            await self._play()
        finally:
            group.cancel()
            for worker in self.ever:
                worker.ended.remove_done_callback(worker.exit)
                worker.process.wake(self.random)

    async def _play(self) -> None:
        self.start()
        self.records()
        for happening in self.scenario.happenings:
            await asyncio.sleep(happening.after)
            self.say(f"{happening.what} {happening.whom}")
            self.make_happen(happening)
        await asyncio.sleep(LONGEST)
        self.troubles.clear()
        self.say("all is well from here on")
        if all(worker.stopping.is_set() for worker in self.workers):
            self.start()
        async with asyncio.timeout(ENDS_WITHIN):
            while not self.all_done():
                await asyncio.sleep(1)
                for worker in self.workers:
                    if worker.ended.done():
                        worker.ended.result()

    def all_done(self) -> bool:
        wanted = set(range(len(self.written_at)))
        return all({*self.done[cell], *self.letters[cell]} >= wanted for cell in CELLS)

    def make_happen(self, happening: Happening) -> None:
        self.workers = [worker for worker in self.workers if not worker.ended.done() or worker.ended.exception()]
        cell = "ab"[happening.whom % 2]
        simple = {"records": self.records, "start": self.start, "rebalance": self.group.rebalance}
        if happening.what in simple:
            simple[happening.what]()
        elif happening.what == "fatal":
            self.troubles[cell] = Fatal("no rights")
        elif happening.what == "outage":
            self.troubles[cell] = Retryable("503")
        elif happening.what == "mend":
            self.troubles.pop(cell, None)
        elif happening.whom < len(self.workers):
            self.befall(self.workers[happening.whom], happening.what, happening.seconds)

    def befall(self, worker: Worker, what: What, seconds: float) -> None:
        if what == "stop":
            worker.stopping.set()
        elif what == "kill":
            worker.process.running = False
            self.workers.remove(worker)
        elif what == "freeze" and worker.process.running:
            worker.process.running = False
            asyncio.get_running_loop().call_later(seconds, self.wake, worker)

    def wake(self, worker: Worker) -> None:
        if worker in self.workers:
            worker.process.wake(self.random)

    def start(self) -> None:
        if len([worker for worker in self.workers if not worker.stopping.is_set()]) < 3:
            self.ever.append(Worker(self, f"worker-{len(self.ever) + 1}"))
            self.workers.append(self.ever[-1])

    def records(self) -> None:
        """Adds ten records."""
        for _ in range(10):
            value = self.value(len(self.written_at))
            self.written_at.append(clock())
            self.group.records.append(OutRecord(TOPIC.topic, b"key", value, [], 0))


def run(world: World) -> None:
    """Plays the world's scenario to the end."""
    with _simulated(world), asyncio.Runner(loop_factory=ProcessLoop) as runner:
        runner.run(world.play())


@contextmanager
def _simulated(world: World) -> Iterator[None]:
    hooks = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([])

    async def nothing(*_: object) -> list[Any]:
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_worker, "faust_app", world.group.faust_app)
        patch.setattr(stage_worker, "preflight", SimpleNamespace(require=nothing))
        patch.setattr(stage_worker, "holes", nothing)
        patch.setattr(stage_worker, "Watch", lambda *_: SimpleNamespace(run=lambda _: asyncio.Event().wait(), lag=None))
        world.parking.patch(patch)
        yield
    stamina.instrumentation.set_on_retry_hooks(hooks)
