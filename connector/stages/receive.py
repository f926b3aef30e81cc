"""receive: Pisano's webhooks → pisano.feedback.

A 200 means that the feedback, or the dead letter of a body that cannot be read, is durable: in Kafka (acks=all), or
synced to the spool while Kafka is away. The stage does not refuse a body that would fail again: Pisano may or may not
send it again, and the answer would be lost (pisano §4). While records wait in the spool, new ones go behind them, so
their order stays. Only when the spool takes no more, a new one goes to Kafka directly. The answer is 200 and not 202,
because some senders repeat a webhook after anything else.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from itertools import product
from typing import TypeVar

import structlog
from aiohttp import web

from connector.config import Account, Webhook
from connector.errors import ConnectorError, Rejected, Retryable
from connector.kafka.cloud_events import OutRecord, to_record
from connector.observe.metrics import Metrics
from connector.observe.tracing import Headers, tracing
from connector.pisano import authentic
from connector.pisano.webhooks import trial_answer, trial_nonce
from connector.records import Feedback
from connector.spool import Spool
from connector.stages._answers import Answers, Sent, TooLarge, Unreadable, unpacked

log = structlog.get_logger(__name__)

_ARRIVED_WITHIN = 10.0  # seconds for a body of kilobytes; a slower client only blocks one of our connections
# Seconds until a record goes to the spool. Pisano's own time-out is not documented, and is hardly below 10 s. When the
# process ends, the webhooks that have come in have 10 s for Kafka and the spool together.
_DURABLE_WITHIN = 5.0
_LONGEST_HEADER = 200  # characters of a sender's header that we keep
_RETRY_AFTER = 30  # seconds that we ask a refused sender to wait: a broker that restarts is back by then

Publish = Callable[[OutRecord], Awaitable[object]]
Body = TypeVar("Body", bytes, bytearray)
DeadLetter = Callable[[str, bytes, str, Exception, Mapping[str, str]], OutRecord]


class Receive:
    """The stage: one route for each account that has a webhook.

    `dead_letter(source, body, reason, error, headers)` makes the record for a body that cannot be read. Without a
    `spool` the stage answers 503 when Kafka does not take a record. `invited(account, correlation)` gives the headers
    of the invitation that an answer is to, if they are known. A body has `arrived_within` seconds to arrive, and Kafka
    has `durable_within` seconds to store it.
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
        invited: Callable[[str, str], Headers] = lambda *_: (),
        arrived_within: float = _ARRIVED_WITHIN,
        durable_within: float = _DURABLE_WITHIN,
    ) -> None:
        self._accounts = {name: account.webhook for name, account in accounts.items() if account.webhook}
        self._answers = {name: Answers(name, webhook) for name, webhook in self._accounts.items()}
        self._publish = publish
        self._topic = topic
        self._dead_letter = dead_letter
        self._metrics = metrics
        self._webhooks, self._taken = cache(metrics.webhooks.labels), cache(metrics.answers.labels)  # they look long
        for account, answer in product(self._accounts, ("200", "401", "503")):
            metrics.webhooks.labels(account, answer)  # Prometheus sees an increase only if there was a zero before
        self._spool = spool
        self._invited = invited
        self._arrived_within = arrived_within
        self._durable_within = durable_within

    def routes(self) -> list[web.RouteDef]:
        """One POST route for each webhook, with the secret as the last segment if it is configured so."""
        return [
            web.post(webhook.path + ("/{secret}" if webhook.secret_is_in_path else ""), self._handler(name, webhook))
            for name, webhook in self._accounts.items()
        ]

    def _handler(self, account: str, webhook: Webhook) -> Callable[[web.Request], Awaitable[web.Response]]:
        is_allowed = _allowed(webhook)

        async def handle(request: web.Request) -> web.Response:
            with tracing.span(f"POST {webhook.path}", "server", {"http.route": webhook.path}) as note:
                if is_allowed(request):
                    status, text = await self._receive(account, webhook, request)
                else:
                    status, text = 401, "the webhook's secret is missing or wrong"
                note("http.response.status_code", status)
            self._webhooks(account, str(status)).inc()
            headers = {"Retry-After": str(_RETRY_AFTER)} if status == 503 else None
            return web.Response(status=status, text=text + "\n", headers=headers)

        return handle

    async def _receive(self, account: str, webhook: Webhook, request: web.Request) -> tuple[int, str]:
        try:
            sent = _sent(request, await self._body(request, webhook.max_bytes), webhook.max_bytes)
        except TimeoutError:
            return 408, f"the body did not arrive within {self._arrived_within:g} s"
        except (web.RequestPayloadError, ConnectionError):
            return 400, "the body does not match its headers"
        except TooLarge as error:
            log.warning("webhook_too_large", account=account, error=str(error))
            return 413, str(error)
        if nonce := trial_nonce(sent.body):  # of `connector check --send-test-webhook`
            return 200, trial_answer(account, nonce)
        source = f"webhook {webhook.path}"

        def letter(body: bytes, reason: str, error: Exception) -> OutRecord:
            log.warning(f"webhook_{reason}", account=account, error=str(error))
            return self._dead_letter(source, body, reason, error, sent.headers)

        return await self._store(account, self._records(account, webhook, sent, letter), partial(letter, sent.body))

    async def _body(self, request: web.Request, most: int) -> bytes:
        if request.content.is_eof():  # it is here already, as nearly all are, and a timer costs more than reading it
            return _bounded(request.content.read_nowait(), most)
        async with asyncio.timeout(self._arrived_within):
            return await _bounded_body(request, most)

    async def _store(
        self, account: str, records: Sequence[OutRecord], letter: Callable[[str, Exception], OutRecord]
    ) -> tuple[int, str]:
        """Stores all records of a webhook. If it is sent again, those that are stored by then have the same ids."""
        try:
            try:
                await self._store_all(records)
            except Rejected as error:  # as JSON it has grown beyond what Kafka takes; its bytes may fit
                records = [letter("too_large", error)]
                await self._store_all(records)
        except Rejected as error:
            log.warning("webhook_too_large", account=account, error=str(error))
            return 413, "Kafka does not take records of this size"
        except ConnectorError as error:
            log.warning("webhook_not_durable", account=account, error=str(error))
            return 503, "not stored; send it again"
        taken = sum(record.topic == self._topic for record in records)
        self._taken(account).inc(taken)
        return 200, "stored" if taken == len(records) else "stored as a dead letter"

    async def _store_all(self, records: Sequence[OutRecord]) -> None:
        for record in records:
            await self._publish_or_spool(record)

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

    def _records(
        self, account: str, webhook: Webhook, sent: Sent, letter: Callable[[bytes, str, Exception], OutRecord]
    ) -> list[OutRecord]:
        """The feedback in a body, and a dead letter for what cannot be read."""
        try:
            return [
                letter(found.body, "unreadable", found.error)
                if isinstance(found, Unreadable)
                else self._record(found, webhook)
                for found in self._answers[account].read(sent, datetime.now(UTC))
            ]
        except Exception:
            log.exception("webhook_not_read", account=account)  # our mistake; the body must be kept all the same
            return [letter(sent.body, "unreadable", ValueError("an error in the connector; see its log"))]

    def _count(self, feedback: Feedback) -> None:
        if feedback.not_strict:
            self._metrics.not_strict.labels(feedback.account).inc()
        for name in feedback.misfits:
            self._metrics.misfits.labels(feedback.account, name).inc()

    def _record(self, feedback: Feedback, webhook: Webhook) -> OutRecord:
        self._count(feedback)
        correlation = _text(feedback.body.get(webhook.correlation))
        tracing.link(self._invited(feedback.account, correlation))
        return to_record(
            self._topic,
            correlation or feedback.id,
            feedback,
            ce_type="pisano.feedback",
            ce_source=f"/accounts/{feedback.account}",
            ce_id=feedback.id,
            ce_time=feedback.received_at,
        )


def _text(correlation: object) -> str:
    """The correlation as text. Empty if it cannot name a record, such as a list or a mapping."""
    return str(correlation) if correlation and isinstance(correlation, str | int) else ""


def _allowed(webhook: Webhook) -> Callable[[web.Request], bool]:
    in_path, secrets, header = webhook.secret_is_in_path, webhook.secrets, webhook.header

    def is_allowed(request: web.Request) -> bool:
        if in_path:
            return authentic({}, request.match_info.get("secret"), secrets, header=header)
        return authentic(request.headers, None, secrets, header=header)

    return is_allowed


async def _bounded_body(request: web.Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        _bounded(body, most)
    return bytes(body)


def _bounded(body: Body, most: int) -> Body:
    if len(body) > most:
        raise TooLarge(f"a webhook's body may have at most {most} bytes")
    return body


def _sent(request: web.Request, body: bytes, most: int) -> Sent:
    headers = {name: _printable(request.headers.get(name, "")) for name in ("Content-Type", "Content-Encoding")}
    return Sent(unpacked(body, headers["Content-Encoding"], most), request.content_type, request.charset, headers)


def _printable(header: str) -> str:
    """The start of a header's text; what is not UTF-8 is escaped."""
    return header[:_LONGEST_HEADER].encode(errors="backslashreplace").decode()
