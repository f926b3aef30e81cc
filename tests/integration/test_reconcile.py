"""`connector reconcile`: everything that is missing between Salesforce and the topics is named."""

import json
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from helpers import topics
from helpers.change_events import as_records, change
from helpers.commands import connector
from helpers.invitations import as_records as as_invitations
from helpers.invitations import invitation, outcomes
from helpers.service import EXAMPLE, running_app
from helpers.waiting import until

from connector.config import Config, Kafka, catalogue
from connector.config.file import load
from connector.kafka.cloud_events import to_record
from connector.kafka.members import finished
from connector.kafka.topics import apply
from connector.operate import reconcile
from connector.operate.findings import Findings
from connector.operate.reconcile import Reconciliation, Span
from connector.records import Feedback, digest
from connector.sandbox.company import Sandbox, sandbox
from connector.sandbox.doubles import pisano
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader
from connector.wiring.shared import Shared

ADA = "ada@example.com"


@dataclass(frozen=True)
class Place:
    """Both doubles, and a configuration that uses them."""

    both: Sandbox
    file: Path
    environ: Mapping[str, str]
    config: Config

    def closed_case(self, email: str) -> str:
        org = self.both.salesforce
        contact = org.create("Contact", {"LastName": "Byron", "Email": email})
        case = org.create("Case", {"ContactId": contact, "Branch__c": "Izmir"})
        org.update("Case", case, {"Status": "Closed"})
        return case

    async def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        own = {**self.environ, **environ}
        return await connector(own, "reconcile", str(self.file), "--grace", "0s", *arguments)


@pytest.fixture
async def place(bootstrap_servers: str, unique: str, tmp_path: Path) -> AsyncIterator[Place]:
    file = tmp_path / "connector.yaml"
    file.write_text(EXAMPLE.read_text().replace("kafka:\n", f"kafka:\n  topic_prefix: {unique}\n", 1))
    async with sandbox() as both:
        own = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers, "SERVICE_PORT": "0"}
        environ = {**both.environment(), **own}
        config = load(file, environ)
        await apply(config.kafka, catalogue.topics_for(config))
        yield Place(both, file, environ, config)


async def skip_to_the_end(kafka: Kafka, stage: str, topic: str) -> None:
    """Sets the offsets of a stage behind all records, as a person may do by mistake."""
    name = kafka.topic_prefix + topic
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers, group_id=kafka.topic_prefix + stage, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(name, record.partition) for record in await topics.read(kafka, topic)])
        await consumer.commit(await consumer.end_offsets(consumer.assignment()))
    finally:
        await consumer.stop()


async def test_all_that_is_missing_is_named_and_nothing_else(place: Place) -> None:
    """First the service does its work for Ada. Then things happen of which a stage never hears."""
    place.both.pisano.customers[ADA] = pisano.Customer(answers={"nps_score": 1})
    async with running_app(place.config) as app:
        place.both.expect_webhooks_at(app.address)
        await until(lambda: place.both.salesforce.streams)
        place.closed_case(ADA)

        async def all_is_written() -> bool:
            """Both writes, and the change of the case that the second one makes."""
            expected = {"salesforce.cdc.Case": 3, "salesforce.writes": 2}
            return {topic: len(await topics.read(place.config.kafka, topic)) for topic in expected} == expected

        await until(all_is_written)
        await until(lambda: outcomes(place.config.kafka))
    ended = await place.run("--since", "1h")
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout + ended.stderr
    assert "nothing is missing" in ended.stdout

    kafka, now = place.config.kafka, datetime.now(UTC)
    unseen, uninvited = place.closed_case("bob@example.com"), place.closed_case("eve@example.com")
    events = [change(uninvited, {"Status": "Closed"}, committed_at=now)]
    events += [change(uninvited, {"Subject": "x"}, committed_at=now, transaction_key="2")]  # no survey wants it
    await topics.publish(kafka, as_records(kafka, events))
    lost = invitation(1, record_id=uninvited)
    await topics.publish(kafka, as_invitations(kafka, [lost]))
    answer = Feedback(id=digest("lost"), account="main", received_at=now, body={"sf_ref_id": unseen, "nps_score": 9})
    record = to_record(
        kafka.topic_prefix + "pisano.feedback",
        unseen,
        answer,
        ce_type="pisano.feedback",
        ce_source="/pisano/main",
        ce_id=answer.id,
        ce_time=now,
    )
    await topics.publish(kafka, [record])
    for stage, topic in (
        ("trigger", "salesforce.cdc.Case"),
        ("send", "pisano.invitations"),
        ("write", "pisano.feedback"),
    ):
        await skip_to_the_end(kafka, stage, topic)

    ended = await place.run("--since", "1h", "--json")
    assert ended.returncode == 1, ended.stderr
    found = json.loads(ended.stdout)
    assert {(one["reason"], one["of"]): one["ids"] for one in found["differences"]} == {
        ("not_written", "response"): [answer.id],
        ("no_outcome", "closed-case"): [lost.id],
        ("not_invited", "closed-case"): [uninvited],
        ("not_captured", "Case"): [unseen],
    }
    compared = {(one["what"], one["of"]): one["count"] for one in found["compared"]}
    assert compared["records changed in Salesforce", "Case"] == 3
    assert compared["invitations", "closed-case"] == 2
    assert (compared["answers to write", "response"], compared["answers to write", "detractor"]) == (2, 1)
    assert found["notes"] == []
    ended = await place.run("--since", "1h")
    assert ended.returncode == 1
    for named in (unseen, uninvited, lost.id, answer.id):
        assert named in ended.stdout
    assert "@example.com" not in ended.stdout


async def test_an_invitation_that_is_replayed_has_its_outcome_from_before(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome is older than what is compared; the copy, and one that has no outcome at all, are not."""
    kafka, [settled, lost] = place.config.kafka, [invitation(number, campaign="4711") for number in (1, 2)]
    await topics.publish(kafka, as_invitations(kafka, [settled]))
    async with running_app(place.config, ["send"]):
        await until(lambda: outcomes(kafka))
        since = datetime.now(UTC)
        replayed = await connector(
            place.environ, "replay", "send", "--from", "1h", "--yes", "--config", str(place.file)
        )
        assert replayed.returncode == 0, replayed.stderr

        async def send_has_finished_both() -> bool:
            (offset,) = (await finished(kafka, ["send"]))["send"].values()
            return len(await topics.read(kafka, "pisano.invitations")) == 2 <= offset

        await until(send_has_finished_both)
    await topics.publish(kafka, as_invitations(kafka, [lost]))
    await skip_to_the_end(kafka, "send", "pisano.invitations")
    monkeypatch.setattr(reconcile, "_SLACK", timedelta(0))
    async with Shared(place.config) as shared:
        reader = Reader(Lookup(shared.rest.find), Lookup(shared.rest.find_deleted))
        span = Span(since, datetime.now(UTC) + timedelta(minutes=1))
        found = await Reconciliation(place.config, span, shared.rest.query, reader, lambda _: []).run()
    assert found.compared["invitations", "closed-case"] == 2
    assert {key: one.ids for key, one in found.differences.items()} == {("no_outcome", "closed-case"): [lost.id]}


async def test_salesforce_is_asked_page_by_page_up_to_a_bound(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [place.closed_case(f"customer-{number}@example.com") for number in range(5)]
    now = datetime.now(UTC)
    span = Span(now - timedelta(hours=1), now + timedelta(minutes=1))
    monkeypatch.setattr(reconcile, "_PAGE", 2)

    async def compared() -> Findings:
        async with Shared(place.config) as shared:
            reader = Reader(Lookup(shared.rest.find), Lookup(shared.rest.find_deleted))
            return await Reconciliation(place.config, span, shared.rest.query, reader, lambda _: []).run()

    found = await compared()
    assert (found.differences["not_captured", "Case"].ids, found.notes) == (cases, [])
    monkeypatch.setattr(reconcile, "_MOST", 4)
    found = await compared()
    assert found.differences["not_captured", "Case"].ids == cases[:4]
    assert found.notes == ["only 4 records of Case are compared, and more may have changed. Shorten --since"]


async def test_what_a_stage_has_not_finished_is_named_as_such(place: Place) -> None:
    """Nobody runs send."""
    lost = invitation(1)
    await topics.publish(place.config.kafka, as_invitations(place.config.kafka, [lost]))
    ended = await place.run("--since", "1h", "--json")
    assert ended.returncode == 1, ended.stderr
    (one,) = json.loads(ended.stdout)["differences"]
    assert (one["reason"], one["of"], one["ids"]) == ("not_finished", "send/closed-case", [lost.id])


@pytest.mark.parametrize(
    ("arguments", "environ", "sentence"),
    [
        (("--since", "soon"), {}, "--since: a duration is a number with a unit"),
        (("--since", "8d"), {}, "--since is longer than salesforce.cdc keeps its records; use at most 7d"),
        (("--since", "1h", "--grace", "2h"), {}, "--since must be longer than --grace"),
        ((), {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "no Kafka broker answers at 127.0.0.1:1"),
        ((), {"SF_CLIENT_SECRET": "wrong"}, ""),
        ((), {"SF_LOGIN_URL": "http://127.0.0.1:1"}, ""),
    ],
)
async def test_where_it_cannot_ask_it_says_so_in_one_sentence(
    place: Place, arguments: tuple[str, ...], environ: dict[str, str], sentence: str
) -> None:
    ended = await place.run(*arguments, **environ)
    assert ended.returncode == 2, ended.stdout
    assert ended.stderr.startswith(f"connector: {sentence}")
    assert ended.stderr.count("\n") == 1
