"""What is set up in the double, and what it remembers. Times are in seconds, by the double's clock.

The control API speaks these very models as JSON.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

GrpcStatus = Literal[
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]
GapType = Literal["GAP_CREATE", "GAP_UPDATE", "GAP_DELETE", "GAP_UNDELETE", "GAP_OVERFLOW"]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
Headers = dict[Annotated[str, Field(pattern=r"^[\w-]+$")], Annotated[str, Field(pattern=r"^[^\r\n\x00]*$")]]


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Settings(Model):
    """How this org behaves. Where the contract leaves something open, the default is the harder case for a client."""

    token_lifetime: Seconds = 7200.0  # seconds from when it was given, used or not
    my_domain_audience: bool = False  # a JWT may name the My Domain as its audience: some orgs take it (salesforce §G)
    keepalive: Annotated[Seconds, Field(le=270)] = 60.0  # real seconds until an empty response (salesforce §0.3, §A2)
    idle: Seconds = 60.0  # real seconds with nothing requested until the stream is closed
    idle_status: GrpcStatus | Literal["OK"] = "OK"  # what it is closed with (salesforce §G)
    batch: Annotated[Count, Field(le=100)] = 50  # most events in a response: fewer than a client may request
    clamp: bool = True  # more than 100 outstanding are clamped; False: subscription.fetch.overflow
    latest_with_events: bool = True  # whether a response with events names its latest replay id (salesforce §G)
    noop_events: bool = True  # whether an update that changes no value is an event; nothing says so
    changed_holds_all: bool = True  # whether changedFields names the nulled and diffed fields as well (salesforce §G)
    interleave_schemas: bool = False  # events alternate between the last two versions of their schema (salesforce §A2)
    page: Annotated[Count, Field(le=2000)] = 2000  # rows of a query's page
    api_limit: int = 100_000  # REST calls until REQUEST_LIMIT_EXCEEDED
    delivery_limit: int = 1_000_000  # events until subscription.limit.exceeded; real orgs: 25,000 a day
    bad_field: Literal["record", "call"] = "record"  # what an unknown field or a wrong JSON type fails (salesforce §G)


class Channel(Model):
    """A custom channel `/data/NAME__chn`: its entities, and of each the fields that it is enriched with."""

    entities: tuple[str, ...]
    enriched: dict[str, tuple[str, ...]] = {}


class Fault(Model):
    """What the next `times` calls meet whose text, `PATCH /services/…` or `rpc Subscribe`, has a match of `match`.

    `delay` seconds first; then nothing ever comes, or the connection drops, or `status` is answered; or only the delay.
    `done`: it happens after the call was carried out, writes and all. An HTTP status meets only calls over HTTP, the
    name of a gRPC status only those of the Pub/Sub API, with `error_code` in the trailer, without its prefix; a stream
    first delivers `after` events.
    """

    match: Annotated[str, Field(max_length=200), AfterValidator(_pattern)]
    times: Count = 1
    delay: Annotated[float, Field(ge=0)] = 0.0
    kind: Literal["hang", "reset"] | None = None
    done: bool = False
    status: Annotated[int, Field(ge=200, le=599)] | GrpcStatus | None = None
    error_code: str = ""
    body: Any = None
    headers: Headers = {}
    after: Annotated[int, Field(ge=0)] = 0


class Step(Model):
    """One of the changes in a transaction. A new record has no `record_id` yet, what is deleted needs no `fields`."""

    operation: Literal["create", "update", "delete", "undelete"]
    entity: str
    record_id: str = ""
    fields: dict[str, Any] = {}


class Call(BaseModel):
    """One HTTP or gRPC call. `status` is None while it goes on, or when it got no answer."""

    at: float
    what: str
    status: int | str | None = None
    client: str = ""


class Token(Model):
    """An access token that was given out."""

    at: float
    grant: str
    token: str
    instance_url: str
    expires_at: float


class Write(Model):
    """What somebody asked to be written to one record, and what came of it. `client` is the Sforce-Call-Options one."""

    at: float
    operation: Literal["create", "update", "upsert", "delete", "undelete"]
    object: str
    key: str | None
    record_id: str | None
    fields: dict[str, Any]
    client: str
    success: bool
    created: bool = False
    status_code: str | None = None


class Stream(BaseModel):
    """One Subscribe call. `pending` events are requested and not yet delivered; `hung`: it is silent for ever."""

    opened_at: float
    topic: str
    preset: str
    replay_id: str
    pending: int = 0
    requests: int = 0
    delivered: int = 0
    hung: bool = False
    open: bool = True


class Event(Model):
    """One event that was published, however many streams deliver it; `header` is None for a platform event.

    `values` are those that it carries: of an update what changed.
    """

    at: float
    entity: str
    replay_id: str
    schema_id: str
    header: dict[str, Any] | None
    values: dict[str, Any]
