"""Each stage works as a user that has just the rights of `connector acls`, however that user logs in to Kafka."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import topics
from helpers.certificates import Authority
from helpers.guarded_broker import LOGINS, GuardedBroker
from helpers.oidc import Issuer
from helpers.service import EXAMPLE, running_app
from helpers.waiting import until

from connector.config import Config, Kafka, catalogue
from connector.config.file import load
from connector.errors import Fatal
from connector.kafka import acls
from connector.kafka.connection import admin_client
from connector.kafka.topics import apply
from connector.sandbox.company import Sandbox, sandbox
from connector.sandbox.doubles import pisano
from connector.wiring import STAGES

# aiokafka leaves the sockets of a client that ends in mid-connection to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("collected"),
]


@dataclass(frozen=True)
class Installation:
    """The example on a guarded broker. Each of `acls.WHO` is a user with its own rights."""

    broker: GuardedBroker
    config: Config
    file: Path
    environ: Mapping[str, str]
    both: Sandbox
    token_url: str

    def as_(self, who: str, how: str) -> Config:
        """The configuration with which a user logs in."""
        kafka = self.broker.login(self.config.kafka, who, how, self.token_url)
        return self.config.model_copy(update={"kafka": kafka})

    async def allow(self, *who: str) -> None:
        """Gives users what `connector acls` says that they need."""
        await self.broker.allow_all([(one, right) for one in who for right in acls.rights(self.config, one)])

    @asynccontextmanager
    async def running(self, how: str, stages: Sequence[str] = STAGES) -> AsyncIterator[None]:
        """Each stage in an app of its own, as its own user."""
        async with AsyncExitStack() as stack:
            apps = [running_app(self.as_(stage, how), [stage]) for stage in stages]
            started = await asyncio.gather(*(stack.enter_async_context(app) for app in apps))
            self.both.expect_webhooks_at(started[stages.index("receive")].address)
            await until(lambda: self.both.salesforce.streams)
            yield

    async def round_trip(self, name: str) -> None:
        """A case is closed, its contact is asked, and the answer is written."""
        org, email = self.both.salesforce, f"{name}@example.com"
        self.both.pisano.customers[email] = pisano.Customer(answers={"nps_score": 2})
        case = org.create("Case", {"ContactId": org.create("Contact", {"LastName": "Byron", "Email": email})})
        org.update("Case", case, {"Status": "Closed"})
        await until(lambda: org.record("Case", case)["Status"] == "Reopened")
        assert [one.address for one in self.both.pisano.emails()].count(email) == 1


@pytest.fixture
async def installation(guarded: GuardedBroker, unique: str, tmp_path: Path) -> AsyncIterator[Installation]:
    """The topics are there; nobody has a right yet."""
    file = tmp_path / "connector.yaml"
    text = EXAMPLE.read_text().replace("kafka:\n", f"kafka:\n  topic_prefix: {unique}\n", 1)
    file.write_text(text.replace("service:", f"service:\n  index: {tmp_path}/index.sqlite\n ", 1))
    async with sandbox() as both, guarded.issuer.serving() as token_url:
        environ = {**both.environment(), "KAFKA_BOOTSTRAP_SERVERS": guarded.bootstrap_servers, "SERVICE_PORT": "0"}
        config = load(file, environ)
        await apply(config.kafka, catalogue.topics_for(config))
        yield Installation(guarded, config, file, environ, both, token_url)


@pytest.mark.parametrize("how", LOGINS)
async def test_each_stage_works_with_just_its_rights(installation: Installation, how: str) -> None:
    await installation.allow(*STAGES)
    async with installation.running(how):
        await installation.round_trip("ada")
