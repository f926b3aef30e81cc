"""Each stage works as a user that has just the rights of `connector acls`, however that user logs in to Kafka."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from helpers import bulkheads, change_events, invitations, topics
from helpers.guarded_broker import LOGINS, GuardedBroker
from helpers.service import EXAMPLE, running_app
from helpers.waiting import until
from typer.testing import CliRunner

from connector import cli
from connector.config import Config, catalogue
from connector.config.file import load
from connector.kafka import acls
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.inbound import InRecord
from connector.kafka.topics import apply
from connector.sandbox.company import Sandbox, sandbox
from connector.sandbox.doubles import pisano
from connector.wiring import STAGES

# aiokafka leaves the sockets of a client that ends in mid-connection to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("collected"),
    pytest.mark.xdist_group("guarded"),  # one broker is enough
]

# What a stage writes only when something goes wrong, or later. The authorizer's log shows that it uses all else.
ONLY_IN_TROUBLE = {("WRITE", "connector.deadletters"), ("WRITE", "connector.parked"), ("WRITE", "pisano.waiting")}


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

    def write_login(self, who: str, how: str) -> None:
        """Makes the file one with which a user logs in."""
        kafka = self.as_(who, how).kafka.model_dump(exclude_unset=True)
        said = {name: value if isinstance(value, str) else value.get_secret_value() for name, value in kafka.items()}
        text = yaml.safe_dump({"kafka": said})
        self.file.write_text(re.sub(r"kafka:\n(?: .*\n)+", text, self.file.read_text(), count=1))

    @asynccontextmanager
    async def running(self, logins: Sequence[str]) -> AsyncIterator[None]:
        """Each stage in an app of its own, as its own user, who logs in in the way at the same place of `logins`."""
        async with AsyncExitStack() as stack:
            apps = [running_app(self.as_(stage, how), [stage]) for stage, how in zip(STAGES, logins, strict=True)]
            started = await asyncio.gather(*(stack.enter_async_context(app) for app in apps))
            self.both.expect_webhooks_at(started[STAGES.index("receive")].address)
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


# With these two and test_guarded_kafka.py, stages on Faust and stages without it log in in every way.
@pytest.mark.parametrize("logins", [LOGINS, LOGINS[2:] + LOGINS[:2]], ids=" ".join)
async def test_each_stage_works_with_just_its_rights(installation: Installation, logins: Sequence[str]) -> None:
    await installation.allow(*STAGES)
    async with installation.running(logins):
        await installation.round_trip("ada")
    granted = {
        (stage, operation, right.kind, right.name)
        for stage in STAGES
        for right in acls.rights(installation.config, stage)
        for operation in right.operations
    }
    unused = granted - installation.broker.allowed()
    assert {(operation, name.partition(".")[2]) for _, operation, _, name in unused} <= ONLY_IN_TROUBLE


async def test_stages_go_on_when_their_tokens_end(installation: Installation) -> None:
    """The broker closes a connection when its token ends; the next one is made with a new token."""
    issuer = installation.broker.issuer
    issuer.lives, busy = 6, {*STAGES} - {"receive"}  # that one is connected again when the next answer comes
    try:
        await installation.allow(*STAGES)
        async with installation.running(["OAUTHBEARER"] * len(STAGES)):
            await installation.round_trip("ada")
            before = Counter(issuer.given)
            await until(lambda: busy <= (Counter(issuer.given) - before).keys())
            await installation.round_trip("bob")
    finally:
        issuer.lives = 3600


async def test_the_index_works_with_just_its_rights(installation: Installation) -> None:
    await installation.allow("index")
    async with running_app(installation.as_("index", "SCRAM-SHA-256"), ["index"]):
        pass  # it is ready only when it has read all topics


async def test_topics_apply_works_with_just_its_rights(installation: Installation) -> None:
    kafka = installation.config.kafka.model_copy(update={"topic_prefix": installation.config.kafka.topic_prefix + "2."})
    config = installation.config.model_copy(update={"kafka": kafka})
    other = replace(installation, config=config)
    await other.allow("topics")
    wanted = catalogue.topics_for(config)
    report = await apply(other.as_("topics", "SCRAM-SHA-256").kafka, wanted)
    assert report.created == [topic.name for topic in wanted]
    assert (await apply(other.as_("topics", "SCRAM-SHA-256").kafka, wanted)).unchanged == report.created


async def test_every_command_works_with_just_the_operators_rights(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await installation.allow("operator")
    config, prefix = installation.config, installation.config.kafka.topic_prefix
    source = InRecord(f"{prefix}salesforce.cdc.Case", 0, 0, b"k", b"{}", (), 0.0)
    await topics.publish(
        config.kafka,
        [
            DeadLetters(config.kafka, "trigger", lambda *_: None).of_record(source, "made_up", ValueError("no"), "x"),
            *change_events.as_records(config.kafka, [change_events.change("5005g0000000001AAA", {"Status": "Closed"})]),
            *invitations.as_records(config.kafka, [invitations.invitation(1)]),
            bulkheads.answer(config.kafka, 1),
        ],
    )
    for name, value in installation.environ.items():
        monkeypatch.setenv(name, value)
    installation.write_login("operator", "SCRAM-SHA-512")
    file = str(installation.file)
    for command in [
        ["check", file, "--live"],
        ["status", file],
        ["reconcile", file],
        ["explain", "customer1@example.com", file],
        ["preview", "closed-case", file, "--event", "5/0"],
        ["held", "release", "trigger/closed-case", "--config", file],
        ["suppress", "add", "bob@example.com", "--config", file],
        ["suppress", "list", "--config", file],
        ["suppress", "remove", "bob@example.com", "--config", file],
        ["person", "export", "customer-1@example.com", "--config", file],
        ["person", "erase", "customer-1@example.com", "--yes", "--config", file],
        ["deadletters", "list", "--config", file],
        ["deadletters", "retry", "--stage", "trigger", "--yes", "--config", file],
        ["positions", "show", "--config", file],
        ["positions", "set", "/data/CaseChangeEvent", "--to", "earliest", "--config", file],
        ["replay", "send", "--from", "earliest", "--dry-run", "--config", file],
        ["replay", "write", "--from", "earliest", "--yes", "--config", file],
        ["replay", "trigger", "--from", "earliest", "--yes", "--config", file],
    ]:
        ended = await asyncio.to_thread(CliRunner().invoke, cli.app, command)
        assert "right" not in ended.output, (command, ended.output)
        assert not isinstance(ended.exception, Exception), (command, ended.exception)
        if command[0] == "check":
            assert "receive would lack" not in ended.output, "an operator may write what receive writes"
            assert f"trigger would lack WRITE on {prefix}connector.parked" in ended.output
