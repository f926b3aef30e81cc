"""The one place that says what an error of Salesforce asks of us (contract: salesforce §A4, §D1, §D4).

Nothing here becomes Unknown: a read changes nothing, and our writes are upserts by external id and updates by Id, so
one whose answer was lost is simply made again.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import httpx
import orjson

from connector.errors import ConnectorError, Fatal, Rejected, Retryable
from connector.masking import mask_emails
from connector.retry import retry_after

_PREFIX = "sfdc.platform.eventbus.grpc."
_SECONDS = 5.0  # a burst of parallel calls, a lock or a restart of theirs passes in seconds
_MINUTE = 60.0  # others must let go of a connection first
_LONG = 300.0  # a daily allowance, storage or maintenance: nothing changes for minutes to hours

_BUSY = {
    "UNABLE_TO_LOCK_ROW",
    "QUERY_TIMEOUT",
    "REQUEST_RUNNING_TOO_LONG",
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "SERVER_UNAVAILABLE",
}
_EXHAUSTED = {"REQUEST_LIMIT_EXCEEDED", "STORAGE_LIMIT_EXCEEDED", "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE"}
_MISNAMED = {"INVALID_FIELD", "INVALID_TYPE", "MALFORMED_QUERY"}  # in a query: the configuration, not a record

_STREAM_PAUSES = {
    "service.unavailable": _SECONDS,
    "service.auth.error": None,
    "service.protection.triggered": _MINUTE,
    "service.protection.stream.limit.triggered": _MINUTE,
    "concurrent.client.limit.exceeded": _MINUTE,
    "topic.api.unavailable": _SECONDS,
    "schema.api.unavailable": _SECONDS,
    "subscription.fetch.replay.repeated": None,
    "subscription.limit.exceeded": _LONG,
    "subscription.internal.error": None,
}
_STREAM_FATAL = (
    "service.auth.",
    "service.tenant.",
    "topic.",
    "schema.",
    "subscription.fetch.",
    "subscription.topic.",
    "managed.",
    "publish.",
)
_FATAL_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.FAILED_PRECONDITION,
}


class TokenRefused(Retryable):
    """The access token is no longer taken: renew it, then repeat."""


class PositionLost(Fatal):
    """Salesforce does not know the replay id any more (older than 72 h, or the org moved): events may be missing."""


def from_exception(error: httpx.HTTPError | TimeoutError, what: str) -> ConnectorError:
    """An HTTP call that got no answer."""
    return Retryable(f"{what}: no answer from Salesforce: {type(error).__name__}")


def from_response(response: httpx.Response, what: str) -> ConnectorError:
    """A REST answer other than 2xx. `what` says what was asked, without any value of a record."""
    details = _details(response)
    codes = {str(detail.get("errorCode")) for detail in details}
    message = f"{what}: HTTP {response.status_code} {_text(details, 'errorCode')}".rstrip()
    status = response.status_code
    if status == httpx.codes.UNAUTHORIZED:
        return TokenRefused(message)
    if codes & _EXHAUSTED:
        pause = _SECONDS if "concurrent" in message.lower() else _LONG
        return Retryable(message, retry_after=_retry_after(response) or pause)
    if status in {408, 429} or status >= 500 or codes & _BUSY:
        return Retryable(message, retry_after=_retry_after(response))
    if status in {400, 413} and not (response.request.method == "GET" and codes & _MISNAMED):
        return Rejected(message, code=next(iter(sorted(codes)), None))
    return Fatal(f"{message}. Check salesforce.login_url and rest_version, the configured names and the user's rights.")


def from_record(problems: Sequence[Mapping[str, Any]], what: str) -> Retryable | Rejected:
    """One record's errors in a collections answer that is a 200 as a whole."""
    message = f"{what}: {_text(problems, 'statusCode') or 'refused without a reason'}"
    codes = [str(problem.get("statusCode")) for problem in problems]
    if set(codes) & _EXHAUSTED:
        return Retryable(message, retry_after=_LONG)
    if problems and all(_is_passing(problem) for problem in problems):
        return Retryable(message)
    return Rejected(message, code=next(iter(codes), None))


def from_token_response(response: httpx.Response) -> ConnectorError:
    """An answer of the token endpoint other than 200."""
    message = f"Salesforce gave no access token: HTTP {response.status_code}"
    if response.status_code in {408, 429} or response.status_code >= 500:
        return Retryable(message, retry_after=_retry_after(response))
    detail = next(iter(_details(response)), {})
    reason = f" {detail.get('error', '')}: {detail.get('error_description', '')}" if detail else ""
    return Fatal(
        f"{message}{reason}. Check salesforce.login_url (a My Domain), salesforce.auth and the app's policies."
    )


def from_rpc(error: grpc.aio.AioRpcError, what: str) -> ConnectorError:
    """A Pub/Sub call that failed. The trailer decides; the status only where there is no trailer that we know."""
    trailer = dict(error.trailing_metadata() or ())
    code = str(trailer.get("error-code", "")).removeprefix(_PREFIX)
    message = f"{what}: {error.code().name} {code} {error.details() or ''}".replace("  ", " ").rstrip()
    if code == "service.auth.error" or (not code and error.code() is grpc.StatusCode.UNAUTHENTICATED):
        return TokenRefused(message)
    if code in _STREAM_PAUSES:
        return Retryable(message, retry_after=_STREAM_PAUSES[code])
    if code.startswith("subscription.fetch.replayid."):
        return PositionLost(message)
    if code == "schema.validation.failed":  # the id comes from an event, which nobody will ever be able to read
        return Rejected(message, code="undecodable")
    if code.startswith(_STREAM_FATAL) or error.code() in _FATAL_STATUSES:
        return Fatal(
            f"{message}. Check salesforce.channels and pubsub.endpoint, that Change Data Capture is switched on for the"
            " object, and that the user may read it."
        )
    return Retryable(message)


def _is_passing(problem: Mapping[str, Any]) -> bool:
    """A lock that a trigger of theirs ran into hides inside a general code (salesforce §D4)."""
    code, text = problem.get("statusCode"), str(problem.get("message")).lower()
    return code in _BUSY or (code == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY" and "unable_to_lock_row" in text)


def _details(response: httpx.Response) -> list[dict[str, Any]]:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return []
    return [detail for detail in (body if isinstance(body, list) else [body]) if isinstance(detail, dict)]


def _text(problems: Sequence[Mapping[str, Any]], code: str) -> str:
    """Code, message and fields of each. Salesforce quotes values in its messages: addresses are masked."""
    return "; ".join(
        mask_emails(f"{problem.get(code)}: {problem.get('message')}")
        + (f" ({', '.join(map(str, problem['fields']))})" if problem.get("fields") else "")
        for problem in problems
    )


def _retry_after(response: httpx.Response) -> float | None:
    """Salesforce names no time itself, a proxy before it may."""
    return retry_after(response.headers, time.time())
