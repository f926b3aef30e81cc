"""The service: the chosen stages of a configuration, each under a supervisor, and the port, which opens first."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Self

import structlog

from connector.config import Config, catalogue
from connector.errors import ConnectorError, Fatal, Retryable
from connector.kafka import acls, preflight, topics
from connector.kafka.connection import client_settings
from connector.kafka.topic_ids import TopicIds
from connector.observe.health import Server
from connector.retry import Lasts, patiently
from connector.wiring import capture, index, releases, send, trigger, write
from connector.wiring.live import warn_of_rules
from connector.wiring.receive import Receiving
from connector.wiring.shared import Shared
from connector.wiring.status import StatusPage
from connector.wiring.supervisor import Runner, Supervisor
from connector.wiring.topic_watch import TopicWatch

log = structlog.get_logger(__name__)

STAGES = ("capture", "trigger", "send", "receive", "write")
ALL_STAGES = (*STAGES, "index")  # the last runs only where it is named

_BUILD: dict[str, Callable[[Shared], Runner]] = {
    "capture": capture.build,
    "trigger": trigger.build,
    "send": send.build,
    "write": write.build,
    "index": index.build,
}
_CHANGES = ("salesforce.cdc.", "salesforce.events.")
_TOPICS: dict[str, tuple[str, ...]] = {
    "capture": ("salesforce.positions",),
    "trigger": (*_CHANGES, "connector.parked", "pisano.invitations"),
    "send": ("pisano.invitations", "pisano.attempts", "pisano.waiting", "connector.parked"),
    "write": ("pisano.feedback", "salesforce.writes", "connector.parked"),
    "index": (),
}
_TRANSACTIONAL = {"capture", "send"}  # the stages that write in transactions
_LEAVE = 10.0  # seconds for stages to end their start, and to leave their groups after draining


class App:
    """`async with App(config) as app: await app.run(stop)` on the running loop.

    The port is open from the start. Each stage starts, and logs that it did, when Kafka has what it needs. `own_port`
    is for a process that shares the service's port with others; see `Server`.

    Raises:
        Fatal: At start, when the port cannot be opened, or a certificate or key file cannot be used.
    """

    def __init__(self, config: Config, stages: Collection[str] = STAGES, *, own_port: int | None = None) -> None:
        self._own_port = own_port
        self._shared = Shared(config)
        self._config = config
        self._stages = stages
        self._ids = TopicIds()
        self._supervisors = [self._supervisor(name) for name in stages if name in _BUILD]
        self._receiving = Receiving(self._shared) if "receive" in stages else None
        self._server: Server | None = None
        self._status = StatusPage(self._shared)
        self._running: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    def _supervisor(self, stage: str) -> Supervisor:
        async def check() -> None:
            await preflight.require_rights(self._config.kafka, acls.rights(self._config, stage))
            if stage in _TRANSACTIONAL:
                await preflight.require_transactions(self._config.kafka, stage)
            if wanted := self._topics_of(stage):
                await self._require_topics(wanted)

        return Supervisor(stage, check, lambda: _BUILD[stage](self._shared), self._shared.cells.at(f"kafka/{stage}"))

    async def _require_topics(self, wanted: Sequence[catalogue.Topic]) -> None:
        await topics.require(self._config.kafka, wanted, self._ids)

    def _topic_watch(self) -> TopicWatch:
        supervisors = {supervisor.name: supervisor for supervisor in self._supervisors}
        wanted = {stage: self._topics_of(stage) for stage in supervisors}
        return TopicWatch(wanted, self._require_topics, lambda stage, error: supervisors[stage].tell(error))

    def _topics_of(self, stage: str) -> list[catalogue.Topic]:
        """The topics that the stage reads, and those where it matters in which partition a key lies."""
        follows = self._shared.persons.protection.topics() if stage == "send" else ()
        names = tuple(self._config.kafka.topic_prefix + name for name in (*_TOPICS[stage], *follows))
        return [topic for topic in catalogue.topics_for(self._config) if topic.name.startswith(names)]

    async def __aenter__(self) -> Self:
        client_settings(self._config.kafka)  # raises for a bad certificate or key file before anything starts
        try:
            await self._shared.__aenter__()
            await self._open_port()
        except BaseException:
            await self._shared.__aexit__()
            raise
        self._running = asyncio.create_task(self._run_stages())
        self._looking = asyncio.create_task(self._status.run(tuple(self._stages)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop(self._config.service.drain)

    @property
    def address(self) -> str:
        """Where webhooks and /healthz are served, such as http://127.0.0.1:8080."""
        return self._server.address if self._server else ""

    @property
    def figures(self) -> str:
        """Where /status and /metrics are served: at `address`, but for a process with its own port."""
        return self._server.figures if self._server else ""

    async def ready(self) -> dict[str, bool]:
        """Whether each stage can work as far as Kafka is concerned. With a spool, receive works without Kafka too."""
        answers = bool(self._supervisors) and await self._shared.publisher.answers()
        ready = {supervisor.name: answers and supervisor.ready for supervisor in self._supervisors}
        if self._receiving:
            ready["receive"] = await self._receiving.ready()
        return {name: ready[name] for name in self._stages}

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set.

        Raises:
            CannotRestart: The process has to be started again.
        """
        if self._running is None:
            raise Fatal("the service was not started")
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({stopping, self._running}, return_when=asyncio.FIRST_COMPLETED)
            if self._running.done():
                self._running.result()  # if it raises nothing, only receive runs, and nothing needs supervision
            await stopping
        finally:
            stopping.cancel()

    async def _open_port(self) -> None:
        shared = self._shared
        routes = self._receiving.routes() if self._receiving else []
        if self._receiving:
            await self._receiving.start()
        pages: dict[str, Any] = {"ready": self.ready, "held": shared.cells.held, "status": self._status.page}
        self._server = Server(self._config.service, routes, metrics=shared.metrics, own_port=self._own_port, **pages)
        await self._server.start()

    async def _run_stages(self) -> None:
        try:
            await self._until_kafka_is_ready()
            async with asyncio.TaskGroup() as group:
                if self._supervisors:  # receive has no cells
                    group.create_task(releases.follow(self._config.kafka, self._shared.cells, self._shared.skipped))
                    group.create_task(self._topic_watch().run())
                for supervisor in self._supervisors:
                    group.create_task(supervisor.run())
                if "trigger" in self._stages:
                    group.create_task(warn_of_rules(self._config, self._shared.rest.describe))
        except* ConnectorError as errors:
            raise errors.exceptions[0] from None

    async def _until_kafka_is_ready(self) -> None:
        """Returns when our topics are as the configuration wants them, and Kafka takes records from us."""
        used = acls.topic_names(self._config, self._stages)  # this user may not even see the others
        wanted = [topic for topic in catalogue.topics_for(self._config) if topic.name in used]
        await self._until(lambda: topics.require(self._config.kafka, wanted))
        for publisher in (self._shared.publisher, self._shared.parking):
            await self._until(partial(patiently, publisher.start, 0.0))

    async def _until(self, step: Callable[[], Awaitable[None]]) -> None:
        cell = self._shared.cells.at("kafka")
        while True:
            async with cell.turn():
                try:
                    await step()
                except (Fatal, Lasts) as error:
                    is_away = isinstance(error, Lasts) or isinstance(error.__cause__, Retryable)
                    cell.hold(error, "outage" if is_away else "configuration")
                else:
                    cell.works()
                    return

    async def _stop(self, drain: float) -> None:
        if self._looking is not None:
            self._looking.cancel()
        until = asyncio.get_running_loop().time() + drain + _LEAVE
        # at once, as a webhook's answer must not wait for a start that Kafka holds up
        ending = [asyncio.create_task(self._server.stop())] if self._server else []
        if self._running is not None:
            self._running.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LEAVE):
                    await asyncio.gather(self._running, return_exceptions=True)
        ending += [asyncio.create_task(supervisor.stop(drain)) for supervisor in self._supervisors]
        _, left = await asyncio.wait(ending, timeout=until - asyncio.get_running_loop().time())
        if left:
            log.warning("not_drained_in_time", seconds=drain + _LEAVE)
        for task in left:
            task.cancel()
        # together: while Kafka hangs, each of these takes 5 s
        closing = [self._shared.__aexit__(), *([self._receiving.stop()] if self._receiving else [])]
        await asyncio.gather(*closing, asyncio.gather(*ending, return_exceptions=True))
