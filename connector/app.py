"""Wiring only: from a configuration to running stages, and from a request to stop to a drained end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

import httpx
import structlog

from connector import salesforce
from connector.awake import Awake
from connector.config import ClientCredentials, Config, catalogue
from connector.kafka import topics
from connector.kafka.channel_log import POSITIONS, ChannelLog
from connector.kafka.connection import Publisher
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.ledger import Ledger
from connector.kafka.read_back import read_back
from connector.kafka.shared_work import SharedWork
from connector.kafka.stage_worker import Handle, InRecord, Settle, StageWorker, nothing
from connector.observe.health import Server
from connector.observe.metrics import Metrics
from connector.records import Write, read
from connector.salesforce import CollectionWriter, PubSubClient, RestClient, TokenSource, client_of
from connector.spool import Spool
from connector.stages.capture import Capture
from connector.stages.receive import Receive
from connector.stages.send import Send
from connector.stages.trigger import Trigger
from connector.stages.write import WriteBack
from connector.surveys.invitations import SurveyRule
from connector.surveys.lookup import Lookup

log = structlog.get_logger(__name__)

STAGES = ("capture", "trigger", "send", "receive", "write")

_LEAVE = 10.0  # seconds to leave the consumer groups after draining; past it Kafka finds out by itself
_LOOK = 1.0  # seconds between looks at whether every stage still lives
_IN_FLIGHT = {"trigger": 400, "send": 1000, "write": 400}  # records in memory: two full SOQL or collections calls; send
# holds what waits for the limiter, and a call can only carry together what is here


class Runner(Protocol):
    """What runs a stage: a StageWorker or a SharedWork."""

    failure: asyncio.Future[None]

    @property
    def ready(self) -> bool: ...

    async def start(self) -> None: ...

    async def stop(self, drain: float) -> None: ...

    def check(self) -> None: ...


class App:
    """The chosen stages of a configuration on the running loop: `async with App(config) as app: await app.run(stop)`.

    Raises:
        Fatal: At start when the environment is not what the configuration says; later when a stage cannot go on.
    """

    def __init__(self, config: Config, stages: Collection[str] = STAGES) -> None:
        self.metrics = Metrics()
        self._config = config
        self._stages = stages
        self._runners: dict[str, Runner] = {}
        self._resources = AsyncExitStack()
        self._publisher = Publisher(config.kafka)
        self._awake = Awake()
        self._prefix = config.kafka.topic_prefix
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop(drain=0.0)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop(self._config.service.drain)

    @property
    def address(self) -> str:
        """Where webhooks, /healthz, /readyz and /metrics are served, such as http://127.0.0.1:8080."""
        return self._server.address if self._server else ""

    async def ready(self) -> dict[str, bool]:
        """Whether each stage can work as far as Kafka goes: Kafka answers, and the stage is a member of its group."""
        answers = await self._publisher.answers()
        return {name: answers and (name == "receive" or self._is_member(name)) for name in self._stages}

    def _is_member(self, name: str) -> bool:
        return name in self._runners and self._runners[name].ready

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set; raises what a stage failed with."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stopping.done():
                for runner in self._runners.values():
                    runner.check()
                watched: set[asyncio.Future[Any]] = {stopping, *(runner.failure for runner in self._runners.values())}
                await asyncio.wait(watched, timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
                for runner in self._runners.values():
                    if runner.failure.done():
                        runner.failure.result()
        finally:
            stopping.cancel()

    async def _start(self) -> None:
        config = self._config
        await topics.require(config.kafka, catalogue.topics_for(config))
        await self._publisher.start()
        self._resources.push_async_callback(self._publisher.stop)
        self._resources.callback(asyncio.create_task(self._awake.run()).cancel)
        http = await self._resources.enter_async_context(httpx.AsyncClient())
        tokens = _tokens(config, http)
        settings = config.salesforce
        rest = RestClient(
            tokens,
            http,
            client_name=settings.client_name,
            api_version=settings.rest_version,
            calls_per_second=settings.calls_per_second,
            timeout=settings.timeout,
        )
        receive = await self._receive() if "receive" in self._stages else None
        build: dict[str, Callable[[], Runner]] = {
            "capture": lambda: self._capture(tokens),
            "trigger": lambda: self._trigger(rest),
            "send": lambda: self._send(http),
            "write": lambda: self._write(rest),
        }
        for name in self._stages:
            if name in build:
                self._runners[name] = build[name]()
        await asyncio.gather(*(runner.start() for runner in self._runners.values()))
        self._server = Server(
            config.service,
            receive.routes() if receive else [],
            ready=self.ready,
            metrics=self.metrics,
        )
        await self._server.start()

    async def _stop(self, drain: float) -> None:
        ending = [runner.stop(drain) for runner in self._runners.values()]
        if self._server is not None:
            ending.append(self._server.stop())
        try:
            async with asyncio.timeout(drain + _LEAVE):
                await asyncio.gather(*ending)
        except TimeoutError:
            log.warning("not_drained_in_time", seconds=drain + _LEAVE)
        await self._resources.aclose()

    def _capture(self, tokens: TokenSource) -> Runner:
        config, settings = self._config, self._config.salesforce.pubsub
        pubsub = PubSubClient(settings.endpoint, settings.tls, tokens, idle_timeout=settings.idle_timeout)
        self._resources.push_async_callback(pubsub.aclose)
        capture = Capture(
            pubsub,
            settings,
            catalogue.entity_topics(config),
            channel_log=lambda channel, partition: ChannelLog(config.kafka, channel, partition),
            dead_letter=DeadLetters(config.kafka, "capture", self._count_dead_letter).of_body,
            metrics=self.metrics,
        )
        return SharedWork(config.kafka, "capture", POSITIONS, config.salesforce.channels, capture.follow)

    def _trigger(self, rest: RestClient) -> Runner:
        lookup = Lookup(rest.select)
        rules = [SurveyRule(name, survey, lookup) for name, survey in self._config.surveys.items()]
        ours = self._config.salesforce.client_name
        trigger = Trigger(
            rules,
            self._publisher.send,
            self._prefix + "pisano.invitations",
            ours=lambda origin: client_of(origin) == ours,
            metrics=self.metrics,
        )
        return self._worker("trigger", [*catalogue.entity_topics(self._config).values()], trigger.handle)

    def _send(self, http: httpx.AsyncClient) -> Runner:
        config = self._config
        letters = DeadLetters(config.kafka, "send", self._count_dead_letter)

        send = Send(
            config.pisano,
            partial(Ledger.open, config.kafka),
            http,
            grace=config.service.drain,
            dead_letter=letters.of_record,
            metrics=self.metrics,
        )
        return self._worker("send", [self._prefix + "pisano.invitations"], send.handle, send.settle, drains=False)

    async def _receive(self) -> Receive:
        config = self._config
        answering = [name for name, account in config.pisano.items() if account.webhook]
        self.metrics.watch_answers(answering, config.service.answers_missing_after)
        letters = DeadLetters(config.kafka, "receive", self._count_dead_letter)
        publisher = Publisher(config.kafka)  # its own: no other stage's records hold a webhook up
        await publisher.start()
        self._resources.push_async_callback(publisher.stop)
        spool = Spool(
            Path(config.service.spool.folder),
            config.service.spool.max_bytes,
            publisher.send,
            refused=lambda record, error: letters.of_body("spool", record.value or b"", "too_large", error),
            metrics=self.metrics,
        )
        await spool.start()
        self._resources.push_async_callback(spool.stop)
        return Receive(
            config.pisano,
            publisher.send,
            self._prefix + "pisano.feedback",
            dead_letter=letters.of_body,
            metrics=self.metrics,
            spool=spool,
        )

    def _write(self, rest: RestClient) -> Runner:
        topic = self._prefix + "salesforce.writes"

        async def writes(partition: int) -> AsyncIterator[Write]:
            async for record in read_back(self._config.kafka, topic, partition):
                if record.value is not None:
                    yield read(Write, record.value)

        write = WriteBack(
            self._config.feedback,
            CollectionWriter(rest, batch=self._config.salesforce.write_batch, sure=self._awake.sure),
            self._publisher.send,
            topic,
            read_writes=writes,
            kept=catalogue.retention(self._config.kafka, "salesforce.writes"),
            metrics=self.metrics,
        )
        return self._worker("write", [self._prefix + "pisano.feedback"], write.handle, write.forget)

    def _worker(
        self, name: str, topics: list[str], handle: Handle, settle: Settle = nothing, *, drains: bool = True
    ) -> Runner:
        letters = DeadLetters(self._config.kafka, name, self._count_dead_letter)

        async def bury(record: InRecord, reason: str, error: Exception) -> None:
            await self._publisher.send(letters.of_record(record, reason, error))

        worker = StageWorker(
            name,
            self._config.kafka,
            topics,
            handle,
            dead_letter=bury,
            in_flight=_IN_FLIGHT[name],
            settle=settle,
            drains=drains,
        )
        self.metrics.in_flight.labels(name).set_function(lambda: worker.in_flight)
        self.metrics.lag.labels(name).set_function(lambda: worker.lag)
        return worker

    def _count_dead_letter(self, stage: str, reason: str) -> None:
        self.metrics.dead_letters.labels(stage, reason).inc()


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
