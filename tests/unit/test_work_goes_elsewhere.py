"""A worker that loses a partition shows nothing of it any more: no held cell, and no invitations that wait."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx
from helpers.protection import NO_RECHECK, protection, survey
from helpers.simulated_loop import simulate
from helpers.simulated_sender import Ledger, Pisano, World

from connector.cells import Cells
from connector.config import Account
from connector.errors import Fatal
from connector.kafka.cell_work import CellWork
from connector.kafka.inbound import InRecord
from connector.observe.metrics import Metrics
from connector.protection import Memory
from connector.stages.send import Send

RECORD = InRecord("in", 0, 0, b"", b"", (), 0.0)
ACCOUNT = {"base_url": "http://127.0.0.1:1", "auth": {"method": "static_token", "token": "t"}}


async def bury(*_: object) -> None:
    raise AssertionError("there are no dead letters here")


async def refused() -> None:
    raise Fatal("no such field")


def test_a_cell_is_held_no_longer_once_its_work_is_gone() -> None:
    """Also its parent. A cell whose work waits stays held, and so does one that only shows something."""

    async def scenario() -> tuple[dict[str, str], dict[str, str], set[str]]:
        kafka_answers = asyncio.Event()

        async def answers() -> bool:
            return kafka_answers.is_set()

        shown: set[str] = set()
        cells = Cells(lambda name, _, held: shown.add(name) if held else shown.discard(name))
        work = CellWork("write", lambda _: {}, bury, cells)
        cells.at("write").hold(Fatal("the login is refused"), "configuration")
        cells.at("brake/main/closed-case").hold(Fatal("more than 50"), "brake")
        telling = asyncio.create_task(cells.say_what_is_held(answers))
        tasks = [asyncio.create_task(work.finish(RECORD, rule, refused)) for rule in ("one", "other")]
        cells.at("write/one").hold(Fatal("no such field"), "configuration")
        await asyncio.sleep(1_000)
        tasks[0].cancel()
        await asyncio.sleep(1_000)
        assert "write/one" in cells.held(), "while Kafka is away, nobody knows where the work is"
        kafka_answers.set()
        await asyncio.sleep(100)
        one_gone = cells.held()
        tasks[1].cancel()
        await asyncio.sleep(1_000)
        telling.cancel()
        return one_gone, cells.held(), shown

    one_gone, all_gone, shown = simulate(scenario())
    assert one_gone.keys() == {"write", "write/other", "brake/main/closed-case"}
    assert all_gone.keys() == shown == {"brake/main/closed-case"}


def test_nothing_of_an_account_waits_for_a_worker_that_gave_it_away() -> None:
    async def scenario() -> tuple[float | None, float | None]:
        world = World(Pisano())
        due = datetime.fromtimestamp(asyncio.get_running_loop().time(), UTC) + timedelta(days=1)
        world.ledger.waiting.agenda.put("closed-case", due, 7)
        await asyncio.sleep(60)
        before = world.metrics.value("waiting", account="main", survey="closed-case")
        await world.sender.close(1.0)
        return before, world.metrics.value("waiting", account="main", survey="closed-case")

    assert simulate(scenario(), tick=1e-6) == (1.0, None)


class Opened(Ledger):
    begun: frozenset[str] = frozenset()
    earlier_calls: dict[str, datetime] = {}  # noqa: RUF012 - there are none


def test_a_worker_that_gave_an_account_away_does_not_show_its_brake_and_its_outage() -> None:
    async def open_ledger(_: str, __: int, ___: datetime, memory: Memory) -> Any:
        memory.waits("closed-case", None, True)
        return Opened()

    async def accounts_of(_: int) -> list[str]:
        return ["main"]

    async def scenario() -> tuple[set[str], set[str]]:
        cells = Cells()
        async with httpx.AsyncClient() as http:
            stage = Send(
                {"main": Account.model_validate(ACCOUNT)},
                open_ledger,
                http,
                grace=1.0,
                dead_letter=cast(Any, bury),
                metrics=Metrics(),
                cells=cells,
                protection=protection(closed_case=survey(brake="50/1h")),
                accounts_of=accounts_of,
                recheck=NO_RECHECK,
            )
            beside = asyncio.create_task(stage.beside(cast(Any, RECORD), cast(Any, bury)))
            await asyncio.sleep(0.1)
            cells.at("send/main/(calls)").hold(Fatal("Pisano is away"), "outage")
            before = {*cells.held()}
            beside.cancel()
            await stage.settle({("pisano.invitations", 0)})
            return before, {*cells.held()}

    before, after = asyncio.run(scenario())
    assert before == {"brake/main/closed-case", "send/main/(calls)"}
    assert after == set()
