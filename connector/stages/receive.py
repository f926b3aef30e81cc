"""receive: Pisano's webhooks → pisano.feedback.

A 2xx means that the feedback, or the dead letter of a body that cannot be read, is durable: in Kafka (acks=all), or
synced to the spool while Kafka is away. The stage does not refuse a body that would fail again: Pisano may or may not
send it again, and the answer would be lost (pisano §4). While records wait in the spool, new ones go behind them, so
their order stays. Only when the spool takes no more, a new one goes to Kafka directly.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import structlog
from aiohttp import web

from connector.config import Account, Webhook
from connector.errors import ConnectorError, Rejected, Retryable
from connector.kafka.cloud_events import OutRecord, to_record
from connector.observe.metrics import Metrics
from connector.pisano import authentic, feedback_id, parse
from connector.records import Feedback
from connector.spool import Spool

log = structlog.get_logger(__name__)

_ARRIVED_WITHIN = 10.0  # seconds for a body of kilobytes; a slower client only blocks one of our connections
# Seconds until a record goes to the spool. Pisano's own time-out is not documented, and is hardly below 10 s. When the
# process ends, the webhooks that have come in have 10 s for Kafka and the spool together.
_DURABLE_WITHIN = 5.0
_RETRY_AFTER = 30  # seconds that we ask a refused sender to wait: a broker that restarts is back by then

Publish = Callable[[OutRecord], Awaitable[object]]
DeadLetter = Callable[[str, bytes, str, Exception], OutRecord]


class Receive:
    """The stage: one route for each account that has a webhook.

    `dead_letter(source, body, reason, error)` makes the record for a body that cannot be read. Without a `spool` the
    stage answers 503 when Kafka does not take a record. A body has `arrived_within` seconds to arrive, and Kafka has
    `durable_within` seconds to store it.
    """

    def __init__(
        self,
        accounts: Mapping[str, Account],
        publish: Publish,
        topic: str,
        *,
        dead_letter: DeadLetter,
        metrics: Metrics,
        spool: Spool | None = None,
        arrived_within: float = _ARRIVED_WITHIN,
        durable_within: float = _DURABLE_WITHIN,
    ) -> None:
        self._accounts = {name: account.webhook for name, account in accounts.items() if account.webhook}
        self._publish = publish
        self._topic = topic
        self._dead_letter = dead_letter
        self._metrics = metrics
        self._spool = spool
        self._arrived_within = arrived_within
        self._durable_within = durable_within

    def routes(self) -> list[web.RouteDef]:
        """One POST route for each webhook, with the secret as the last segment if it is configured so."""
        return [
            web.post(webhook.path + ("/{secret}" if webhook.secret_is_in_path else ""), self._handler(name, webhook))
            for name, webhook in self._accounts.items()
        ]

    def _handler(self, account: str, webhook: Webhook) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            status, text = await self._receive(account, webhook, request)
            self._metrics.webhooks.labels(account, str(status)).inc()
            headers = {"Retry-After": str(_RETRY_AFTER)} if status == 503 else None
            return web.Response(status=status, text=text + "\n", headers=headers)

        return handle

    async def _receive(self, account: str, webhook: Webhook, request: web.Request) -> tuple[int, str]:
        if not _allowed(webhook, request):
            return 401, "the webhook's secret is missing or wrong"
        try:
            async with asyncio.timeout(self._arrived_within):
                body = await _bounded_body(request, webhook.max_bytes)
        except TimeoutError:
            return 408, f"the body did not arrive within {self._arrived_within:g} s"
        except (web.RequestPayloadError, ConnectionError):
            return 400, "the body does not match its headers"
        except ValueError as error:
            log.warning("webhook_too_large", account=account, error=str(error))
            return 413, str(error)
        return await self._store(account, webhook, body)

    async def _store(self, account: str, webhook: Webhook, body: bytes) -> tuple[int, str]:
        record, said = self._record(account, webhook, body)
        try:
            await self._publish_or_spool(record)
        except Rejected as error:
            log.warning("webhook_too_large", account=account, error=str(error))
            return 413, "Kafka does not take records of this size"
        except ConnectorError as error:
            log.warning("webhook_not_durable", account=account, error=str(error))
            return 503, "not stored; send it again"
        if record.topic == self._topic:
            self._metrics.answers.labels(account).inc()
        return 202, said

    async def _publish_or_spool(self, record: OutRecord) -> None:
        """Raises Rejected for a record that Kafka never takes, another ConnectorError when it is stored nowhere."""
        ways: list[Publish] = [self._publish_in_time]
        if self._spool is not None:
            ways.insert(1 if await self._spool.is_empty() else 0, self._spool.add)
        errors: list[str] = []
        for store in ways:
            try:
                await store(record)
            except Rejected:
                raise
            except ConnectorError as error:
                errors.append(str(error))
            else:
                return
        raise Retryable("; ".join(errors))

    async def _publish_in_time(self, record: OutRecord) -> None:
        try:
            async with asyncio.timeout(self._durable_within):
                await self._publish(record)
        except TimeoutError as error:
            raise Retryable("Kafka did not answer in time") from error

    def _record(self, account: str, webhook: Webhook, body: bytes) -> tuple[OutRecord, str]:
        try:
            values = parse(body, webhook.fields)
        except ValueError as error:
            log.warning("webhook_unreadable", account=account, error=str(error))
            return self._dead_letter(f"webhook {webhook.path}", body, "unreadable", error), "stored as a dead letter"
        feedback = Feedback(id=feedback_id(account, body), account=account, received_at=datetime.now(UTC), body=values)
        record = to_record(
            self._topic,
            _text(values.get(webhook.correlation)) or feedback.id,
            feedback,
            ce_type="pisano.feedback",
            ce_source=f"/accounts/{account}",
            ce_id=feedback.id,
            ce_time=feedback.received_at,
        )
        return record, "stored"


def _text(correlation: object) -> str:
    """The correlation as text. Empty if it cannot name a record, such as a list or a mapping."""
    return str(correlation) if correlation and isinstance(correlation, str | int) else ""


def _allowed(webhook: Webhook, request: web.Request) -> bool:
    in_path = webhook.secret_is_in_path
    return authentic(
        {} if in_path else request.headers,
        request.match_info.get("secret") if in_path else None,
        webhook.secret.get_secret_value(),
        header=webhook.header,
    )


async def _bounded_body(request: web.Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > most:
            raise ValueError(f"a webhook's body may have at most {most} bytes")
    return bytes(body)
