"""The whole file, and the section `service`."""

from typing import Annotated

from pydantic import Field

from connector.cells import Breaker
from connector.config.console import Console
from connector.config.feedback import FeedbackRule
from connector.config.kafka import Kafka
from connector.config.model import Model
from connector.config.pisano import Account
from connector.config.protect import ProtectAll
from connector.config.salesforce import Salesforce
from connector.config.surveys import Survey
from connector.config.types import Name, Text, Timeout, Whole


class DeadLetterBreaker(Model):
    """When a stage holds a survey, an account or a rule instead of turning more of its records into dead letters."""

    run: Annotated[Whole, Field(ge=1, le=100_000)] = 50
    """The stage holds after more dead letters in a row than this. Single bad records happen; fifty in a row have one
    cause."""

    share: Annotated[float, Field(ge=0.1, le=1)] = 0.8
    """The stage holds when more than this share of the last 200 records are dead letters. So a few good records among
    them do not hide a common cause."""

    def make(self) -> Breaker:
        """A breaker of one cell."""
        return Breaker(self.run, self.share)


class Spool(Model):
    """Where webhooks wait while Kafka is away: a file that is synced before Pisano gets its 2xx."""

    folder: Text = "/var/lib/connector"
    """A folder on a disk of this machine that outlives the process, never a network share. Use one folder for each
    Kafka. The connector does not create it. If it is missing, as with a read-only root and no volume, the service runs
    without a spool, logs that once, and answers 503 while Kafka is away."""
    # if we created it, a forgotten volume would mean a folder in the container's own layer

    max_bytes: Annotated[Whole, Field(ge=0, le=1 << 40)] = 256 * 1024 * 1024
    """Bytes that may wait; beyond that, a webhook that Kafka does not take gets a 503. 0 means no spool. The default
    holds some 100,000 answers. The last 16 MiB of the disk stay free: taking records out needs room, too."""


class Tls(Model):
    """The certificate of the port, in PEM files. If a file changes, new connections use it without a restart. The
    image's own health check works with it; a probe of Kubernetes needs `scheme: HTTPS`."""

    cert_file: Text
    """Our certificate, and those between it and its authority."""

    key_file: Text | None = None
    """The certificate's key, without a passphrase. Leave it out if the certificate's file has the key."""


class Service(Model):
    """The port for webhooks, `/healthz`, `/readyz`, `/status` and `/metrics`, and how the service ends."""

    host: Text = "127.0.0.1"
    """The address to listen on; `0.0.0.0` means all addresses of the machine."""

    port: Annotated[Whole, Field(ge=0, le=65535)] = 8080
    """The port to listen on; 0 picks a free one and prints it."""

    tls: Tls | None = None
    """Makes the port speak https. Without it the port speaks http, and something in front of it must speak https with
    Pisano."""

    spool: Spool = Spool()
    """Where webhooks wait while Kafka is away."""

    index: Text = "/var/lib/connector/index.sqlite"
    """The file in which the optional stage `index` keeps what `connector explain` looks up, on a disk of this machine.
    It takes some 2.5 GB for a million invitations. You can delete it at any time: the stage builds it again from the
    topics. Persons are in it only as hashes; with `protect.hash_key`, a copy of it does not tell whose."""

    answers_missing_after: Timeout = 2 * 86400.0
    """How long no answer may come, while e-mails go out, before `connector_answers_missing` is 1. Most answers come
    within a day; two days allow for a quiet one."""

    drain: Timeout = 25.0
    """How long work under way may take after SIGTERM. A stop takes at most 20 s more, so give the orchestrator 50 s."""

    breaker: DeadLetterBreaker = DeadLetterBreaker()
    """When there are too many dead letters."""


class Config(Model):
    """The file has these sections."""

    kafka: Kafka
    """The topics between the stages."""

    salesforce: Salesforce
    """Where changes come from, and answers go to."""

    pisano: Annotated[dict[Name, Account], Field(min_length=1)]
    """The accounts that e-mail the surveys."""

    surveys: Annotated[dict[Name, Survey], Field(min_length=1)]
    """Who is asked, when, and how."""

    protect: ProtectAll = ProtectAll()
    """Contact protection over all surveys."""

    feedback: dict[Name, FeedbackRule] = {}
    """What is written to Salesforce for an answer."""

    service: Service = Service()
    """The HTTP port, and how the service ends."""

    console: Console = Console()
    """Who may use the page of `connector console`."""
