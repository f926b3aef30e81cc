"""The double's settings and its memory. Times are in seconds, by the double's clock.

The control API uses the same models as JSON.
"""

import re
from dataclasses import dataclass
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
    """How this org behaves. If the contract leaves something open, the default is the harder case for a client."""

    token_lifetime: Seconds = 7200.0  # seconds after the org gave it, used or not
    my_domain_audience: bool = False  # whether a JWT may have My Domain as audience; some orgs allow it (salesforce §G)
    callback_urls: tuple[str, ...] = ("http://localhost:1717/OauthRedirect",)  # where the web server flow may return to
    keepalive: Annotated[Seconds, Field(le=270)] = 60.0  # real seconds until an empty response (salesforce §0.3, §A2)
    idle: Seconds = 60.0  # real seconds without a request until the org closes the stream
    idle_status: GrpcStatus | Literal["OK"] = "OK"  # the status that ends an idle stream (salesforce §G)
    batch: Annotated[Count, Field(le=100)] = 50  # most events in a response: fewer than a client may request
    clamp: bool = True  # requests over 100 outstanding are cut to 100; False: subscription.fetch.overflow
    latest_with_events: bool = True  # whether a response with events names its latest replay id (salesforce §G)
    noop_events: bool = True  # whether an update that changes no value makes an event; not documented
    changed_holds_all: bool = True  # whether changedFields also names the nulled and diffed fields (salesforce §G)
    interleave_schemas: bool = False  # events alternate between the last two versions of their schema (salesforce §A2)
    page: Annotated[Count, Field(le=2000)] = 2000  # rows in a page of a query
    api_limit: int = 100_000  # REST calls until REQUEST_LIMIT_EXCEEDED
    delivery_limit: int = 1_000_000  # events until subscription.limit.exceeded; real orgs: 25,000 a day
    assignment_rules: dict[str, str] = {}  # by object: the owner that its active assignment rule gives to records
    duplicate_rules: dict[str, str] = {}  # by object: the field in which two records must not hold the same value
    records_per_call: Count = 200  # records of a collections call that the org's triggers bear
    firewall: Annotated[str, AfterValidator(_pattern)] = ""  # a body that matches gets a page of HTML with a 403
    describable: bool = True  # whether the user may describe objects
    bad_field: Literal["record", "call"] = "record"  # what fails on an unknown field or wrong JSON type (salesforce §G)


@dataclass(frozen=True)
class Approval:
    """What an authorization code stands for. A blank `challenge` is a flow without PKCE."""

    at: float
    redirect_uri: str
    challenge: str


class Managed(Model):
    """A managed subscription: the org keeps the position of its one client (salesforce §A3)."""

    id: str
    developer_name: str
    topic: str
    default_replay: Literal["LATEST", "EARLIEST"] = "LATEST"
    error_recovery_replay: Literal["LATEST", "EARLIEST"] = "LATEST"
    state: Literal["RUN", "STOP"] = "RUN"


class Channel(Model):
    """A custom channel `/data/NAME__chn`: its entities, and the enriched fields of each."""

    entities: tuple[str, ...]
    enriched: dict[str, tuple[str, ...]] = {}


class Fault(Model):
    """What happens to the next `times` calls whose text, `PATCH /services/…` or `rpc Subscribe`, matches `match`.

    First the double waits `delay` seconds. Then it never answers ("hang"), drops the connection ("reset"), or answers
    `status`. With none of these, the call is only delayed. `done`: it happens after the call and its writes were
    carried out. An HTTP status matches only HTTP calls. The name of a gRPC status matches only Pub/Sub API calls;
    `error_code` goes into the trailer, without its prefix. A stream first delivers `after` events.
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
    """One change in a transaction. A create needs no `record_id`; a delete needs no `fields`."""

    operation: Literal["create", "update", "delete", "undelete"]
    entity: str
    record_id: str = ""
    fields: dict[str, Any] = {}


class Call(BaseModel):
    """One HTTP or gRPC call. `status` is None while the call goes on, or when it got no answer."""

    at: float
    what: str
    status: int | str | None = None
    client: str = ""


class Token(Model):
    """An access token that the org gave out."""

    at: float
    grant: str
    token: str
    instance_url: str
    expires_at: float


class Write(Model):
    """One requested write to a record, and its result. `client` is the one in Sforce-Call-Options."""

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
    """One Subscribe call. `pending` events are requested but not yet delivered; a `hung` stream stays silent."""

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
    """One published event, no matter how many streams deliver it; `header` is None for a platform event.

    `values` are the values in the event; an update has only the changed ones.
    """

    at: float
    entity: str
    replay_id: str
    schema_id: str
    header: dict[str, Any] | None
    values: dict[str, Any]
