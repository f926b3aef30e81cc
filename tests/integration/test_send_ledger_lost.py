"""A sender that has lost its ledger opens it again after a pause, and sends nothing twice because of that."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.invitations import CAMPAIGN, KEYS, as_records, invitation, outcomes
from helpers.plans import carry_out
from helpers.protection import NO_RECHECK, protection
from helpers.service import Setup, set_up
from helpers.waiting import PATIENCE, until

from connector.cells import Cells
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.inbound import InRecord
from connector.kafka.ledger import Ledger
from connector.observe.metrics import Metrics
from connector.protection import Memory
from connector.reasons import Reason
from connector.records import Invitation, Outcome
from connector.retry import until_it_works
from connector.sandbox.doubles.pisano import Fault, PisanoDouble
from connector.stages._batches import Entry
from connector.stages._endings import settlement
from connector.stages.send import Send

PARTITION = 0
RECORD = InRecord("pisano.invitations", PARTITION, 0, b"main", b"", (), 0.0)
ACCOUNT: dict[str, Any] = {"limits": ["10000/5s"], "limit_padding": 0}


@pytest.fixture
def may_answer() -> asyncio.Event:
    """Pisano's late answers come only once this is set."""
    return asyncio.Event()


@pytest.fixture
async def pisano(may_answer: asyncio.Event) -> AsyncIterator[PisanoDouble]:
    async def sleep(_: float) -> None:
        await may_answer.wait()

    async with PisanoDouble(windows=((10_000, 5.0),), sleep=sleep) as double:
        double.add_campaign(CAMPAIGN, KEYS)
        double.configure(invitation_key="sf_ref_id")
        yield double


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble) -> Setup:
    return await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, account=ACCOUNT)


async def _none(_: object) -> list[str]:
    return []


class Stage:
    """The stage without its consumer: the tests hand records to it. `pauses`: the seconds that it slept each time."""

    def __init__(self, setup: Setup, http: httpx.AsyncClient) -> None:
        self.pauses: list[float] = []
        self.opened = 0
        self._setup = setup
        self.send = Send(
            setup.config.pisano,
            self._open,
            http,
            grace=10.0,
            dead_letter=DeadLetters(setup.kafka, "send", lambda *_: None).of_record,
            metrics=Metrics(),
            sleep=self._sleep,
            cells=Cells(),
            protection=protection(),
            accounts_of=_none,
            recheck=NO_RECHECK,
        )

    async def _open(self, account: str, partition: int, calls_since: datetime, memory: Memory) -> Ledger:
        self.opened += 1
        return await Ledger.open(self._setup.kafka, account, partition, calls_since, memory)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def handle(self, invitation: Invitation) -> None:
        (record,) = as_records(self._setup.kafka, [invitation])
        async for attempt in until_it_works():  # as StageWorker does
            with attempt:
                await carry_out(
                    self.send.plan,
                    InRecord(record.topic, PARTITION, 0, record.key, record.value, tuple(record.headers), 0.0),
                )


@pytest.fixture
async def stage(setup: Setup) -> AsyncIterator[Stage]:
    async with httpx.AsyncClient() as http:
        stage = Stage(setup, http)
        yield stage
        await stage.send.settle({("pisano.invitations", PARTITION)})


async def lose_the_ledger(setup: Setup) -> None:
    await (await Ledger.open(setup.kafka, "main", PARTITION, datetime.now(UTC))).close()


async def test_whatever_waits_is_settled_once_after_the_ledger_was_opened_again(
    setup: Setup, stage: Stage, pisano: PisanoDouble
) -> None:
    """send notices the loss at a suppressed invitation, which needs no call, while others wait for their calls."""
    await stage.handle(invitation(0))
    await lose_the_ledger(setup)
    suppressed = invitation(1, suppressed=Reason.OPTED_OUT)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(stage.handle(made_up) for made_up in (suppressed, *map(invitation, range(2, 6)))))
    assert stage.pauses == [15.0]
    found = await outcomes(setup.kafka)
    assert found.pop(suppressed.id) == Counter(suppressed=1)
    assert list(found.values()) == [Counter(sent=1)] * 5
    assert len(pisano.emails()) == 5


async def test_the_end_of_a_call_that_could_not_be_written_is_written_later(
    setup: Setup, stage: Stage, pisano: PisanoDouble, may_answer: asyncio.Event
) -> None:
    """No other worker owned the account in between, so this worker's knowledge counts: sent, not unknown."""
    await stage.handle(invitation(0))
    pisano.fail(Fault(calls="email_sharings", sent=True, delay=1.0))
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(stage.handle(invitation(1)))
        await until(lambda: len(pisano.emails()) == 2)
        await lose_the_ledger(setup)
        may_answer.set()
    assert await outcomes(setup.kafka) == {invitation(number).id: Counter(sent=1) for number in range(2)}
    assert len(pisano.emails()) == 2


async def test_what_an_owner_in_between_decided_stands(
    setup: Setup, stage: Stage, pisano: PisanoDouble, may_answer: asyncio.Event
) -> None:
    """The other owner found the call begun but not settled, and held it. This worker then adds no second outcome."""
    await stage.handle(invitation(0))
    pisano.fail(Fault(calls="email_sharings", sent=True, delay=1.0))
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(stage.handle(invitation(1)))
        await until(lambda: len(pisano.emails()) == 2)
        owner = await Ledger.open(setup.kafka, "main", PARTITION, datetime.now(UTC))
        attempt = owner.unsettled(invitation(1).id)
        held = settlement(
            Entry(invitation(1), RECORD, 1),
            Outcome.UNKNOWN,
            datetime.now(UTC),
            reason=Reason.NO_CLEAR_END,
            detail="held",
            attempt=attempt,
        )
        await owner.settle(None, [held])
        await owner.close()
        may_answer.set()
    found = await outcomes(setup.kafka)
    assert found[invitation(1).id] == Counter(unknown=1)
    assert len(pisano.emails()) == 2


async def test_a_partition_that_is_given_away_is_not_opened_again(
    setup: Setup, stage: Stage, pisano: PisanoDouble, may_answer: asyncio.Event
) -> None:
    """If this worker opened the ledger again, it would fence the worker that has the partition next."""
    await stage.handle(invitation(0))
    pisano.fail(Fault(calls="email_sharings", sent=True, delay=1.0))
    waiting = [asyncio.create_task(stage.handle(invitation(number))) for number in range(1, 4)]
    await until(lambda: len(pisano.emails()) == 2)
    await lose_the_ledger(setup)
    may_answer.set()
    await stage.send.settle({("pisano.invitations", PARTITION)})
    assert stage.opened == 1
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert stage.opened == 1
