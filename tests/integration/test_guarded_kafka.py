"""On a cluster with ACLs: each missing right is one sentence, holds one stage, and passes once somebody adds it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.guarded_broker import PASSWORD, USER, GuardedBroker
from helpers.invitations import as_records, invitation
from helpers.plain_http import plain_http
from helpers.service import WEBHOOK_SECRET, held, set_up
from helpers.topics import publish
from helpers.waiting import until
from pydantic import SecretStr
from structlog.testing import capture_logs

from connector.cells import Cell
from connector.config import Config, Kafka, catalogue
from connector.errors import Fatal
from connector.kafka import publisher, topics
from connector.kafka.cloud_events import OutRecord
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.inbound import InRecord
from connector.operate import suppressions
from connector.operate.actions import action_of, record_of
from connector.operate.findings import Findings
from connector.operate.letters import Wanted
from connector.operate.reconcile import Reconciliation, Span
from connector.operate.status import Board
from connector.operate.work_off import Tally, work_off
from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader
from connector.wiring import App, receive
from connector.wiring.persons import PersonTopics

PREFIX = "px."
NOW = datetime.now(UTC)

# aiokafka leaves the sockets of a client that ends in mid-connection to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("collected"),
    pytest.mark.xdist_group("guarded"),  # one broker is enough
]


@pytest.fixture(scope="module")
def service(guarded: GuardedBroker) -> GuardedBroker:
    """The broker, with a user who has the prefixed rights of docs/kafka.md."""

    async def allow() -> None:
        await guarded.allow(f"Topic:{PREFIX}*", "READ", "WRITE", "DESCRIBE_CONFIGS")
        await guarded.allow(f"Group:{PREFIX}*", "READ")
        await guarded.allow(f"TransactionalId:{PREFIX}*", "WRITE")

    asyncio.run(allow())
    return guarded


def as_user(kafka: Kafka, broker: GuardedBroker) -> Kafka:
    login = {"sasl_mechanism": "PLAIN", "sasl_username": USER, "sasl_password": SecretStr(PASSWORD)}
    address = {"bootstrap_servers": broker.guarded, "security_protocol": "SASL_PLAINTEXT"}
    return kafka.model_copy(update={**login, **address})


@pytest.fixture
async def config(service: GuardedBroker, tmp_path: Path, sf: SalesforceDouble) -> AsyncIterator[Config]:
    """The example, as the user runs it. Somebody else has created its topics."""
    async with PisanoDouble() as pisano:
        made = await set_up(tmp_path, service.bootstrap_servers, PREFIX, pisano=pisano, salesforce=sf)
        yield made.config.model_copy(update={"kafka": as_user(made.kafka, service)})


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cell, "_pause", lambda _: 0.5)


async def all_ready(app: App) -> bool:
    return all((await app.ready()).values())


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(
    ("resource", "operation", "stages"),
    [
        ("Group:px.trigger", "READ", {"trigger"}),
        ("Group:px.capture", "READ", {"capture"}),
        ("Topic:px.salesforce.cdc.Case", "READ", {"trigger"}),
        ("Topic:px.pisano.feedback", "READ", {"write"}),
        ("Topic:px.pisano.attempts", "WRITE", {"send"}),
        ("TransactionalId:px.send-preflight", "WRITE", {"send"}),
    ],
)
async def test_a_missing_right_is_one_sentence_and_holds_one_stage(
    guarded: GuardedBroker, config: Config, resource: str, operation: str, stages: set[str]
) -> None:
    """clients.md A1, A4: the service hung without a word, or asked for ever to be started again."""
    kind, _, name = resource.partition(":")
    await guarded.forbid(resource, operation)
    try:
        async with App(config) as app:

            async def why() -> dict[str, str] | None:
                cells = await held(app)
                return cells if {f"kafka/{stage}" for stage in stages} <= cells.keys() else None

            reasons = await until(why)
            for stage in stages:
                assert f"the user needs the right {operation} on {kind} {name}" in reasons[f"kafka/{stage}"]
            await until(lambda: others_are_ready(app, stages))
            await guarded.forbid_no_longer(resource, operation)
            await until(lambda: all_ready(app))
    finally:
        await guarded.forbid_no_longer(resource, operation)


@pytest.mark.usefixtures("short_pauses")
async def test_send_is_held_when_it_may_read_the_suppression_list_no_more(
    guarded: GuardedBroker, config: Config
) -> None:
    """It went on, and called for persons who were put on the list from then on."""
    topic = f"{PREFIX}pisano.suppressions"
    try:
        async with App(config, ["send"]) as app:
            await until(lambda: all_ready(app))
            await guarded.forbid(f"Topic:{topic}", "READ")

            async def says_so() -> bool:
                return f"the user needs the right READ on Topic {topic}" in (await held(app)).get("kafka/send", "")

            await until(says_so)
            await guarded.forbid_no_longer(f"Topic:{topic}", "READ")
            await until(lambda: all_ready(app))
    finally:
        await guarded.forbid_no_longer(f"Topic:{topic}", "READ")


@pytest.mark.usefixtures("short_pauses")
async def test_send_knows_who_was_put_on_the_list_while_it_might_not_read_it(
    guarded: GuardedBroker, config: Config
) -> None:
    """What had been read before counted for all, and the first calls went out before the rest was read."""
    topic, persons = f"Topic:{PREFIX}pisano.suppressions", PersonTopics(config)
    entry = suppressions.entry("late@example.com", by="legal")
    try:
        await persons.caught_up()
        await guarded.forbid(topic, "READ")
        with pytest.raises(Fatal, match="needs the right READ"):
            await persons.ended()
        await suppressions.write(config.kafka, [entry])
        await guarded.forbid_no_longer(topic, "READ")

        async def again() -> bool:
            with suppress(Fatal):
                await persons.caught_up()
                return True
            return False

        await until(again)
        assert persons.protection.people.suppressed_by(invitation(1, email="late@example.com"), NOW) is not None
    finally:
        await persons.stop()
        await guarded.forbid_no_longer(topic, "READ")


async def test_no_account_goes_on_when_the_suppression_list_may_not_be_read(
    guarded: GuardedBroker, config: Config
) -> None:
    """Of several accounts that waited for the list, one heard of the refusal, and the others took the list for read."""
    topic, persons = f"Topic:{PREFIX}pisano.suppressions", PersonTopics(config)
    try:
        await guarded.forbid(topic, "READ")
        await publish(config.kafka, [OutRecord(f"{PREFIX}pisano.suppressions", b"x", None, [])])
        found = await asyncio.gather(*(persons.caught_up() for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in found] == [Fatal] * 3
    finally:
        await persons.stop()
        await guarded.forbid_no_longer(topic, "READ")


async def others_are_ready(app: App, stages: set[str]) -> bool:
    return {name for name, is_ready in (await app.ready()).items() if not is_ready} == stages


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("topic", ["pisano.feedback", "connector.deadletters"])
async def test_webhooks_that_cannot_be_stored_make_receive_unready(
    guarded: GuardedBroker, config: Config, monkeypatch: pytest.MonkeyPatch, topic: str
) -> None:
    """clients.md A3: the service was ready and answered each webhook with 503."""
    monkeypatch.setattr(publisher, "_FAILS_FOR", 0.5)
    body = b"{}" if topic == "pisano.feedback" else b"no JSON"
    try:
        async with App(config, ["receive"]) as app, plain_http(headers={"X-Webhook-Secret": WEBHOOK_SECRET}) as http:
            await until(lambda: all_ready(app))
            await guarded.forbid(f"Topic:{PREFIX}{topic}", "WRITE")
            (path,) = {account.webhook.path for account in config.pisano.values() if account.webhook}

            async def unready() -> bool:
                await http.post(app.address + path, content=body)
                return not (await app.ready())["receive"]

            await until(unready)
            await guarded.forbid_no_longer(f"Topic:{PREFIX}{topic}", "WRITE")
            await until(lambda: all_ready(app))
            assert (await http.post(app.address + path, content=body)).is_success
    finally:
        await guarded.forbid_no_longer(f"Topic:{PREFIX}{topic}", "WRITE")


async def test_receive_says_which_right_it_lacks_and_is_ready_once_it_has_it(
    guarded: GuardedBroker, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive, "_TRY_AGAIN", 0.5)
    await guarded.forbid(f"Topic:{PREFIX}connector.deadletters", "WRITE")
    try:
        with capture_logs() as logs:
            async with App(config, ["receive"]) as app:
                sentence = "the user needs the right WRITE on Topic px.connector.deadletters."
                await until(lambda: any(sentence in str(line.get("error")) for line in logs))
                assert not await all_ready(app)
                await guarded.forbid_no_longer(f"Topic:{PREFIX}connector.deadletters", "WRITE")
                await until(lambda: all_ready(app))
    finally:
        await guarded.forbid_no_longer(f"Topic:{PREFIX}connector.deadletters", "WRITE")


@pytest.mark.parametrize(
    ("resource", "operation"),
    [
        ("Topic:px.connector.deadletters", "READ"),
        ("Topic:px.pisano.invitations", "READ"),
        ("Group:px.send", "DESCRIBE"),
    ],
)
async def test_status_says_which_right_it_lacks(
    guarded: GuardedBroker, config: Config, resource: str, operation: str
) -> None:
    plain = Kafka(bootstrap_servers=guarded.bootstrap_servers, topic_prefix=PREFIX)
    letter = OutRecord(PREFIX + "connector.deadletters", b"key", b"value", [("dl_stage", b"send")])
    await publish(plain, [letter, *as_records(plain, [invitation(1)])])
    kind, _, name = resource.partition(":")
    await guarded.forbid(resource, operation)

    async def lacks() -> bool:
        try:
            await Board(config, []).look()
        except Fatal as error:
            return f"the user needs the right {operation} on {kind} {name}" in str(error)
        return False  # the brokers learn of a new rule a moment later

    try:
        await until(lacks)
    finally:
        await guarded.forbid_no_longer(resource, operation)
    assert (await Board(config, []).look()).dead_letters


async def test_reconcile_says_which_right_it_lacks(guarded: GuardedBroker, config: Config) -> None:
    async def nothing(*_: object) -> list[dict[str, Any]]:
        return []

    async def found() -> Findings:
        span, reader = Span(NOW - timedelta(hours=1), NOW), Reader(Lookup(nothing), Lookup(nothing))
        return await Reconciliation(config, span, nothing, reader, lambda _: []).run()

    await guarded.forbid("Group:px.write", "DESCRIBE")

    async def lacks() -> bool:
        try:
            await found()
        except Fatal as error:
            return "the user needs the right DESCRIBE on Group px.write" in str(error)
        return False  # the brokers learn of a new rule a moment later

    try:
        await until(lacks)
    finally:
        await guarded.forbid_no_longer("Group:px.write", "DESCRIBE")

    async def works() -> bool:
        try:
            return (await found()).compared["records changed in Salesforce", "Case"] == 0
        except Fatal:
            return False

    await until(works)


async def test_topics_apply_says_which_rights_it_lacks(guarded: GuardedBroker, config: Config) -> None:
    """clients.md A14: with CREATE alone it waited 30 s and blamed the address."""
    kafka = config.kafka.model_copy(update={"topic_prefix": "py."})
    wanted = catalogue.topics_for(config.model_copy(update={"kafka": kafka}))
    with pytest.raises(Fatal, match="Kafka refuses to create these topics"):
        await topics.apply(kafka, wanted)

    async def lacks(operation: str) -> bool:
        try:
            await topics.apply(kafka, wanted)
        except Fatal as error:
            return f"the user needs the right {operation} on Topic py." in str(error)
        return False  # the brokers learn of a new right a moment later

    await guarded.allow("Topic:py.*", "CREATE")
    await until(lambda: lacks("DESCRIBE"))
    assert await lacks("DESCRIBE"), "also when the topics are there"
    await guarded.allow("Topic:py.*", "DESCRIBE")
    await until(lambda: lacks("DESCRIBE_CONFIGS"))
    await guarded.allow("Topic:py.*", "DESCRIBE_CONFIGS")

    async def applied() -> bool:
        try:
            return (await topics.apply(kafka, wanted)).unchanged == [topic.name for topic in wanted]
        except Fatal:
            return False

    await until(applied)


@pytest.mark.parametrize(
    ("resource", "operation", "said"),
    [
        ("Topic:px.connector.deadletters", "READ", "px.connector.deadletters"),
        ("Topic:px.connector.actions", "READ", "px.connector.actions"),
        ("Topic:px.connector.actions", "WRITE", "px.connector.actions"),
        ("Topic:px.pisano.invitations", "WRITE", "px.pisano.invitations"),
        ("TransactionalId:px.deadletters", "WRITE", "the user needs the right WRITE on TransactionalId px.deadletters"),
    ],
)
async def test_an_operator_without_a_right_works_no_dead_letter_off(
    guarded: GuardedBroker, config: Config, resource: str, operation: str, said: str
) -> None:
    source, reason = InRecord("px.pisano.invitations", 0, 0, b"main", b"{}", (), 0.0), f"{operation} {resource}"
    letter = DeadLetters(config.kafka, "send", lambda *_: None).of_record(source, reason, ValueError("no"), "send/x")
    await publish(
        config.kafka, [letter, record_of(config.kafka, action_of("cell", "cell/x", "release", by="", reason=""))]
    )
    tally = Tally()
    await guarded.forbid(resource, operation)
    try:
        with pytest.raises(Fatal, match=re.escape(said)):
            await work_off(config, Wanted(reason=reason), "retry", by="ada", why="", sure=True, tally=tally)
    finally:
        await guarded.forbid_no_longer(resource, operation)
    assert tally.counts.total() == 0
    await work_off(config, Wanted(reason=reason), "retry", by="ada", why="", sure=True, tally=tally)
    assert tally.counts == {("done", "send", reason): 1}
