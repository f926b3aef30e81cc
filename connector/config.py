"""The configuration as frozen, typed objects. `connector.config_file` reads a YAML file into these.

Each number that bounds something has its reason beside it. A setting whose behaviour is not built yet is parsed and
validated like any other and named by `not_yet_supported`, so that a file never means less than it says.
"""

import re
from collections.abc import Iterator
from datetime import time
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from connector.config_types import (
    ApiVersion,
    Brokers,
    CampaignId,
    Channel,
    ClientName,
    Endpoint,
    FieldName,
    HeaderName,
    HeaderSecret,
    HttpError,
    Limit,
    Name,
    Number,
    Seconds,
    Secret,
    Share,
    Text,
    Timeout,
    TopicPrefix,
    Url,
    UrlPath,
    VariableName,
    Whole,
    is_loopback,
)
from connector.limits import Window
from connector.templates import Condition, Template


class Model(BaseModel):
    """Frozen, and a key that is not known is a mistake."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        validate_default=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
    )


class Kafka(Model):
    bootstrap_servers: Brokers
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: Text | None = None
    sasl_password: Secret | None = None
    ssl_ca_file: Text | None = None
    ssl_cert_file: Text | None = None
    ssl_key_file: Text | None = None
    topic_prefix: TopicPrefix = ""  # also before group and transactional ids
    replication_factor: Annotated[Whole, Field(ge=-1, le=32767)] = -1  # -1: the broker's default.replication.factor

    @model_validator(mode="after")
    def _sasl_is_complete(self) -> "Kafka":
        wants = self.security_protocol.startswith("SASL")
        if wants and not (self.sasl_mechanism and self.sasl_username and self.sasl_password):
            raise ValueError(f"{self.security_protocol} needs sasl_mechanism, sasl_username and sasl_password")
        return self


class ClientCredentials(Model):
    method: Literal["client_credentials"]
    client_id: Text
    client_secret: Secret


class JwtBearer(Model):
    method: Literal["jwt_bearer"]
    client_id: Text
    username: Text
    private_key: Secret  # PEM; best given as ${file:…}
    audience: Url = "https://login.salesforce.com"  # some orgs take their My Domain instead (salesforce §G)


class PubSub(Model):
    endpoint: Endpoint = "api.pubsub.salesforce.com:7443"
    tls: bool = True
    start: Literal["latest", "earliest"] = "latest"  # where a channel without a position begins
    lost_position: Literal["stop", "earliest"] = "stop"  # an expired position is a gap: a person decides, or 72 h again
    idle_timeout: Timeout = 300.0  # a healthy stream says something at least every 270 s (salesforce §0.3)

    @model_validator(mode="after")
    def _plain_text_is_local(self) -> "PubSub":
        if not self.tls and not is_loopback(self.endpoint.rpartition(":")[0]):
            raise ValueError("tls: false is allowed for loopback addresses only")
        return self


class Salesforce(Model):
    login_url: Url
    auth: Annotated[ClientCredentials | JwtBearer, Field(discriminator="method")]
    channels: Annotated[tuple[Channel, ...], Field(min_length=1)]
    pubsub: PubSub = PubSub()
    rest_version: ApiVersion = "66.0"  # every org has had it since spring 2026
    client_name: ClientName = "pisano-connector"  # shows in changeOrigin
    timeout: Timeout = 30.0  # Salesforce ends a SOQL query after 120 s; a lookup by Id that needs 30 s is an outage
    calls_per_second: Annotated[Number, Field(gt=0)] = 10.0  # far below the concurrency limits, far above our need
    write_batch: Annotated[Whole, Field(ge=1, le=200)] = 200  # the collections' own bound (salesforce §D2)

    @field_validator("channels")
    @classmethod
    def _no_channel_twice(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(channels)) != len(channels):
            raise ValueError("a channel stands here twice")
        return channels


class AuthorizedApp(Model):
    method: Literal["authorized_app"]
    client_id: Text
    client_secret: Secret
    id_key: Text = "client_id"  # the request's key names are not documented (pisano §2.1)
    secret_key: Text = "client_secret"  # noqa: S105 - the name of a JSON key
    lifetime: Timeout = 600.0  # used when the answer names no expiry; a 401 renews earlier
    scheme: Literal["bearer", "token"] = "bearer"


class StaticToken(Model):
    method: Literal["static_token"]
    token: HeaderSecret
    scheme: Literal["bearer", "token"] = "bearer"


class Webhook(Model):
    path: UrlPath
    secret: HeaderSecret
    secret_in: Literal["header", "path"] = "header"  # noqa: S105 - where it stands, not the secret
    header: HeaderName = "X-Webhook-Secret"
    fields: dict[Text, Literal["integer", "number", "boolean", "string"]] = {}
    correlation: Text = "sf_ref_id"  # the body's key that names the record; it keeps answers about one record in order
    max_bytes: Annotated[Whole, Field(ge=1, le=512 * 1024)] = 256 * 1024  # free text is counted in kilobytes; the bound
    # is half of what Kafka takes in one record, as JSON can grow when it is written again

    @property
    def secret_is_in_path(self) -> bool:
        return self.secret_in == "path"  # noqa: S105 - where it stands, not the secret

    @field_validator("secret")
    @classmethod
    def _secret_is_long_enough(cls, secret: HeaderSecret) -> HeaderSecret:
        if len(secret.get_secret_value()) < 16:
            raise ValueError("a webhook secret has at least 16 characters: whoever knows it writes into Salesforce")
        return secret

    @model_validator(mode="after")
    def _secret_is_a_segment(self) -> "Webhook":
        if self.secret_is_in_path and not re.fullmatch(r"[A-Za-z0-9._~-]+", self.secret.get_secret_value()):
            raise ValueError("a secret in the path is made of a-z, A-Z, 0-9, . _ ~ -")
        return self


class Account(Model):
    """One Pisano account: one credential, one budget of calls."""

    base_url: Url
    auth: Annotated[AuthorizedApp | StaticToken, Field(discriminator="method")]
    limits: Annotated[tuple[Limit, ...], Field(min_length=1)] = (
        Window(20, 5.0),
        Window(40, 25.0),
        Window(80, 125.0),
        Window(160, 625.0),
    )
    limit_padding: Seconds = 0.5  # the server counts on arrival: the spread of the network's delay
    limit_reserved: Annotated[Share, Field(lt=1)] = 0.0  # left to others who spend the same budget
    max_recipients_per_call: Annotated[Whole, Field(ge=1, le=1000)] = 1  # how Pisano answers for many is not documented
    retry_statuses: frozenset[HttpError] = frozenset({429, 503})  # answers after which no e-mail can have left
    unknown_outcome: Literal["hold", "resend", "drop"] = "hold"
    connect_timeout: Timeout = 10.0
    timeout: Timeout = 60.0  # past it the outcome is unknown, so it is generous
    webhook: Webhook | None = None


def _not_blank(template: Template) -> Template:
    if not template.source.strip():
        raise ValueError("this is empty; a template is wanted here")
    return template


NotBlank = Annotated[Template, AfterValidator(_not_blank)]


class Lookup(Model):
    object: FieldName
    id: NotBlank
    fields: Annotated[tuple[FieldName, ...], Field(min_length=1)]


def _send_hours(value: object) -> "SendHours | None":
    if value is None or isinstance(value, SendHours):
        return value
    match = re.fullmatch(r"(\d\d:\d\d)-(\d\d:\d\d) (\S+)", str(value))
    try:
        start, end, zone = match.groups() if match else ("", "", "")
        ZoneInfo(zone)
        return SendHours(start=time.fromisoformat(start), end=time.fromisoformat(end), zone=zone)
    except (ValueError, KeyError, OSError):
        raise ValueError("send hours are written 09:00-18:00 Europe/Istanbul, with an IANA time zone") from None


class SendHours(Model):
    start: time
    end: time
    zone: str


class Protect(Model):
    """Contact protection (design: an invitation that is not sent always has its reason recorded)."""

    opted_out: Template | None = None
    once_per: Seconds | None = None
    sample: Share = 1.0
    send_between: Annotated[SendHours, BeforeValidator(_send_hours)] | None = None


class Survey(Model):
    on: FieldName
    when: Condition | None = None
    lookup: dict[VariableName, Lookup] = {}
    account: str
    campaign: CampaignId
    email: NotBlank
    custom_attributes: dict[Text, Template] = {}
    built_in_responses: dict[Text, Template] = {}
    delay: Seconds = 0.0
    protect: Protect = Protect()

    def templates(self) -> Iterator[Template | Condition]:
        """Every template and condition, wherever it stands."""
        yield from (template for template in (self.when, self.protect.opted_out) if template is not None)
        yield self.email
        yield from (lookup.id for lookup in self.lookup.values())
        yield from self.custom_attributes.values()
        yield from self.built_in_responses.values()


class FeedbackRule(Model):
    """What to do in Salesforce with a feedback: `upsert` by external id or `update` by Id."""

    when: Condition | None = None
    upsert: FieldName | None = None
    update: FieldName | None = None
    by: Annotated[dict[FieldName, Template], Field(min_length=1, max_length=1)]
    fields: Annotated[dict[FieldName, Template], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_operation(self) -> "FeedbackRule":
        if (self.upsert is None) == (self.update is None):
            raise ValueError("name exactly one of upsert and update")
        if self.update is not None and "Id" not in self.by:
            raise ValueError("an update is by {Id: …}; use upsert for an external id")
        if self.upsert is not None and "Id" in self.by:
            raise ValueError("an upsert is by an external id field; use update for {Id: …}")
        if not self.by[self.key_field].paths():
            raise ValueError(f"{self.key_field} names no variable: every answer would go to the same record")
        if self.key_field in self.fields:
            raise ValueError(f"{self.key_field} is what the record is found by; it cannot be among its fields too")
        return self

    @property
    def object(self) -> str:
        return self.upsert or self.update or ""

    @property
    def key_field(self) -> str:
        return next(iter(self.by))


class Service(Model):
    host: Text = "127.0.0.1"
    port: Annotated[Whole, Field(ge=0, le=65535)] = 8080  # 0 picks a free one and prints it
    drain: Timeout = 25.0  # below the 30 s that orchestrators commonly grant between SIGTERM and SIGKILL


class Config(Model):
    kafka: Kafka
    salesforce: Salesforce
    pisano: Annotated[dict[Name, Account], Field(min_length=1)]
    surveys: Annotated[dict[Name, Survey], Field(min_length=1)]
    feedback: dict[Name, FeedbackRule] = {}
    service: Service = Service()


def not_yet_supported(config: Config) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Key path and value of each setting that is understood but whose behaviour is still to come."""
    for name, survey in config.surveys.items():
        path = ("surveys", name)
        if survey.delay:
            yield (*path, "delay"), survey.delay
        for key, neutral in (("once_per", None), ("sample", 1.0), ("send_between", None)):
            value = getattr(survey.protect, key)
            if value != neutral:
                yield (*path, "protect", key), value
