"""What each error of the Pub/Sub API tells the caller to do."""

import grpc
import pytest

from connector.errors import ConnectorError, Fatal, Rejected, Retryable
from connector.salesforce import PositionLost
from connector.salesforce.errors import TokenRefused, from_rpc

TOPIC = "/data/CaseChangeEvent"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("INVALID_ARGUMENT", "subscription.fetch.replayid.corrupted", PositionLost),
        ("INVALID_ARGUMENT", "subscription.fetch.replayid.validation.failed", PositionLost),
        ("INVALID_ARGUMENT", "subscription.fetch.requested.events.invalid", Fatal),
        ("INVALID_ARGUMENT", "topic.validation.empty", Fatal),
        ("INVALID_ARGUMENT", "subscription.fetch.replay.repeated", Retryable),
        ("INVALID_ARGUMENT", "topic.api.unavailable", Retryable),
        ("INVALID_ARGUMENT", "schema.validation.failed", Rejected),
        ("PERMISSION_DENIED", "schema.meta.permission", Fatal),
        ("INVALID_ARGUMENT", None, Fatal),
        ("NOT_FOUND", "topic.not.found", Fatal),
        ("PERMISSION_DENIED", "subscription.topic.cannot.subscribe", Fatal),
        ("PERMISSION_DENIED", "subscription.limit.exceeded", Retryable),
        ("RESOURCE_EXHAUSTED", "subscription.limit.exceeded", Retryable),
        ("UNAUTHENTICATED", "service.auth.error", TokenRefused),
        ("UNAUTHENTICATED", None, TokenRefused),
        ("UNAUTHENTICATED", "service.auth.headers.invalid", Fatal),
        ("UNKNOWN", "service.tenant.license", Fatal),
        ("UNAVAILABLE", "service.unavailable", Retryable),
        ("INTERNAL", "service.unavailable", Retryable),
        ("INTERNAL", None, Retryable),
        ("UNAVAILABLE", None, Retryable),
        ("UNAVAILABLE", "something.new", Retryable),
    ],
)
def test_error_code_decides_and_the_status_only_without_one(
    status: str, code: str | None, expected: type[ConnectorError]
) -> None:
    """salesforce §A4: one status has several causes; not every INVALID_ARGUMENT is a stale replay id."""
    trailer = grpc.aio.Metadata(*([("error-code", f"sfdc.platform.eventbus.grpc.{code}")] if code else []))
    error = grpc.aio.AioRpcError(grpc.StatusCode[status], grpc.aio.Metadata(), trailer, details="rpcId: 1")
    assert type(from_rpc(error, f"subscribe {TOPIC}")) is expected


def test_a_channel_that_is_not_there_says_what_to_do() -> None:
    trailer = grpc.aio.Metadata(("error-code", "sfdc.platform.eventbus.grpc.topic.not.found"))
    error = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), trailer, details="rpcId: 1")
    said = str(from_rpc(error, f"subscribe {TOPIC}"))
    assert TOPIC in said
    assert "Check salesforce.channels" in said
