"""The section `salesforce`. A § is a section of the contract that a fact was taken from."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from connector.config.model import Model
from connector.config.types import (
    ApiVersion,
    Channel,
    ClientName,
    Endpoint,
    Number,
    Secret,
    Text,
    Timeout,
    Url,
    Whole,
    is_loopback,
)


class ClientCredentials(Model):
    """The client credentials flow of an External Client App. The app's run-as user reads and writes."""

    method: Literal["client_credentials"]
    """Chooses this flow."""

    client_id: Text
    """The app's consumer key."""

    client_secret: Secret
    """The app's consumer secret."""


class JwtBearer(Model):
    """The JWT bearer flow of an External Client App."""

    method: Literal["jwt_bearer"]
    """Chooses this flow."""

    client_id: Text
    """The app's consumer key."""

    username: Text
    """The user who reads and writes."""

    private_key: Secret
    """The RSA key whose certificate the app holds: PEM without a passphrase, best given as `${file:…}`."""

    audience: Url = "https://login.salesforce.com"
    """The login's audience: `https://test.salesforce.com` for a sandbox org. Some orgs take their My Domain."""
    # salesforce §G

    @field_validator("private_key")
    @classmethod
    def _is_a_key(cls, key: Secret) -> Secret:
        # Imported here, because they take 10 MB and few files have a key.
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

        try:
            is_rsa = isinstance(load_pem_private_key(key.get_secret_value().encode(), None), RSAPrivateKey)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            is_rsa = False
        if not is_rsa:
            raise ValueError("this is not an RSA private key in PEM form without a passphrase")
        return key


class PubSub(Model):
    """The Pub/Sub API, which the changes come from."""

    endpoint: Endpoint = "api.pubsub.salesforce.com:7443"
    """The default is Salesforce's own; set another one only to use a double."""

    tls: bool = True
    """`false` means plain text, which is allowed for loopback addresses only."""

    ca_file: Text | None = None
    """PEM file of the authorities that certify the endpoint, where a proxy opens TLS; without it, the usual ones. If
    the file changes, the next stream uses it without a restart."""

    start: Literal["latest", "earliest"] = "latest"
    """Where a channel without a position begins: `latest` with changes from now on, `earliest` with what Salesforce
    still has of the last 72 h."""

    lost_position: Literal["stop", "earliest"] = "stop"
    """What to do when Salesforce no longer knows a position, so that changes may be lost. `stop` stops and lets a
    person decide, `earliest` goes on with what Salesforce still has of the last 72 h."""

    idle_timeout: Timeout = 300.0
    """Silence after which a stream counts as broken. A healthy stream sends something at least every 270 s."""
    # salesforce §0.3

    @model_validator(mode="after")
    def _plain_text_is_local(self) -> "PubSub":
        if not self.tls and not is_loopback(self.endpoint.rpartition(":")[0]):
            raise ValueError("tls: false is allowed for loopback addresses only")
        if self.ca_file and not self.tls:
            raise ValueError("tls: false does not use ca_file")
        return self


class Salesforce(Model):
    """The org that changes come from and answers go to."""

    login_url: Url
    """The org's My Domain, such as `https://acme.my.salesforce.com`."""

    auth: Annotated[ClientCredentials | JwtBearer, Field(discriminator="method")]
    """How to log in."""

    channels: Annotated[tuple[Channel, ...], Field(min_length=1)]
    """The channels to follow. From a channel of several objects, we keep only those that a survey names in `on`."""

    pubsub: PubSub = PubSub()
    """How to follow the channels."""

    rest_version: ApiVersion = "66.0"
    """Version of the REST API; every org has had 66.0 since spring 2026."""

    client_name: ClientName = "pisano-connector"
    """Our name in Salesforce's `changeOrigin`. A change that carries this name is our own and invites nobody."""

    timeout: Timeout = 30.0
    """How long one REST call may take. Salesforce ends a query after 120 s; a lookup by Id that needs 30 s is an
    outage."""

    calls_per_second: Annotated[Number, Field(gt=0)] = 25.0
    """REST calls; after a pause as many may begin at once. It is far below what Salesforce takes. 25 full calls write
    5,000 records."""

    write_batch: Annotated[Whole, Field(ge=1, le=200)] = 200
    """Records that one call may write; 200 is the limit of Salesforce's collections."""
    # salesforce §D2

    write_calls: Annotated[Whole, Field(ge=1, le=25)] = 10
    """Calls that write records at once. One object uses at most half of them, rounded up, so that its slow calls leave
    room for the others. Salesforce lets an org run 25 requests that take 20 s or longer at once, for all its clients.
    With more calls at once, records that have the same parent lock each other out more often."""

    @field_validator("channels")
    @classmethod
    def _no_channel_twice(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(channels)) != len(channels):
            raise ValueError("a channel is listed twice")
        return channels
