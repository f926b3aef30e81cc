"""What is set up in the double, and what it remembers. Times are in seconds, by the double's clock.

The control API speaks these very models as JSON.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Settings(Model):
    """How this org behaves. Where the contract leaves something open, the default is the harder case for a client."""

    token_lifetime: float = 7200.0  # seconds from when it was given, used or not
    keepalive: float = 60.0  # real seconds without an event until an empty response (salesforce §A2)
    idle: float = 60.0  # real seconds with nothing requested until the stream is closed
    batch: int = 50  # most events in a response: fewer than a client may request
    clamp: bool = True  # more than 100 outstanding are clamped; False: subscription.fetch.overflow
    page: int = 2000  # rows of a query's page
    api_limit: int = 100_000  # REST calls until REQUEST_LIMIT_EXCEEDED
    delivery_limit: int = 1_000_000  # events until subscription.limit.exceeded; a real org has 25,000 to 50,000 a day
    bad_field: Literal["record", "call"] = "record"  # what an unknown field or a wrong JSON type fails (salesforce §G)


class Channel(Model):
    """A custom channel `/data/NAME__chn`: its entities, and of each the fields that it is enriched with."""

    entities: tuple[str, ...]
    enriched: dict[str, tuple[str, ...]] = {}


class Fault(Model):
    """What the next `times` calls meet whose text, `PATCH /services/…` or `rpc Subscribe`, has a match of `match`.

    `delay` seconds first; then nothing ever comes, or the connection drops, or `status` is answered; or only the delay.
    `done`: it happens after the call was carried out, writes and all. For a call of the Pub/Sub API `status` is the
    name of a gRPC status and `error_code` the trailer without its prefix; a stream first delivers `after` events.
    """

    match: str
    times: int = 1
    delay: float = 0.0
    kind: Literal["hang", "reset"] | None = None
    done: bool = False
    status: int | str | None = None
    error_code: str = ""
    body: Any = None
    headers: dict[str, str] = {}
    after: int = 0


class Call(Model):
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
