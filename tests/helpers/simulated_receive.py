"""Workers that receive webhooks, and their faults, in simulated time, for tests/unit/test_receive_simulated.py.

Kafka is in memory, and a webhook comes without a socket. The stage with its spool and its publisher, and the SQLite
file are the real ones. The workers share one folder, as two processes do while one replaces the other.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAuthorizationFailedError
from multidict import CIMultiDict

from connector.config import Account, Kafka, Service
from connector.kafka.dead_letters import DEAD_LETTERS, DeadLetters
from connector.observe.metrics import Metrics
from connector.spool._file import SpoolFile
from connector.wiring.receive import Receiving
from helpers.processes import name_of_this
from helpers.simulated_disk import SimulatedDisk
from helpers.simulated_kafka import SimulatedKafka
from helpers.simulated_play import Happening
from helpers.simulated_publisher import patch_producer
from helpers.simulated_workers import LONGEST, Worker, Workers, clock

KAFKA = Kafka(bootstrap_servers="nowhere:9092")
TOPIC = "pisano.feedback"
SECRET = "a-made-up-secret"
HEALTHY, BAD = "main", "other"  # the second account's webhooks are all bad
LARGEST = {TOPIC: 4_000, DEAD_LETTERS: 6_000}  # bytes of a record that Kafka takes
MAX_BODY = 8_000  # bytes
READY = 1.0  # seconds until a worker whose port has opened gets webhooks
IMPATIENT = 30.0  # seconds until Pisano stops waiting for an answer
SETTLED = 100.0  # seconds until the spool is empty after Kafka came back: a new connection is tried every 60 s
ENDS_WITHIN = 300.0

ORDERLY = ("webhooks", "webhooks", "start", "stop")
LOSSES = ("kill", "freeze")
OF_KAFKA = ("kafka fails", "kafka hangs", "kafka back")
OF_DISK = ("slow", "full", "broken", "disk mended")

BAD_KINDS = ("unreadable", "large", "too large", "wrong secret", "cut off", "endless")


@dataclass(frozen=True)
class Scenario:
    seed: int
    room: int  # bytes of the spool
    trouble: float  # share of the requests to Kafka that meet a fault
    happenings: list[Happening]

    def has(self, *what: str) -> bool:
        return not {each.what for each in self.happenings}.isdisjoint(what)

    def kafka_is_well(self) -> bool:
        return self.trouble == 0 and not self.has(*OF_KAFKA)


@dataclass
class Webhook:
    """One webhook and its answer, if there was one. `sender` sends one after the other."""

    account: str
    kind: str
    body: bytes = field(repr=False)
    sender: int
    sent_at: float
    took: float = 0.0  # seconds until the answer
    status: int | None = None
    retry_after: str | None = None


class World(Workers):
    """Plays a scenario. `webhooks` are all that were sent; Kafka takes everything from the `last` of them on.

    `is_drained`: the spool was empty by then. `waiting` records stay in the file at the end, and `slowest_start` is the
    most seconds until a port opened.
    """

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario.seed)
        self.scenario = scenario
        self.kafka = SimulatedKafka(self.random, scenario.trouble, self.say)
        self.disk = SimulatedDisk(self.random)
        self.webhooks: list[Webhook] = []
        self.last = self.waiting = 0
        self.is_drained = False
        self.slowest_start = 0.0
        self._ready_at: dict[str, float] = {}
        self._senders: list[asyncio.Task[None]] = []
        self._routes: dict[str, list[web.RouteDef]] = {}  # of the workers that take webhooks
        self._open: dict[str, set[asyncio.Task[web.Response]]] = {}
        self._folder = tempfile.TemporaryDirectory()
        self._accounts = {name: _account(name) for name in (HEALTHY, BAD)}

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        patch_producer(patch, self.kafka, LARGEST)
        self.disk.patch(patch)

    async def main(self, stopping: asyncio.Event) -> None:
        name = name_of_this()
        receiving = Receiving(self._shared())
        began_at = clock()
        await receiving.start()
        self.slowest_start = max(self.slowest_start, clock() - began_at)
        self._routes[name], self._open[name], self._ready_at[name] = receiving.routes(), set(), clock() + READY
        await stopping.wait()
        del self._routes[name]
        if open_ := self._open[name]:
            await asyncio.wait(open_, timeout=10)
        await receiving.stop()

    def _shared(self) -> Any:
        service = Service.model_validate({"spool": {"folder": self._folder.name, "max_bytes": self.scenario.room}})
        return SimpleNamespace(
            config=SimpleNamespace(kafka=KAFKA, pisano=self._accounts, service=service),
            metrics=Metrics(),
            letters=lambda stage: DeadLetters(KAFKA, stage, lambda *_: None),
            topic=lambda name: name,
        )

    async def story(self) -> None:
        try:
            await self._play_scenario()
            await self._drain()
        finally:
            self.disk.close()
            self._folder.cleanup()

    async def _play_scenario(self) -> None:
        self.start()
        await asyncio.sleep(2 * READY)
        for happening in self.scenario.happenings:
            await asyncio.sleep(happening.after)
            self.say(f"{happening.what} {happening.whom}")
            self.make_happen(happening)
        await asyncio.sleep(LONGEST if self.scenario.has("freeze") else 0)  # after this no worker is frozen
        self.lose_kafka(None)
        self.kafka.trouble = 0.0
        self.start_if_none_is_left()
        await asyncio.sleep(SETTLED)
        if not self.scenario.has(*OF_DISK):
            with self._file() as file:
                self.is_drained = file.is_empty()
        self.last = len(self.webhooks)
        self.send()
        await asyncio.gather(*self._senders)

    async def _drain(self) -> None:
        """Mends the disk and starts a new worker, as a person does: a spool that has given up stays off until then."""
        self.say("all is well")
        self.disk.mend()
        for worker in self.workers:
            worker.stopping.set()
            await worker.ended
        self.start()
        with self._file() as file:
            async with asyncio.timeout(ENDS_WITHIN):
                while not file.is_empty():  # noqa: ASYNC110 - the file cannot tell
                    await asyncio.sleep(1)
            self.waiting = file.total().records
        self.raise_failures()

    def _file(self) -> "closing[SpoolFile]":
        return closing(SpoolFile(Path(self._folder.name), self.scenario.room))

    def make_happen(self, happening: Happening) -> None:
        simple = {"webhooks": self.send, "start": self.start, "disk mended": self.disk.mend}
        errors = (KafkaConnectionError(), TopicAuthorizationFailedError(), KafkaError("Unexpected error"))
        if happening.what in simple:
            simple[happening.what]()
        elif happening.what in OF_KAFKA:
            self.lose_kafka(errors[happening.whom] if happening.what == "kafka fails" else None)
            self.kafka.hangs = happening.what == "kafka hangs"
        elif happening.what == "slow":
            self.disk.slow = (1.0, 4.0, 60.0)[happening.whom]
        elif happening.what in OF_DISK:
            setattr(self.disk, happening.what, True)
        else:
            self.befall(happening)

    def lose_kafka(self, error: Exception | None) -> None:
        """From now on every request to Kafka ends with this error; with None Kafka is well."""
        self.kafka.error, self.kafka.hangs = error, False

    def befall_worker(self, worker: Worker, happening: Happening) -> None:
        super().befall_worker(worker, happening)
        if happening.what == "kill":
            self._routes.pop(worker.name, None)
            self.disk.unlock(worker.name)

    def send(self) -> None:
        """Each account gets some webhooks, one after the other. Pisano sends some of them twice."""
        for account in (HEALTHY, BAD):
            sender = len(self._senders)
            self._senders.append(asyncio.create_task(self._send(account, sender, self.random.choice((1, 2, 5)))))

    async def _send(self, account: str, sender: int, count: int) -> None:
        for number in range(count):
            kind = "good" if account == HEALTHY else self.random.choice(BAD_KINDS)
            body = _body(kind, f"{sender}-{number}", self.random)
            for _ in range(self.random.choice((1, 1, 1, 2))):
                self.webhooks.append(webhook := Webhook(account, kind, body, sender, clock()))
                await self._deliver(webhook)

    async def _deliver(self, webhook: Webhook) -> None:
        there = [each for each in self.ever if each.name in self._routes and clock() >= self._ready_at[each.name]]
        if not there:
            await asyncio.sleep(1)
            return
        worker = self.random.choice(there)
        (route,) = (each for each in self._routes[worker.name] if each.path.startswith(f"/pisano/{webhook.account}"))
        answer = worker.process.start(route.handler(_Request(webhook)))  # type: ignore[arg-type]
        self._open[worker.name].add(answer)
        answer.add_done_callback(self._open[worker.name].discard)
        await asyncio.wait({answer}, timeout=IMPATIENT)
        if answer.done():
            response = answer.result()
            webhook.status, webhook.retry_after = response.status, response.headers.get("Retry-After")
            webhook.took = clock() - webhook.sent_at
            self.say(f"{webhook.kind} {webhook.sender} to {worker.name}: {webhook.status}")


class _Request:
    """The part of aiohttp's request that the stage uses."""

    content_type = "application/json"
    charset = None

    def __init__(self, webhook: Webhook) -> None:
        secret = "wrong" if webhook.kind == "wrong secret" else SECRET
        self.headers = CIMultiDict({"X-Webhook-Secret": secret})
        self.match_info = {"secret": secret}
        self.content = self
        self._webhook = webhook

    def is_eof(self) -> bool:
        return self._webhook.kind not in {"endless", "cut off"}

    def read_nowait(self) -> bytes:
        return self._webhook.body

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self._webhook.body
        if self._webhook.kind == "endless":
            await asyncio.Event().wait()
        if self._webhook.kind == "cut off":
            raise web.RequestPayloadError


def _account(name: str) -> Account:
    secret_in = "header" if name == HEALTHY else "path"
    webhook = {"path": f"/pisano/{name}", "secret": SECRET, "secret_in": secret_in, "max_bytes": MAX_BODY}
    auth = {"method": "static_token", "token": "t"}
    return Account.model_validate({"base_url": f"https://{name}", "auth": auth, "webhook": webhook})


def _body(kind: str, name: str, random: Random) -> bytes:
    sizes = {"large": random.choice((4_500, 7_000)), "too large": 9_000}
    body = orjson.dumps({"sf_ref_id": name, "comment": "x" * sizes.get(kind, 10)})
    return body[:-1] if kind == "unreadable" else body
