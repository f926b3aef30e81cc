"""Workers that send invitations, and their faults, in simulated time, for tests/unit/test_send_simulated.py."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any, Literal

import httpx
import pytest
import stamina

from connector import pisano
from connector.cells import Cells
from connector.config import Account, Kafka
from connector.kafka import connection, ledger, stage_worker
from connector.kafka.cell_work import CellWork
from connector.kafka.dead_letters import DEAD_LETTERS, DeadLetters
from connector.kafka.inbound import InRecord
from connector.kafka.ledger import Ledger, read_entry
from connector.kafka.lots import Lots
from connector.kafka.parking import Parking
from connector.kafka.stage_worker import StageWorker
from connector.limits import StackedLimiter, Window
from connector.observe.metrics import Metrics
from connector.records import Invitation, Settlement, Suppression
from connector.stages import _account_sender, send
from helpers.invitations import as_records, invitation
from helpers.processes import Process, ProcessLoop, name_of_this
from helpers.simulated_group import TOPIC, Group
from helpers.simulated_kafka import SimulatedKafka
from helpers.simulated_parking import SimulatedParking
from helpers.simulated_pisano import HEALTHY, SimulatedPisano

KAFKA = Kafka(bootstrap_servers="nowhere:9092")
LIMITS = (Window(4, 5.0), Window(8, 30.0))
GRACE = 25.0  # seconds
STARTS = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
LONGEST = 45.0  # most seconds that a worker is frozen or cut off
ENDS_WITHIN = 2_500.0  # seconds after the last fault: a held account is probed every 300 s

What = Literal["invite", "start", "stop", "rebalance", "kill", "freeze", "cut off"]
Fault = Literal["no rights", "no campaign", "away", "mend"]
ORDERLY: tuple[What, ...] = ("invite", "start", "stop", "rebalance")
FAULTS: dict[Fault, int] = {"no rights": 401, "no campaign": 404, "away": 503, "mend": 0}


@dataclass(frozen=True)
class Happening:
    after: float  # seconds after the previous one
    what: What | Fault
    whom: int  # of the workers, or of the accounts
    seconds: float


@dataclass(frozen=True)
class Scenario:
    seed: int
    policy: Literal["hold", "resend", "drop"]
    trouble: tuple[float, float]  # share of the requests to Kafka and to Pisano that meet a fault
    at_once: int  # recipients in one call
    in_flight: int
    happenings: list[Happening]

    def is_calm(self) -> bool:
        """Whether only accounts have faults, and each call is for one customer."""
        return (
            self.trouble[0] == 0
            and self.at_once == 1
            and {each.what for each in self.happenings} <= {"invite", *FAULTS}
        )

    def leaves_doubt(self) -> bool:
        """Whether some worker may not know how its call ended."""
        what = {happening.what for happening in self.happenings} - FAULTS.keys()
        orderly = what <= {"invite"} or (self.trouble[0] == 0 and what <= set(ORDERLY))
        return self.trouble[1] > 0 or not orderly


def clock() -> float:
    return asyncio.get_running_loop().time()


def now() -> float:
    return STARTS + clock()


class Worker:
    """One process that runs the stage."""

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
        world = self._world
        letters = DeadLetters(KAFKA, "send", lambda *_: None)
        async with httpx.AsyncClient(transport=httpx.MockTransport(world.pisano.handle), trust_env=False) as http:
            stage = send.Send(
                world.accounts,
                partial(Ledger.open, KAFKA),
                http,
                grace=GRACE,
                dead_letter=letters.of_record,
                metrics=Metrics(),
                cells=(cells := Cells()),
            )
            worker = StageWorker(
                "send",
                KAFKA,
                [TOPIC.topic],
                CellWork("send", stage.plan, world.bury, cells, keeps_order=False),
                in_flight=world.scenario.in_flight,
                lots=Lots(Parking(KAFKA, "send", world.parking.park), world.scenario.in_flight, keeps_order=False),
                settle=stage.settle,
                drains=False,
            )
            await worker.start()
            stopping = asyncio.create_task(self.stopping.wait())
            await asyncio.wait({stopping, worker.failure}, return_when=asyncio.FIRST_COMPLETED)
            if worker.failure.done():
                worker.failure.result()
            with suppress(TimeoutError):  # like App
                async with asyncio.timeout(GRACE + 10):
                    await worker.stop(GRACE)


class World:
    """Plays a scenario. `history` lists what happened, for reading after a failure."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.random = Random(scenario.seed)
        self.history: list[str] = []
        self.kafka = SimulatedKafka(self.random, scenario.trouble[0], self.say)
        self.group = Group(self.random, self.say)
        self.parking = SimulatedParking(self.random)
        self.pisano = SimulatedPisano(self.random, scenario.trouble[1], self.say)
        self.accounts = {name: _account(name, scenario) for name in ("main", "app", HEALTHY)}
        self.workers: list[Worker] = []
        self.ever: list[Worker] = []  # with the dead ones
        self.invited: dict[str, Invitation] = {}
        self.invited_at: dict[str, float] = {}
        self.mistakes: list[str] = []

    def producer(self, **arguments: Any) -> Any:
        """Opens a worker's ledger, which fences the earlier owner. A worker that lets go must not do this."""
        if name_of_this() in self.group.letting_go:
            self.mistakes.append(f"{name_of_this()} opens a ledger while it lets go of the partition")
        return self.kafka.producer(**arguments)

    def say(self, what: str) -> None:
        self.history.append(f"{clock():8.3f} {what}")

    async def bury(self, _: InRecord, reason: str, error: Exception) -> None:
        raise AssertionError(f"{reason}: {error!r}") from error

    async def play(self) -> None:
        group = asyncio.create_task(self.group.run())
        try:
            await self._play()
        finally:
            group.cancel()
            for worker in self.ever:  # so that the loop can be closed
                worker.ended.remove_done_callback(worker.exit)
                worker.process.wake(self.random)

    async def _play(self) -> None:
        self.start()
        self.start()
        self.invite()
        for happening in self.scenario.happenings:
            await asyncio.sleep(happening.after)
            self.make_happen(happening)
        self.kafka.trouble = self.pisano.trouble = 0.0
        self.pisano.faults.clear()
        await asyncio.sleep(LONGEST)  # after this no worker is frozen or cut off
        self.say("all is well from here on")
        if all(worker.stopping.is_set() for worker in self.workers):
            self.start()
        async with asyncio.timeout(ENDS_WITHIN):
            while self.group.position < len(self.group.records) or not self.all_settled():
                await asyncio.sleep(1)
                for worker in self.workers:
                    if worker.ended.done():
                        worker.ended.result()
            for worker in self.workers:
                worker.stopping.set()
                await worker.ended

    def settled_at(self) -> dict[str, float]:
        """When the outcome of each invitation was written."""
        found: dict[str, float] = {}
        for at, record in self.kafka.committed_at:
            if record.topic != DEAD_LETTERS and isinstance(entry := read_entry(record.value or b""), Settlement):
                found.setdefault(entry.invitation, at)
        return found

    def all_settled(self) -> bool:
        return self.settled_at().keys() >= self.invited.keys()

    def lateness(self) -> float:
        """The most seconds that an invitation of the account without faults took longer than its limits ask for."""
        mine = [each.id for each in self.invited.values() if each.account == HEALTHY]
        settled = self.settled_at()
        soonest: list[float] = []
        for at in sorted(self.invited_at[each] for each in mine):
            free = [soonest[-window.limit] + window.seconds for window in LIMITS if len(soonest) >= window.limit]
            soonest.append(max([at, *free, *soonest[-1:]]))
        return max(at - first for at, first in zip(sorted(settled[each] for each in mine), soonest, strict=True))

    def make_happen(self, happening: Happening) -> None:
        self.workers = [worker for worker in self.workers if not worker.ended.done() or worker.ended.exception()]
        if happening.what == "start":
            self.start()
        elif happening.what == "invite":
            self.invite()
        elif happening.what == "rebalance":
            self.group.rebalance()
        elif happening.what in FAULTS:
            self.say(f"account {happening.whom}: {happening.what}")
            self.pisano.faults[("main", "app")[happening.whom % 2]] = FAULTS[happening.what]
        elif happening.whom < len(self.workers):
            self.befall(self.workers[happening.whom], happening.what, happening.seconds)

    def befall(self, worker: Worker, what: What, seconds: float) -> None:
        self.say(f"{worker.name}: {what} {seconds:.1f}")
        if what == "stop":
            worker.stopping.set()
        elif what == "kill":
            worker.process.running = False
            self.workers.remove(worker)
        elif what == "freeze" and worker.process.running:
            worker.process.running = False
            asyncio.get_running_loop().call_later(seconds, self.wake, worker)
        elif what == "cut off":
            self.group.cut_off[worker.name] = clock() + seconds

    def wake(self, worker: Worker) -> None:
        if worker in self.workers:
            self.say(f"{worker.name} wakes")
            worker.process.wake(self.random)

    def start(self) -> None:
        if len([worker for worker in self.workers if not worker.stopping.is_set()]) < 3:
            self.ever.append(Worker(self, f"worker-{len(self.ever) + 1}"))
            self.workers.append(self.ever[-1])

    def invite(self) -> None:
        """Adds six invitations, and repeats one of the earlier ones."""
        first = len(self.invited)
        new = [_invitation(number) for number in range(first, first + 6)]
        self.invited |= {each.id: each for each in new}
        self.invited_at |= {each.id: clock() for each in new}
        again = self.random.choice(list(self.invited.values()))
        self.group.records += as_records(KAFKA, [*new, again])


def _account(name: str, scenario: Scenario) -> Account:
    auth: dict[str, Any] = {"method": "static_token", "token": "t"}
    if name == "app":
        auth = {"method": "authorized_app", "client_id": "i", "client_secret": "s"}
    return Account(
        base_url=f"https://{name}",
        auth=auth,
        limits=LIMITS,
        max_recipients_per_call=scenario.at_once,
        answers={"results": {"path": "rejected"}},  # type: ignore[arg-type]
        unknown_outcome=scenario.policy,
        connect_timeout=5.0,
        timeout=20.0,
    )


def _invitation(number: int) -> Invitation:
    suppressed = Suppression.OPTED_OUT if number % 7 == 3 else None
    return invitation(number, account=("main", "app", HEALTHY)[number % 3], suppressed=suppressed)


async def _nothing(*_: object) -> None:
    """A check that finds that Kafka has everything that a stage needs."""


async def _no_holes(*_: object) -> list[Any]:
    return []


def run(world: World) -> None:
    """Plays the world's scenario to the end."""
    with _simulated(world), asyncio.Runner(loop_factory=ProcessLoop) as runner:
        runner.run(world.play())


@contextmanager
def _simulated(world: World) -> Iterator[None]:
    """Replaces the outside world, and the clock where the stage does not take it as an argument."""
    wall = SimpleNamespace(now=lambda zone: datetime.fromtimestamp(now(), zone))
    hooks = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([])
    with pytest.MonkeyPatch.context() as patch:
        world.parking.patch(patch)
        patch.setattr(connection, "AIOKafkaProducer", world.producer)
        patch.setattr(ledger, "read_back", world.kafka.read_back)
        patch.setattr(stage_worker, "faust_app", world.group.faust_app)
        patch.setattr(stage_worker, "preflight", SimpleNamespace(require=_nothing))
        patch.setattr(stage_worker, "holes", _no_holes)
        patch.setattr(stage_worker, "Watch", lambda *_: SimpleNamespace(run=lambda _: asyncio.Event().wait(), lag=None))
        patch.setattr(send, "datetime", wall)
        patch.setattr(_account_sender, "datetime", wall)
        patch.setattr(send, "time", SimpleNamespace(monotonic=clock))
        patch.setattr(send, "StackedLimiter", partial(StackedLimiter, clock=clock))
        patch.setattr(pisano, "AuthorizedApp", partial(pisano.AuthorizedApp, clock=now))
        yield
    stamina.instrumentation.set_on_retry_hooks(hooks)
