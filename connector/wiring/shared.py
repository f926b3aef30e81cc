"""What the stages of one process share: the clients, the metrics and the cells."""

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from typing import Any, Self

import httpx
import structlog

from connector import salesforce
from connector.cells import Cells
from connector.config import ClientCredentials, Config
from connector.errors import Fatal
from connector.kafka.awake import Awake
from connector.kafka.cell_work import CellWork, Plan
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.holes import Hole
from connector.kafka.inbound import InRecord
from connector.kafka.lots import Lots
from connector.kafka.parking import Parking
from connector.kafka.publisher import Publisher
from connector.kafka.skipped import Skipped
from connector.kafka.stage_worker import Beside, Settle, StageWorker, nothing
from connector.observe.metrics import Metrics
from connector.salesforce import RestClient, TokenSource
from connector.wiring.http_client import HttpClient
from connector.wiring.persons import PersonTopics

log = structlog.get_logger(__name__)


class Shared:
    """Make one per process and use it with `async with`. Nothing here waits for Kafka, Salesforce or Pisano."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.metrics = Metrics()
        self.cells = Cells(self.metrics.tell_held)
        self.skipped = Skipped(self.cells)
        self.publisher = Publisher(config.kafka)
        # aiokafka has one request to a broker under way at a time: what is parked must not stand before healthy work
        self.parking = Publisher(config.kafka)
        self.awake = Awake()
        self.persons = PersonTopics(config)
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.http = await self._resources.enter_async_context(HttpClient(self.metrics.saw_answer))
        self.tokens = _tokens(self.config, self.http)
        settings = self.config.salesforce
        self.rest = RestClient(
            self.tokens,
            self.http,
            client_name=settings.client_name,
            api_version=settings.rest_version,
            calls_per_second=settings.calls_per_second,
            timeout=settings.timeout,
        )
        self.metrics.watch_api(lambda: self.rest.api_usage)
        self._resources.push_async_callback(self._leave_kafka)
        for beside in (self.awake.run(), self.cells.say_what_is_held(self.publisher.answers)):
            self._resources.callback(asyncio.create_task(beside).cancel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    async def _leave_kafka(self) -> None:
        await asyncio.gather(self.publisher.stop(), self.parking.stop(), self.persons.stop())

    def topic(self, name: str) -> str:
        """The full name of a topic."""
        return self.config.kafka.topic_prefix + name

    def letters(self, stage: str) -> DeadLetters:
        """Makes the dead letters of a stage, and counts them."""
        return DeadLetters(self.config.kafka, stage, lambda *labels: self.metrics.dead_letters.labels(*labels).inc())

    def worker(
        self,
        name: str,
        topics: list[str],
        plan: Plan,
        *,
        in_flight: int,
        settle: Settle = nothing,
        drains: bool = True,
        keeps_order: bool = True,
        configured: Collection[str] = (),
        beside: Beside | None = None,
    ) -> StageWorker:
        """A worker of the stage `name`; see `StageWorker`, `CellWork` and `Lots`."""
        letters = self.letters(name)

        async def bury(record: InRecord, reason: str, error: Exception, cell: str) -> None:
            await self.publisher.send(letters.of_record(record, reason, error, cell))

        def say(hole: Hole) -> None:
            log.error("records_deleted_unread", stage=name, what=str(hole))
            self.metrics.records_deleted.labels(name).inc(max(1, hole.records))
            if self.config.kafka.on_deleted_records == "stop":
                raise Fatal(f"{hole}. Set the offset of the group {self.topic(name)}, or kafka.on_deleted_records.")

        parking = Parking(self.config.kafka, name, self.parking.send_all)
        lots = Lots(parking, in_flight, keeps_order=keeps_order, skipped=self.skipped)
        breaker = self.config.service.breaker.make
        work = CellWork(name, plan, bury, self.cells, keeps_order=keeps_order, configured=configured, breaker=breaker)
        options: dict[str, Any] = {"in_flight": in_flight, "lots": lots, "settle": settle, "drains": drains}
        options |= {"on_hole": say, "beside": beside}
        worker = StageWorker(name, self.config.kafka, topics, work, **options)
        self.metrics.records_deleted.labels(name)  # Prometheus sees an increase only if there was a zero before
        self.metrics.in_flight.labels(name).set_function(lambda: worker.in_flight)
        self.metrics.lag.labels(name).set_function(lambda: worker.lag)
        self.metrics.lag_seconds.labels(name).set_function(lambda: worker.watch.lag_seconds)
        self.metrics.hanging.labels(name).set_function(lambda: worker.watch.hanging)
        self.metrics.finished.of[name] = lambda: worker.watch.finished
        self.metrics.parked.labels(name).set_function(lambda: lots.count)
        return worker


def _tokens(config: Config, http: httpx.AsyncClient) -> TokenSource:
    auth, login_url = config.salesforce.auth, config.salesforce.login_url
    if isinstance(auth, ClientCredentials):
        return salesforce.ClientCredentials(
            http, login_url, client_id=auth.client_id, client_secret=auth.client_secret.get_secret_value()
        )
    return salesforce.JwtBearer(
        http,
        login_url,
        client_id=auth.client_id,
        username=auth.username,
        private_key=auth.private_key.get_secret_value(),
        audience=auth.audience,
    )
