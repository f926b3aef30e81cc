"""Workers that send invitations, and their faults, in simulated time, for tests/unit/test_send_simulated.py."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any, Literal

import httpx
import pytest
from hypothesis import strategies as st

from connector import pisano
from connector.cells import Cells
from connector.config import Account, Kafka
from connector.errors import Retryable
from connector.kafka import connection, ledger, waiting
from connector.kafka.cell_work import CellWork
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.inbound import InRecord
from connector.kafka.ledger import ATTEMPTS, Ledger, read_entry
from connector.kafka.lots import Lots
from connector.kafka.parking import Parking
from connector.kafka.stage_worker import StageWorker
from connector.limits import StackedLimiter, Window
from connector.observe.metrics import Metrics
from connector.protection import CLAIMS, ContactProtection
from connector.reasons import Reason
from connector.records import Invitation, Settlement
from connector.stages import _account_sender, send
from helpers import simulated_play
from helpers.invitations import as_records, invitation
from helpers.processes import name_of_this
from helpers.protection import NO_RECHECK, protection
from helpers.simulated_faust import TOPIC, patch_faust
from helpers.simulated_group import Group
from helpers.simulated_kafka import SimulatedKafka
from helpers.simulated_parking import SimulatedParking
from helpers.simulated_pisano import HEALTHY, SimulatedPisano
from helpers.simulated_play import Happening
from helpers.simulated_workers import LONGEST, Worker, Workers, clock, run_stage

KAFKA = Kafka(bootstrap_servers="nowhere:9092")
LIMITS = (Window(4, 5.0), Window(8, 30.0))
GRACE = 25.0  # seconds
STARTS = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
ENDS_WITHIN = 2_500.0  # seconds after the last fault: a held account is probed every 300 s

LINKS = "pisano.feedback"

ORDERLY = ("invite", "start", "stop", "rebalance")
ACCOUNTS = ("main", "app", HEALTHY)
FAULTS = {"no rights": 401, "no campaign": 404, "no provider": 422, "away": 503, "mend": 0}

_entry = lru_cache(10_000)(read_entry)  # the world looks at all of them each second


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


happenings = partial(simulated_play.happenings, gap=15, longest=LONGEST)


def scenarios(at_once: Sequence[int], happenings: st.SearchStrategy[list[Happening]]) -> st.SearchStrategy[Scenario]:
    """Scenarios with these happenings; `at_once` has the choices for the recipients in one call."""
    return st.builds(
        Scenario,
        seed=st.integers(0, 2**32),
        policy=st.sampled_from(["hold", "hold", "resend", "drop"]),
        trouble=st.tuples(st.sampled_from([0.0, 0.01, 0.05]), st.sampled_from([0.0, 0.0, 0.1, 0.3])),
        at_once=st.sampled_from(at_once),
        in_flight=st.sampled_from([2, 100]),
        happenings=happenings,
    )


def now() -> float:
    return STARTS + clock()


class World(Workers):
    """Plays a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario.seed)
        self.scenario = scenario
        self.kafka = SimulatedKafka(self.random, scenario.trouble[0], self.say)
        self.group = Group(self.random, self.say)
        self.parking = SimulatedParking(self.random)
        self.pisano = SimulatedPisano(self.random, scenario.trouble[1], self.say)
        self.accounts = {name: _account(name, scenario) for name in ACCOUNTS}
        self.invited: dict[str, Invitation] = {}
        self.invited_at: dict[str, float] = {}
        self.mistakes: list[str] = []

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        """Replaces the outside world, and the clock where the stage does not take it as an argument."""
        wall = SimpleNamespace(now=lambda zone: datetime.fromtimestamp(now(), zone))
        patch_faust(patch, self.group)
        self.parking.patch(patch)
        patch.setattr(connection, "AIOKafkaProducer", self.producer)
        patch.setattr(ledger, "read_back_lots", self.kafka.read_back_lots)
        patch.setattr(waiting, "read_back_lots", self.kafka.read_back_lots)
        patch.setattr(waiting, "_records", self.kafka.read_at)
        patch.setattr(send, "datetime", wall)
        patch.setattr(_account_sender, "datetime", wall)
        patch.setattr(send, "time", SimpleNamespace(monotonic=clock))
        patch.setattr(send, "StackedLimiter", partial(StackedLimiter, clock=clock))
        patch.setattr(pisano, "AuthorizedApp", partial(pisano.AuthorizedApp, clock=now))

    async def main(self, stopping: asyncio.Event) -> None:
        async def all_accounts(_: int) -> tuple[str, ...]:
            return ACCOUNTS

        letters = DeadLetters(KAFKA, "send", lambda *_: None)
        guard = self.protection()

        async def claims_to(*_: object) -> None:
            await self.read_claims(guard)

        async with httpx.AsyncClient(transport=httpx.MockTransport(self.pisano.handle), trust_env=False) as http:
            stage = send.Send(
                self.accounts,
                partial(Ledger.open, KAFKA),
                http,
                grace=GRACE,
                dead_letter=letters.of_record,
                metrics=Metrics(),
                cells=(cells := Cells()),
                protection=guard,
                accounts_of=all_accounts,
                caught_up=claims_to,
                claims_to=claims_to,
                recheck=NO_RECHECK,
            )
            worker = StageWorker(
                "send",
                KAFKA,
                [TOPIC.topic],
                CellWork("send", stage.plan, self.bury, cells, keeps_order=False),
                in_flight=self.scenario.in_flight,
                lots=Lots(Parking(KAFKA, "send", self.parking.park), self.scenario.in_flight, keeps_order=False),
                settle=stage.settle,
                drains=False,
                beside=stage.beside,
            )
            await run_stage(worker, stopping, GRACE)

    def producer(self, **arguments: Any) -> Any:
        """Opens a worker's ledger, which fences the earlier owner. A worker that lets go must not do this."""
        if name_of_this() in self.group.letting_go:
            self.mistakes.append(f"{name_of_this()} opens a ledger while it lets go of the partition")
        return self.kafka.producer(**arguments)

    async def bury(self, _: InRecord, reason: str, error: Exception, __: str) -> None:
        raise AssertionError(f"{reason}: {error!r}") from error

    async def beside(self) -> None:
        await self.group.run()

    async def story(self) -> None:
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
        self.start_if_none_is_left()
        async with asyncio.timeout(ENDS_WITHIN):
            while self.group.position < len(self.group.records) or not self.all_settled():
                await asyncio.sleep(1)
                self.raise_failures()
            for worker in self.workers:
                worker.stopping.set()
                await worker.ended

    async def read_claims(self, guard: ContactProtection) -> None:
        """Reads the whole topic, as often as it takes."""
        while guard.claims is not None:
            try:
                async for record in self.kafka.read_back(None, CLAIMS, 0):
                    guard.claims.take(record.key, record.value, record.offset)
            except Retryable:
                await asyncio.sleep(1)
            else:
                return

    def protection(self) -> ContactProtection:
        """What a worker's configuration says."""
        return protection()

    def invitation(self, number: int) -> Invitation:
        suppressed = Reason.OPTED_OUT if number % 7 == 3 else None
        return invitation(number, account=ACCOUNTS[number % 3], suppressed=suppressed, **self.channel(number))

    def channel(self, number: int) -> dict[str, str | None]:
        """E-mails, SMS and links take turns."""
        channel = ("email", "sms", "link")[number // 3 % 3]
        return {"channel": channel, **({"email": None, "phone": f"+90533{number:07}"} if channel == "sms" else {})}

    def settled_at(self) -> dict[str, float]:
        """When the outcome of each invitation was written."""
        found: dict[str, float] = {}
        for at, record in self.kafka.committed_at:
            if record.topic == ATTEMPTS and isinstance(entry := _entry(record.value or b""), Settlement):
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
        simple = {"invite": self.invite, "start": self.start, "rebalance": self.group.rebalance}
        if happening.what in simple:
            simple[happening.what]()
        elif happening.what in FAULTS:
            self.say(f"account {happening.whom}: {happening.what}")
            self.pisano.faults[("main", "app")[happening.whom % 2]] = FAULTS[happening.what]
        else:
            self.befall(happening)

    def befall_worker(self, worker: Worker, happening: Happening) -> None:
        super().befall_worker(worker, happening)
        if happening.what == "cut off":
            self.group.cut_off[worker.name] = clock() + happening.seconds

    def invite(self) -> None:
        """Adds six invitations, and repeats one of the earlier ones."""
        first = len(self.invited)
        new = [self.invitation(number) for number in range(first, first + 6)]
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
