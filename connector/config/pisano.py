"""The section `pisano`: accounts by name. A § is a section of the contract that a fact was taken from."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from connector.config.model import Model
from connector.config.types import (
    HeaderName,
    HeaderSecret,
    HttpError,
    Limit,
    Seconds,
    Secret,
    ShareBelowAll,
    Text,
    Timeout,
    Url,
    UrlPath,
    Whole,
)
from connector.limits import Window

Scheme = Literal["bearer", "token"]


class AuthorizedApp(Model):
    """Tokens that expire, fetched with the credentials of an authorized app. Fetching one is a call like any other."""

    method: Literal["authorized_app"]
    """Chooses this way."""

    client_id: Text
    """The app's id."""

    client_secret: Secret
    """The app's secret."""

    id_key: Text = "client_id"
    """The key that the id is sent under; Pisano does not document the names."""  # pisano §2.1

    secret_key: Text = "client_secret"  # noqa: S105 - the name of a JSON key
    """The key that the secret is sent under."""

    lifetime: Timeout = 600.0
    """How long a token is used when the answer names no expiry; a 401 renews it earlier."""

    scheme: Scheme = "bearer"
    """`Authorization: Bearer …`, or `Authorization: Token token="…"`; Pisano's own pages name both."""  # pisano §2.2


class StaticToken(Model):
    """The token of an API user."""

    method: Literal["static_token"]
    """Chooses this way."""

    token: HeaderSecret
    """The token of a user who does nothing else."""

    scheme: Scheme = "bearer"
    """`Authorization: Bearer …`, or `Authorization: Token token="…"`; Pisano's own pages name both."""  # pisano §2.2


class Webhook(Model):
    """Where the account's answers arrive. [webhook.md](webhook.md) has the payload to give Pisano."""

    path: UrlPath
    """The path that Pisano posts to, on the service's port; no two accounts share one."""

    secret: HeaderSecret
    """What Pisano must send along, of at least 16 characters: whoever knows it writes into Salesforce."""

    secret_in: Literal["header", "path"] = "header"  # noqa: S105 - where it stands, not the secret
    """`path` takes the secret as a last segment behind the path, for a Pisano that cannot send headers; it is then made
    of letters, digits and `. _ ~ -`."""

    header: HeaderName = "X-Webhook-Secret"
    """The header that holds the secret."""

    fields: dict[Text, Literal["integer", "number", "boolean", "string"]] = {}
    """The body's keys that are to have a type; the others stay as they came, and an empty text is no value."""

    correlation: Text = "sf_ref_id"
    """The body's key that names the record; it keeps answers about one record in order."""

    max_bytes: Annotated[Whole, Field(ge=1, le=512 * 1024)] = 256 * 1024
    """Bytes of a body: free text is counted in kilobytes. The most is half of what Kafka takes in one record, as JSON
    can grow when it is written again."""

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
    """Pisano's address for you, such as `https://api.pisano.co`, without `/v1`."""

    auth: Annotated[AuthorizedApp | StaticToken, Field(discriminator="method")]
    """How to log in."""

    limits: Annotated[tuple[Limit, ...], Field(min_length=1)] = (
        Window(20, 5.0),
        Window(40, 25.0),
        Window(80, 125.0),
        Window(160, 625.0),
    )
    """All hold at once, over every span of each length; each is longer and larger than the one before. The default is
    what Pisano documents."""  # pisano §6

    limit_padding: Seconds = 0.5
    """Added to each span: Pisano counts a call when it arrives, and the network's delay is not always the same."""

    limit_reserved: ShareBelowAll = 0.0
    """The part of each limit that is left to others who spend the same budget."""

    max_recipients_per_call: Annotated[Whole, Field(ge=1, le=1000)] = 1
    """Invitations that one call may carry; how Pisano answers for many is not documented."""  # pisano §3

    retry_statuses: frozenset[HttpError] = frozenset({429, 503})
    """Answers after which no e-mail can have left, so that the call is made again."""

    unknown_outcome: Literal["hold", "resend", "drop"] = "hold"
    """What becomes of an invitation whose call got no answer, so that the customer may have been e-mailed: it is held
    as a dead letter for a person to decide, sent again (perhaps twice), or given up."""

    outage_after: Annotated[Whole, Field(ge=1, le=1000)] = 3
    """After so many calls in a row without a clear answer Pisano counts as away: one call at a time is then made, for
    one invitation, at growing intervals. One may be chance; each costs a customer whose outcome is unknown."""

    connect_timeout: Timeout = 10.0
    """Until a connection stands; past it nothing was sent, and it is tried again."""

    timeout: Timeout = 60.0
    """For the whole call; past it the outcome is unknown, so it is generous."""

    webhook: Webhook | None = None
    """Where answers arrive; without it none do."""

    @field_validator("base_url")
    @classmethod
    def _has_no_version(cls, url: str) -> str:
        if url.endswith("/v1"):  # as some clients of Pisano write it (pisano §1)
            raise ValueError("write it without /v1, which every call adds")
        return url
