"""Builds receive from the configuration."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from aiohttp import web

from connector.errors import ConnectorError
from connector.kafka import acls, preflight
from connector.kafka.follower import Follower
from connector.kafka.inbound import consumed
from connector.kafka.publisher import Publisher
from connector.observe.tracing import tracing
from connector.retry import until_done
from connector.spool import Spool
from connector.stages._invited import Invited
from connector.stages.receive import Receive
from connector.wiring.shared import Shared

log = structlog.get_logger(__name__)

_TRY_AGAIN = 30.0  # seconds, after an error that does not pass by itself


class Receiving:
    """The stage and what only it uses: the spool, and its own publisher, so that no other stage delays a webhook.

    It takes webhooks from `start` on, even if Kafka is away.
    """

    def __init__(self, shared: Shared) -> None:
        config = shared.config
        answering = [name for name, account in config.pisano.items() if account.webhook]
        shared.metrics.watch_answers(answering, config.service.answers_missing_after)
        letters = shared.letters("receive")
        self._publisher = Publisher(config.kafka, stored_within=None)  # the stage and the spool have their own limits
        self._spool = Spool(
            Path(config.service.spool.folder),
            config.service.spool.max_bytes,
            self._publisher.send,
            refused=lambda record, error: letters.of_body("spool", record.value or b"", "too_large", error),
            metrics=shared.metrics,
        )
        webhooks = {name: account.webhook for name, account in config.pisano.items()}
        invited = Invited({name: webhook.correlation for name, webhook in webhooks.items() if webhook})
        self._traces = Follower(config.kafka, "pisano.invitations", lambda record: invited.take(consumed(record)))
        self._receive = Receive(
            config.pisano,
            self._publisher.send,
            shared.topic("pisano.feedback"),
            dead_letter=letters.of_body,
            metrics=shared.metrics,
            spool=self._spool,
            invited=invited.headers,
        )
        self._beside: list[asyncio.Task[None]] = []
        self._config = config
        self._may_write = False

    def routes(self) -> list[web.RouteDef]:
        """One for each webhook."""
        return self._receive.routes()

    async def ready(self) -> bool:
        """Whether a webhook would be taken: by Kafka, or by the spool."""
        return self._spool.takes or (self._may_write and await self._publisher.answers())

    async def start(self) -> None:
        """Opens the spool, and begins to connect to Kafka."""
        await self._spool.start()
        beside = [self._connect(), *([self._follow_traces()] if tracing.spans else [])]
        self._beside = [asyncio.create_task(each) for each in beside]

    async def stop(self) -> None:
        """Stops the publisher and the spool. Call this after the last webhook was answered."""
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await self._spool.stop()
        await self._publisher.stop()

    async def _follow_traces(self) -> None:
        try:
            await self._traces.run()
        except ConnectorError as error:
            log.warning("answers_not_linked", reason=f"their traces have no link to the invitation's: {error}")

    async def _connect(self) -> None:
        """Connects, then finds out whether we may write. Without a right, what may be written still is."""
        await _until_possible(self._publisher.start)
        rights = acls.rights(self._config, "receive")
        await _until_possible(lambda: preflight.require_rights(self._config.kafka, rights))
        self._may_write = True


async def _until_possible(step: Callable[[], Awaitable[None]]) -> None:
    """Tries until it works, also while only a person can fix what is wrong."""
    while True:
        try:
            return await until_done(step)
        except ConnectorError as error:
            log.warning("kafka_refuses_us", stage="receive", error=str(error), next_try_in=_TRY_AGAIN)
        await asyncio.sleep(_TRY_AGAIN)
