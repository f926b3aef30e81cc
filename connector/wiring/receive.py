"""Builds receive from the configuration."""

import asyncio
from pathlib import Path

import structlog
from aiohttp import web

from connector.errors import ConnectorError
from connector.kafka.publisher import Publisher
from connector.retry import until_done
from connector.spool import Spool
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
        self._publisher = Publisher(config.kafka)
        self._spool = Spool(
            Path(config.service.spool.folder),
            config.service.spool.max_bytes,
            self._publisher.send,
            refused=lambda record, error: letters.of_body("spool", record.value or b"", "too_large", error),
            metrics=shared.metrics,
        )
        self._receive = Receive(
            config.pisano,
            self._publisher.send,
            shared.topic("pisano.feedback"),
            dead_letter=letters.of_body,
            metrics=shared.metrics,
            spool=self._spool,
        )
        self._connecting: asyncio.Task[None] | None = None

    def routes(self) -> list[web.RouteDef]:
        """One for each webhook."""
        return self._receive.routes()

    async def ready(self) -> bool:
        """Whether a webhook would be taken: by Kafka, or by the spool."""
        return self._spool.is_on or await self._publisher.answers()

    async def start(self) -> None:
        """Opens the spool, and begins to connect to Kafka."""
        await self._spool.start()
        self._connecting = asyncio.create_task(self._connect())

    async def stop(self) -> None:
        """Stops the publisher and the spool. Call this after the last webhook was answered."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        await self._spool.stop()
        await self._publisher.stop()

    async def _connect(self) -> None:
        """Tries until it works, also while only a person can fix what is wrong."""
        while True:
            try:
                return await until_done(self._publisher.start)
            except ConnectorError as error:
                log.warning("kafka_refuses_us", stage="receive", error=str(error), next_try_in=_TRY_AGAIN)
            await asyncio.sleep(_TRY_AGAIN)
