"""The section `kafka`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from connector.config.model import Allowed, Model
from connector.config.types import Brokers, Retention, Secret, Text, TopicPrefix, Url, Whole

_InCatalogue = Annotated[str, Allowed("a name from [topics/](../topics/README.md), without `.{entity}`")]


class TopicSettings(Model):
    """Changes to a topic of the catalogue, or to the topics of all entities.

    `connector topics apply` creates a topic with these settings. For a topic that already exists, it says what differs.
    `salesforce.positions` cannot be changed: its last records are kept for ever, and the number of partitions decides
    where they are.
    """

    retention: Retention | None = None
    """How long records are kept, and so how far back a stage can be replayed. No stage starts if Kafka keeps them for
    less time. `pisano.attempts` and `salesforce.writes` remember what was done. They must be kept at least 7 days
    longer than `pisano.invitations` and `pisano.feedback`, or a replay would e-mail or write a second time."""

    partitions: Annotated[Whole, Field(ge=1, le=1000)] | None = None
    """How many workers can share a stage's work; no stage has work for 1000. `pisano.attempts` must have as many as
    `pisano.invitations`, and `salesforce.writes` as many as `pisano.feedback`. Decide before you create the topics: if
    you add partitions later, keys move to other partitions, away from what is remembered about them."""


class OAuth(Model):
    """Where tokens come from: the client credentials flow of an OIDC server. The connector gets a new token before the
    old one expires. To trust your own authority for this server, name its PEM file in the environment as
    `SSL_CERT_FILE`."""

    token_url: Url
    """The server's token endpoint."""

    client_id: Text
    """Our id there."""

    client_secret: Secret
    """The secret of that id."""

    scope: Text | None = None
    """What the token is for, if the server asks; several scopes have spaces between them."""

    extensions: dict[Text, Text] = {}
    """What the cluster wants beside the token, such as `{logicalCluster: lkc-1, identityPoolId: pool-1}` for Confluent
    Cloud."""

    def __hash__(self) -> int:  # pydantic's own takes no mapping
        return hash((self.token_url, self.client_id))


class Kafka(Model):
    """The Kafka cluster that holds the topics. File paths start at the folder in which the connector is started."""

    bootstrap_servers: Brokers
    """Some brokers of the cluster; the connector learns from them which others there are."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """The protocol of the brokers' listener."""

    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    """How to log in; `SASL_PLAINTEXT` and `SASL_SSL` need it. `OAUTHBEARER` needs `sasl_oauth`, and the others need
    `sasl_username` and `sasl_password`."""

    sasl_username: Text | None = None
    """The user who logs in."""

    sasl_password: Secret | None = None
    """That user's password."""

    sasl_oauth: OAuth | None = None
    """Where `OAUTHBEARER` gets its tokens."""

    ssl_ca_file: Text | None = None
    """PEM file of the authorities that certify the brokers; without it, those that the machine trusts. If one of
    these three files changes, new connections use it without a restart."""

    ssl_cert_file: Text | None = None
    """PEM file of our own certificate, if the brokers ask for one."""

    ssl_key_file: Text | None = None
    """PEM file of our certificate's key, without a passphrase. Leave it out if the certificate's file has the key."""

    topic_prefix: TopicPrefix = ""
    """Prefix of every topic, consumer group and transactional id, so that several installations can share a cluster."""

    replication_factor: Annotated[Whole, Field(ge=-1, le=32767)] = -1
    """Copies of each topic that `connector topics apply` creates; -1 is the brokers' own default.replication.factor."""

    on_deleted_records: Literal["go_on", "stop"] = "go_on"
    """What a stage does when Kafka deleted records before the stage had read them. Each time, the stage logs an error
    line and counts in `connector_records_deleted_total`. `stop` holds the stage until a person has set the group's
    offset."""

    topics: dict[_InCatalogue, TopicSettings] = {}
    """Changes to topics, such as `{salesforce.cdc: {retention: 30d, partitions: 12}}`."""

    @model_validator(mode="after")
    def _sasl_is_complete(self) -> "Kafka":
        if not self.security_protocol.startswith("SASL"):
            return self
        if self.sasl_mechanism == "OAUTHBEARER":
            if self.sasl_oauth is None or self.sasl_username or self.sasl_password:
                raise ValueError("OAUTHBEARER needs sasl_oauth, and neither sasl_username nor sasl_password")
        elif not (self.sasl_mechanism and self.sasl_username and self.sasl_password):
            raise ValueError(f"{self.security_protocol} needs sasl_mechanism, sasl_username and sasl_password")
        elif self.sasl_oauth:
            raise ValueError(f"sasl_oauth is for OAUTHBEARER, and sasl_mechanism is {self.sasl_mechanism}")
        return self

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "Kafka":
        for prefix, part in (("sasl_", "SASL"), ("ssl_", "SSL")):
            given = [name for name in type(self).model_fields if name.startswith(prefix) and getattr(self, name)]
            if given and part not in self.security_protocol.split("_"):
                raise ValueError(f"{self.security_protocol} does not use {', '.join(given)}; set security_protocol")
        return self
