"""`connector run --stages receive --processes 2`: two processes share a port, and one of them is killed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from helpers import topics
from helpers.plain_http import plain_http
from helpers.service import WEBHOOK_SECRET, Process, Setup, Workers, set_up
from helpers.waiting import until

from connector.records import Feedback, read

PATH = "/pisano/main"
_SENDERS = 8


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str) -> Setup:
    (tmp_path / "spool").mkdir()
    service = {"host": "127.0.0.1", "port": "${SERVICE_PORT}", "spool": {"folder": str(tmp_path / "spool")}}
    return await set_up(tmp_path, bootstrap_servers, unique, service=service)


@pytest.fixture
def parent(tmp_path: Path, setup: Setup) -> Iterator[Process]:
    process = Process(setup, "receive", tmp_path / "log", "--processes", "2")
    yield process
    process.kill()  # its children find out and stop


def children(parent: Process) -> list[dict[str, Any]]:
    """What each child that has started so far logged: `address`, `figures` and `pid`."""
    lines = [line for line in parent.said().splitlines(keepends=True) if line.endswith("}\n")]
    return [said for line in lines if (said := orjson.loads(line))["event"] == "started"]


async def taken(child: dict[str, Any]) -> float:
    """How many webhooks this child has answered with a 200."""
    async with plain_http() as http:
        page = (await http.get(f"{child['figures']}/metrics")).text
    name = 'connector_webhooks_total{account="main",answer="200"} '
    return next(float(line.removeprefix(name)) for line in page.splitlines() if line.startswith(name))


class Senders:
    """Sends webhooks, each over its own connection, until it is stopped. `stored` are those that got a 200."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._sent = 0
        self.stored: set[int] = set()

    @asynccontextmanager
    async def sending(self) -> AsyncIterator["Senders"]:
        tasks = [asyncio.create_task(self._send()) for _ in range(_SENDERS)]
        yield self
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended

    async def more(self, count: int) -> None:
        """Waits until this many more are stored."""
        wanted = len(self.stored) + count
        await until(lambda: len(self.stored) >= wanted)

    async def _send(self) -> None:
        while True:
            self._sent += 1
            number = self._sent
            try:
                async with plain_http(headers={"X-Webhook-Secret": WEBHOOK_SECRET}) as http:
                    answer = await http.post(self._address + PATH, json={"sf_ref_id": str(number), "nps_score": number})
            except httpx.TransportError:
                await asyncio.sleep(0.01)
                continue
            if answer.status_code == 200:  # anything else promises nothing, and comes while a process ends
                self.stored.add(number)


async def on_topic(setup: Setup) -> set[int]:
    records = await topics.read(setup.kafka, "pisano.feedback")
    return {read(Feedback, record.value).body["nps_score"] for record in records}


async def test_one_of_two_is_killed_the_other_goes_on_and_every_webhook_with_a_200_is_stored(
    setup: Setup, parent: Process, tmp_path: Path
) -> None:
    """Then the killed one is there again, and SIGTERM lets both answer what they have taken.

    What a process has taken before it was connected to Kafka may be in the spool then, for the next start.
    """
    await until(lambda: len(children(parent)) == 2)
    first, second = children(parent)
    assert first["address"] == second["address"]
    assert first["figures"] != second["figures"]
    senders = Senders(first["address"])
    async with senders.sending():
        await until(lambda: both_take(first, second))
        os.kill(first["pid"], signal.SIGKILL)
        before = await taken(second)
        await senders.more(50)
        assert await taken(second) > before
        await until(lambda: len(children(parent)) == 3)
        third = children(parent)[2]
        assert third["address"] == first["address"]
        await until(lambda: both_take(second, third))
        assert await parent.drain() == 0
    assert parent.said().count('"stopped"') == 2

    async def all_are_on_the_topic() -> bool:
        return senders.stored <= await on_topic(setup)

    with Workers(setup, "receive", tmp_path / "next") as workers:
        workers.start()
        await until(all_are_on_the_topic)


async def both_take(*both: dict[str, Any]) -> bool:
    return all([await taken(child) > 0 for child in both])


async def test_the_shared_port_has_no_page_of_one_process_and_each_has_its_own(parent: Process) -> None:
    await until(lambda: len(children(parent)) == 2)
    async with plain_http() as http:
        for child in children(parent):
            assert (await http.get(f"{child['address']}/healthz")).json() == {"alive": True}
            assert (await http.get(f"{child['figures']}/readyz/receive")).status_code in {200, 503}
            assert "stages" in (await http.get(f"{child['figures']}/status")).json()
            for page in ("metrics", "status"):
                assert (await http.get(f"{child['address']}/{page}")).status_code == 404


async def test_children_stop_when_their_parent_is_killed(parent: Process) -> None:
    await until(lambda: len(children(parent)) == 2)
    parent.kill()
    await until(lambda: parent.said().count('"stopped"') == 2)


async def test_a_port_that_another_service_has_ends_all_with_2(setup: Setup, parent: Process, tmp_path: Path) -> None:
    """Also when the other one shares its port among processes; and when only the port of one process is taken."""
    await until(lambda: len(children(parent)) == 2)
    port = int(children(parent)[0]["address"].rpartition(":")[2])
    for wanted in (port, port_before(children(parent)[0]["figures"])):
        taken_port = Setup(setup.file, {**setup.environ, "SERVICE_PORT": str(wanted)}, setup.config)
        other = Process(taken_port, "receive", tmp_path / f"other-{wanted}", "--processes", "2")
        await until(lambda other=other: not other.runs)  # type: ignore[misc]
        assert other.exit_code == 2
        assert "cannot listen on" in other.said()


def port_before(address: str) -> int:
    return int(address.rpartition(":")[2]) - 1


async def test_processes_are_for_receive_alone(setup: Setup, tmp_path: Path) -> None:
    process = Process(setup, "receive,write", tmp_path / "log", "--processes", "2")
    await until(lambda: not process.runs)
    assert process.exit_code == 2
    assert "--stages receive alone" in process.said()
