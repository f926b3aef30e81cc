"""Workers of a stage with cells, and their faults, in simulated time, for tests/unit/test_cells_simulated.py.

The group and the topics are in memory; `StageWorker`, `CellWork`, `Lots` and `Lot` are the real ones.
"""

import asyncio
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from random import Random

import pytest

from connector.cells import Cells
from connector.config import Kafka
from connector.errors import Fatal, Rejected, Retryable
from connector.kafka.cell_work import CellWork, Plan, Work
from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.kafka.lots import Lots
from connector.kafka.parking import Parking
from connector.kafka.stage_worker import Settle, StageWorker, nothing
from helpers.processes import outside
from helpers.simulated_faust import TOPIC, patch_faust
from helpers.simulated_group import Group
from helpers.simulated_parking import SimulatedParking
from helpers.simulated_play import Happening
from helpers.simulated_workers import LONGEST, Workers, clock, run_stage

KAFKA = Kafka(bootstrap_servers="nowhere:9092")
CELLS = ("a", "b", "c")
HEALTHY = "c"  # this cell never has a fault
ENDS_WITHIN = 2_000.0  # seconds after the last fault: the worker probes a held cell every 300 s
PROMPT = 10.0  # seconds until the healthy cell has done its work: a full room parks, and a slow write takes 3 s


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


class World(Workers):
    """Plays a scenario. `done` holds the records that each cell stored, in order; `letters` are the dead letters."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario.seed)
        self.scenario = scenario
        self.group = Group(self.random, self.say)
        self.parking = SimulatedParking(self.random)
        self.done: defaultdict[str, list[int]] = defaultdict(list)
        self.letters: defaultdict[str, set[int]] = defaultdict(set)
        self.late: Counter[str] = Counter()
        self.ever_held: set[str] = set()
        self.troubles: dict[str, Exception] = {}
        self.written_at: list[float] = []

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        patch_faust(patch, self.group)
        self.parking.patch(patch)

    async def main(self, stopping: asyncio.Event) -> None:
        order, in_flight = self.scenario.keeps_order, self.scenario.in_flight
        plan, settle = self.stage()
        work = CellWork("stage", plan, self.bury, Cells(self.tell_held), keeps_order=order)
        lots = Lots(Parking(KAFKA, "stage", self.parking.park), in_flight, keeps_order=order)
        worker = StageWorker("stage", KAFKA, [TOPIC.topic], work, in_flight=in_flight, lots=lots, settle=settle)
        await run_stage(worker, stopping, 5)

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

    async def bury(self, record: InRecord, _: str, error: Exception, __: str) -> None:
        assert isinstance(error, Rejected), repr(error)
        (cell,) = re.findall(r"\b([abc]):", str(error))
        self.letters[cell].add(self.number(record))

    def number(self, record: InRecord) -> int:
        return int(record.value or b"")

    def value(self, number: int) -> bytes:
        return b"%d" % number

    async def beside(self) -> None:
        await self.group.run()

    async def story(self) -> None:
        self.start()
        self.records()
        for happening in self.scenario.happenings:
            await asyncio.sleep(happening.after)
            self.say(f"{happening.what} {happening.whom}")
            self.make_happen(happening)
        await asyncio.sleep(LONGEST)
        self.troubles.clear()
        self.say("all is well from here on")
        self.start_if_none_is_left()
        async with asyncio.timeout(ENDS_WITHIN):
            while not self.all_done():
                await asyncio.sleep(1)
                self.raise_failures()

    def all_done(self) -> bool:
        wanted = set(range(len(self.written_at)))
        return all({*self.done[cell], *self.letters[cell]} >= wanted for cell in CELLS)

    def make_happen(self, happening: Happening) -> None:
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
        else:
            self.befall(happening)

    def records(self) -> None:
        """Adds ten records."""
        for _ in range(10):
            value = self.value(len(self.written_at))
            self.written_at.append(clock())
            self.group.records.append(OutRecord(TOPIC.topic, b"key", value, [], 0))
