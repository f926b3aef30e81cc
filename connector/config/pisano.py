"""The section `pisano`: accounts by name. A § is a section of the contract that a fact was taken from."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from connector.config.answers import Answers
from connector.config.model import Model
from connector.config.types import (
    HeaderName,
    HeaderSecret,
    HttpError,
    Limit,
    Region,
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
    """Tokens that expire, fetched with the credentials of an authorized app. Each fetch counts as a call."""

    method: Literal["authorized_app"]
    """Chooses this way to log in."""

    client_id: Text
    """The app's id."""

    client_secret: Secret
    """The app's secret."""

    id_key: Text = "client_id"
    """The JSON key for the id; Pisano does not document the names."""  # pisano §2.1

    secret_key: Text = "client_secret"  # noqa: S105 - the name of a JSON key
    """The JSON key for the secret."""

    lifetime: Timeout = 600.0
    """How long a token is used when the answer names no expiry; a 401 renews it earlier."""

    scheme: Scheme = "bearer"
    """`Authorization: Bearer …`, or `Authorization: Token token="…"`; Pisano's own pages name both."""  # pisano §2.2


class StaticToken(Model):
    """The token of an API user."""

    method: Literal["static_token"]
    """Chooses this way to log in."""

    token: HeaderSecret
    """The token of a user that nothing else uses."""

    scheme: Scheme = "bearer"
    """`Authorization: Bearer …`, or `Authorization: Token token="…"`; Pisano's own pages name both."""  # pisano §2.2


class Webhook(Model):
    """Where the account's answers arrive. [webhook.md](webhook.md) has the payload to give Pisano."""

    path: UrlPath
    """The path that Pisano posts to, on the service's port. Each account needs its own."""

    secret: HeaderSecret
    """The secret that Pisano must send, at least 16 characters: anyone who knows it can write into Salesforce."""

    previous_secret: HeaderSecret | None = None
    """A second secret that is valid too. Move the old one here while you change the secret in Pisano."""

    secret_in: Literal["header", "path"] = "header"  # noqa: S105 - where it stands, not the secret
    """`path` expects the secret as an extra last segment of the path, for a Pisano that cannot send headers. The secret
    may then hold only letters, digits and `. _ ~ -`."""

    header: HeaderName = "X-Webhook-Secret"
    """The header that holds the secret."""

    fields: dict[Text, Literal["integer", "number", "boolean", "string"]] = {}
    """The types of the body's keys. Keys that are not listed stay as they came. An empty text is no value."""

    misfit: Literal["empty", "dead_letter"] = "empty"
    """What happens to a value that does not fit its type, such as `N/A` for an integer. `empty` leaves the field empty,
    records the value in `misfits` and writes the rest. `dead_letter` gives up the whole answer."""

    correlation: Text = "sf_ref_id"
    """The body's key that names the record. The connector keeps answers with the same value in order, and only among
    these an older one does not overwrite a newer one. Name what the rules under `feedback` find their record by."""

    identity: tuple[Text, ...] = ()
    """The body's keys that together name an answer, such as `[response_id]`. Bodies with the same values are the same
    answer, however late they come. Without them, or when one is empty, equal bodies are the same answer for the time
    `repeats_within`."""

    identity_ignores: tuple[Text, ...] = ()
    """The body's keys that differ each time Pisano sends the same answer again, such as `[sent_at]`."""

    repeats_within: Seconds = 8 * 86400.0
    """How long after an answer an equal body is the same answer, sent again; later it is another answer. Pisano sends a
    webhook up to 20 times, and does not say in which time. Other systems take almost 7 days for that."""  # pisano §4

    answered_at: Text | None = None
    """The body's key that holds the time of the answer: ISO 8601, or seconds or milliseconds since 1970; without a zone
    it is UTC. Webhooks may arrive in the wrong order; with this key, an older answer does not overwrite a newer one.
    A time more than a day ahead of our clock is a misfit."""

    max_bytes: Annotated[Whole, Field(ge=1, le=512 * 1024)] = 256 * 1024
    """The most bytes of a body; free text takes only kilobytes. The setting's maximum is half of what Kafka takes in
    one record, as JSON can grow when it is written again."""

    @property
    def secret_is_in_path(self) -> bool:
        return self.secret_in == "path"  # noqa: S105 - where it stands, not the secret

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that are valid as the secret."""
        both = (self.secret, self.previous_secret)
        return tuple(secret.get_secret_value() for secret in both if secret is not None)

    @field_validator("secret", "previous_secret")
    @classmethod
    def _secret_is_long_enough(cls, secret: HeaderSecret | None) -> HeaderSecret | None:
        if secret is not None and len(secret.get_secret_value()) < 16:
            raise ValueError(
                "a webhook secret has at least 16 characters: anyone who knows it can write into Salesforce"
            )
        return secret

    @model_validator(mode="after")
    def _secret_is_a_segment(self) -> "Webhook":
        if self.secret_is_in_path and not all(re.fullmatch(r"[A-Za-z0-9._~-]+", secret) for secret in self.secrets):
            raise ValueError("a secret in the path is made of a-z, A-Z, 0-9, . _ ~ -")
        return self


class Phones(Model):
    """How phone numbers are read, and how a call writes them."""

    region: Region | None = None
    """The country of numbers that are written without one, such as `TR`. Without it, they are no valid addresses."""

    form: Literal["e164", "local"] = "e164"
    """`e164` writes +905330000000, and `local` 5330000000. Pisano does not document the form that it takes; a sample of
    one of its clients is local. With `local`, numbers of other countries are no valid addresses."""  # pisano §3.1

    @model_validator(mode="after")
    def _has_a_region(self) -> "Phones":
        if self.form == "local" and self.region is None:
            raise ValueError("`form: local` needs `region`: it leaves the country out of the number")
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
    """All limits apply at once, in every span of each length. Each must be longer and larger than the one before. The
    default is what Pisano documents."""  # pisano §6

    limit_padding: Seconds = 0.5
    """Time added to each span, because Pisano counts a call when it arrives and the network's delay varies."""

    limit_reserved: ShareBelowAll = 0.0
    """The part of each limit that is left to other clients of the same budget."""

    max_recipients_per_call: Annotated[Whole, Field(ge=1, le=1000)] = 50
    """Invitations that one call may carry. A call carries those that are due, so few when there is little to do. A call
    that is refused for its content is tried again in halves. A call without a clear end leaves all of its invitations
    in doubt: with 1, that is one at most."""  # pisano §3: the vendor's own example sends a list

    phones: Phones = Phones()
    """Phone numbers, for surveys by SMS and links."""

    retry_statuses: frozenset[HttpError] = frozenset({429, 503})
    """Statuses after which no e-mail can have been sent, so that the call is made again."""

    answers: Answers = Answers()
    """What Pisano's 2xx means."""

    unknown_outcome: Literal["hold", "resend", "drop"] = "hold"
    """What to do with an invitation whose call got no answer, so that the customer may have been e-mailed. `hold` makes
    it a dead letter for a person to decide, and `drop` gives it up. `resend` sends it once more, so the customer may
    get two e-mails, and then holds it; after a 2xx whose meaning is unknown it holds it at once."""

    outage_after: Annotated[Whole, Field(ge=1, le=1000)] = 3
    """Pisano counts as away after this many calls in a row without a clear answer. The connector then makes one call at
    a time, for one invitation, at growing intervals. One such call may be chance; each leaves a customer whose outcome
    is unknown."""

    connect_timeout: Timeout = 10.0
    """How long connecting may take. After that nothing was sent, and the connector tries again."""

    timeout: Timeout = 60.0
    """How long the whole call may take. After that the outcome is unknown, so the default is generous."""

    webhook: Webhook | None = None
    """Where answers arrive; without it, no answers arrive."""

    @field_validator("base_url")
    @classmethod
    def _has_no_version(cls, url: str) -> str:
        if url.endswith("/v1"):  # as some clients of Pisano write it (pisano §1)
            raise ValueError("write it without /v1, which every call adds")
        return url
