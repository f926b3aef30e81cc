"""The console without a broker: made-up looks at the service, and a client for its pages."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from connector.config import Config
from connector.console.app import make_app
from connector.console.aside import Aside
from connector.console.collector import Collector
from connector.console.desk import Desk
from connector.console.login import Door
from connector.operate.status import Status
from helpers.config_files import MINIMAL, read

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LOGIN = """
console:
  users:
    ada: {token: hunter2-of-ada-hunter2, role: operator}
    bob: {token: hunter2-of-bob-hunter2}
"""

Client = TestClient[web.Request, web.Application]


def made_up_status(**changes: Any) -> Status:
    """A service that works; `changes` replace its parts."""
    figures = {"members": 1, "ready": 1, "workers": 1, "lag": 0, "lag_seconds": 0.0, "in_flight": 0, "parked": 0}
    windows = [{"seconds": each, "limit": 4 * each, "used": 2} for each in (5.0, 25.0, 125.0, 625.0)]
    whole: dict[str, Any] = {
        "at": NOW,
        "stages": [{"stage": name, **figures, "per_minute": 3.0} for name in ("capture", "trigger", "send")]
        + [{"stage": name, **figures, "per_minute": 0.0} for name in ("receive", "write")],
        "accounts": [{"account": "main", "windows": windows, "closed_for": None, "waiting": 0, "token_age": 60.0}],
        "channels": [{"channel": "/data/CaseChangeEvent", "position_age": 90.0, "kept": 259_200.0}],
        "salesforce": {"api": {"used": 10, "limit": 1000}, "token_age": 60.0},
        "held": [],
        "outcomes": [{"outcome": "sent", "reason": None, "1h": 3, "24h": 30, "7d": 300}],
        "dead_letters": [{"stage": "send", "reason": "rejected", "1h": 0, "24h": 1, "7d": 2}],
        "errors": [],
        "workers": {"http://127.0.0.1:8080": {"stages": {}}},
    }
    return Status(**(whole | changes))


class MadeUpBoard:
    """Says `status`, or raises `error` when it looks at Kafka."""

    def __init__(self) -> None:
        self.status = made_up_status()
        self.error: Exception | None = None
        self.looks = 0
        self.glances = 0

    async def look(self) -> Status:
        self.looks += 1
        if self.error:
            raise self.error
        return self.status

    async def glance(self) -> Status:
        self.glances += 1
        return self.status

    def outcomes_over_time(self, _: str, bars: int) -> Sequence[tuple[datetime, Mapping[str, int]]]:
        begin = NOW - timedelta(minutes=bars)
        return [(begin + timedelta(minutes=number), {"sent": number % 3}) for number in range(bars)]


class Turns:
    """A sleep that ends only when the test says so."""

    def __init__(self) -> None:
        self._next = asyncio.Semaphore(0)

    async def sleep(self, _: float) -> None:
        await self._next.acquire()

    def turn(self) -> None:
        self._next.release()


@asynccontextmanager
async def console(
    folder: Path, settings: str = "", *, board: MadeUpBoard | None = None, clock: Any = lambda: 0.0
) -> AsyncIterator[tuple[Client, Desk, Turns]]:
    """A client of a console whose Kafka is away. The console looks at the service when `turn` is called."""
    config = read(folder, MINIMAL.replace("localhost:9092", "127.0.0.1:1") + settings)
    turns = Turns()
    collector = Collector(board or MadeUpBoard(), sleep=turns.sleep)
    desk = Desk(config, collector, Door(config.console, "root", clock), Aside())
    async with TestClient(TestServer(make_app(desk))) as client:
        await collector.newer(1, 10.0)  # the first look at Kafka, and the first at the workers
        yield client, desk, turns


async def log_in(client: Client, name: str) -> None:
    answer = await client.post("/login", data={"token": f"hunter2-of-{name}-hunter2"}, allow_redirects=False)
    assert answer.status == 303, await answer.text()


async def seal(client: Client, path: str = "/surveys") -> str:
    """What the forms of the person's pages carry."""
    found = re.search(r'name="seal" value="([0-9a-f]{64})"', await (await client.get(path)).text())
    assert found, "no form"
    return found[1]


__all__ = ["LOGIN", "Client", "Config", "MadeUpBoard", "Turns", "console", "log_in", "made_up_status", "seal"]
