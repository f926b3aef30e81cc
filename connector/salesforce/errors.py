"""Translates Salesforce's errors into ours. Only this module does so (contract: salesforce §A4, §D1, §D4).

Nothing here becomes Unknown: a read changes nothing, and our writes are upserts by external id and updates by Id, so
we simply repeat a write whose answer was lost.
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
from connector.salesforce._refusals import BatchTooLarge, Exhausted, Failing, FieldsRefused
from connector.salesforce._wording import code_of, is_governor_limit, most_characters, passes

_PREFIX = "sfdc.platform.eventbus.grpc."
_SECONDS = 5.0  # a burst of parallel calls, a lock or a restart of Salesforce passes in seconds
_MINUTE = 60.0  # another client must close a connection first
_LONG = 300.0  # a daily allowance, storage or maintenance: nothing changes for minutes to hours

_LOCKED_FOR = 120.0  # seconds: an approval process ends when a person decides; asking often does not help

_BUSY = {
    "UNABLE_TO_LOCK_ROW",
    "QUERY_TIMEOUT",
    "REQUEST_RUNNING_TOO_LONG",
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "SERVER_UNAVAILABLE",
}
_EXHAUSTED = {"REQUEST_LIMIT_EXCEEDED", "STORAGE_LIMIT_EXCEEDED", "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE"}
# Something does not exist or the user may not see it: the configuration or the rights are wrong, not a record.
_MISNAMED = {"INVALID_FIELD", "INVALID_TYPE", "MALFORMED_QUERY", "NOT_FOUND", "API_DISABLED_FOR_ORG"}
# The same in a record's own errors.
_HIDDEN = {"INVALID_FIELD", "INVALID_FIELD_FOR_INSERT_UPDATE", "INVALID_TYPE"}
_WHAT_TO_CHANGE = (
    "In Salesforce, check that the object and the fields exist and that the integration user may see and edit them"
    " (object permissions, field-level security). Otherwise change the names in the configuration. Check"
    " salesforce.login_url and rest_version too if they are new."
)
# These codes are about the whole record. They name fields too, but to leave out those values does not help.
_OF_THE_RECORD = {
    "DUPLICATE_VALUE",
    "DUPLICATES_DETECTED",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
    "CANNOT_EXECUTE_FLOW_TRIGGER",
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
    "APEX_ERROR",
}
_REQUIRED = "REQUIRED_FIELD_MISSING"  # as well, unless the write itself empties the field
_FORBIDDEN = ("INSUFFICIENT_ACCESS", "FUNCTIONALITY_NOT_ENABLED", "CANNOT_INSERT_UPDATE_FIELD")

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


# Only these login errors will not pass by themselves (salesforce §D1). We try again after all others: the same 400 has
# been seen for "retry your request" and for maintenance.
_LOGIN_PERMANENT = {
    "invalid_client",
    "invalid_client_id",
    "invalid_client_credentials",
    "invalid_grant",
    "invalid_app_access",
    "invalid_assertion_type",
    "inactive_user",
    "inactive_org",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_request",
    "app_not_found",
    "redirect_uri_mismatch",
}
_LOGIN_PASSING_WORDS = ("retry", "rate exceeded", "try again", "temporar", "unavailable", "too many")


class TokenRefused(Retryable):
    """Salesforce no longer accepts the access token: renew it, then repeat."""


class PositionLost(Fatal):
    """Salesforce does not know the replay id any more (older than 72 h, or the org moved): events may be missing."""


def from_exception(error: httpx.HTTPError | TimeoutError, what: str) -> ConnectorError:
    """Translates an HTTP call that got no answer."""
    return Retryable(f"{what}: no answer from Salesforce: {type(error).__name__}")


def from_response(response: httpx.Response, what: str) -> ConnectorError:
    """Translates a REST answer other than 2xx. `what` names the request, without any value of a record."""
    details = _details(response)
    codes = {str(detail.get("errorCode")) for detail in details}
    message = f"{what}: HTTP {response.status_code} {_text(details, 'errorCode')}".rstrip()
    if response.status_code == httpx.codes.UNAUTHORIZED:
        return TokenRefused(message)
    return _passing(response, details, codes, message) or _refusal(response, details, codes, message)


def _passing(
    response: httpx.Response, details: Sequence[Mapping[str, Any]], codes: set[str], message: str
) -> Retryable | None:
    status, after = response.status_code, _retry_after(response)
    if codes & _EXHAUSTED:
        return Retryable(message, retry_after=after or (_SECONDS if "concurrent" in message.lower() else _LONG))
    if status in {408, 429, 502, 503, 504} or codes & _BUSY or any(map(passes, details)):
        return Retryable(message, retry_after=after)
    if status >= 500 or "UNKNOWN_EXCEPTION" in codes or (status in {400, 403, 404} and not details):
        return Failing(message, retry_after=after)
    if 300 <= status < 400:
        return Retryable(f"{message}, a redirect: maintenance, or salesforce.login_url is not the org's My Domain")
    return None


def _refusal(
    response: httpx.Response, details: Sequence[Mapping[str, Any]], codes: set[str], message: str
) -> Rejected | Fatal:
    if any(map(is_governor_limit, details)):
        return BatchTooLarge(message, code="governor_limit")
    is_of_all = codes & _MISNAMED or any(code.startswith(_FORBIDDEN) for code in codes)
    if response.status_code in {400, 413} and not is_of_all:
        return _rejected(details, message, next(iter(sorted(codes)), None))
    return Fatal(f"{message}. {_WHAT_TO_CHANGE}")


def from_record(problems: Sequence[Mapping[str, Any]], what: str) -> Retryable | Rejected | Fatal:
    """Translates one record's errors in a collections answer with status 200. Fatal: its fields fail every record."""
    message = f"{what}: {_text(problems, 'statusCode') or 'refused without a reason'}"
    codes = [str(problem.get("statusCode")) for problem in problems]
    if passing := _passing_record(problems, codes, message):
        return passing
    if any(map(is_governor_limit, problems)):
        return BatchTooLarge(message, code="governor_limit")
    if set(codes) & _HIDDEN:
        return Fatal(f"{message}. {_WHAT_TO_CHANGE}")
    return _rejected(problems, message, next(iter(codes), None))


def _rejected(problems: Sequence[Mapping[str, Any]], message: str, code: str | None) -> Rejected:
    codes = [*map(code_of, problems)]
    of_the_record = next((each for each in codes if each in _OF_THE_RECORD), None)
    code = of_the_record or (_REQUIRED if _REQUIRED in codes else code)
    if of_the_record or not problems or not all(problem.get("fields") for problem in problems):
        return Rejected(message, code=code)
    by_field = {str(name): problem for problem in problems for name in problem["fields"]}
    lengths = {name: most for name, problem in by_field.items() if (most := most_characters(problem))}
    return FieldsRefused(message, code, {name: code_of(problem) for name, problem in by_field.items()}, lengths)


def _passing_record(problems: Sequence[Mapping[str, Any]], codes: Sequence[str], message: str) -> Retryable | None:
    if set(codes) & _EXHAUSTED:
        return Exhausted(message, retry_after=_LONG)
    if codes and all(passes(problem) or code in _BUSY for problem, code in zip(problems, codes, strict=True)):
        return Retryable(message)
    if codes == ["ENTITY_IS_LOCKED"]:
        return Retryable(message, retry_after=_LOCKED_FOR)
    return Failing(message) if codes == ["UNKNOWN_EXCEPTION"] else None


def from_token_response(response: httpx.Response) -> ConnectorError:
    """Translates a token endpoint's answer other than 200. Only errors that are known to be permanent are Fatal."""
    message = f"Salesforce gave no access token: HTTP {response.status_code}"
    if response.status_code in {408, 429} or response.status_code >= 500:
        return Retryable(message, retry_after=_retry_after(response))
    detail = next(iter(_details(response)), {})
    error, description = str(detail.get("error", "")), str(detail.get("error_description", ""))
    said = f"{message} {error}: {description}" if detail else message
    is_passing = any(word in description.lower() for word in _LOGIN_PASSING_WORDS)
    if error in _LOGIN_PERMANENT and not is_passing:
        return Fatal(
            f"{said}. Check salesforce.login_url (a My Domain), salesforce.auth and the app's policies.", whole=True
        )
    return Retryable(
        f"{said}. The connector tries again; if this goes on, check salesforce.login_url (a My Domain)",
        retry_after=_retry_after(response) or (None if is_passing else _SECONDS),
    )


def from_rpc(error: grpc.aio.AioRpcError, what: str) -> ConnectorError:
    """Translates a failed Pub/Sub call. The trailer decides; without a trailer that we know, the status decides."""
    trailer = dict(error.trailing_metadata() or ())
    code = str(trailer.get("error-code", "")).removeprefix(_PREFIX)
    message = f"{what}: {error.code().name} {code} {error.details() or ''}".replace("  ", " ").rstrip()
    if code == "service.auth.error" or (not code and error.code() is grpc.StatusCode.UNAUTHENTICATED):
        return TokenRefused(message)
    if code in _STREAM_PAUSES:
        return Retryable(message, retry_after=_STREAM_PAUSES[code])
    if code.startswith("subscription.fetch.replayid."):
        return PositionLost(message)
    if code == "schema.validation.failed":  # the id comes from an event that can never be read
        return Rejected(message, code="undecodable")
    if code.startswith(_STREAM_FATAL) or error.code() in _FATAL_STATUSES:
        return Fatal(
            f"{message}. Check salesforce.channels and pubsub.endpoint, that Change Data Capture is switched on for the"
            " object, and that the user may read it."
        )
    return Retryable(message)


def _details(response: httpx.Response) -> list[dict[str, Any]]:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return []
    return [detail for detail in (body if isinstance(body, list) else [body]) if isinstance(detail, dict)]


def _text(problems: Sequence[Mapping[str, Any]], code: str) -> str:
    """Code, message and fields of each problem. Salesforce quotes values in messages, so addresses are masked."""
    return "; ".join(
        mask_emails(f"{problem.get(code)}: {problem.get('message')}")
        + (f" ({', '.join(map(str, problem['fields']))})" if problem.get("fields") else "")
        for problem in problems
    )


def _retry_after(response: httpx.Response) -> float | None:
    """Salesforce itself names no time, but a proxy in front of it may."""
    return retry_after(response.headers, time.time())
