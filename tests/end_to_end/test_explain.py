"""`connector explain` tells a customer's story from real topics, with the index and without it."""

import json
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers import topics
from helpers.commands import connector
from helpers.invitations import outcomes
from helpers.service import EXAMPLE, metric, running_app, set_up
from helpers.waiting import until

from connector.config import Config, catalogue
from connector.config.file import load
from connector.explain import wanted
from connector.kafka.topics import apply
from connector.operate.explain import explain
from connector.sandbox.company import Sandbox, sandbox
from connector.sandbox.doubles import pisano

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
IDS = ("invitation", "attempt", "feedback", "write", "trace", "event")
WHOLE = ["change", "invitation", "attempt", "attempt", "outcome", "feedback", "write", "write", "change"]


@dataclass(frozen=True)
class Told:
    """What happened on the topics of a configuration: the case of each customer, by address."""

    file: Path
    environ: Mapping[str, str]
    config: Config
    cases: Mapping[str, str]

    async def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return await connector(self.environ, "explain", arguments[0], str(self.file), *arguments[1:])

    async def ask(self, what: str, *options: str) -> Any:
        ended = await self.run(what, "--json", *options)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)


@pytest.fixture
async def told(bootstrap_servers: str, unique: str, tmp_path: Path) -> AsyncIterator[Told]:
    """Three customers of the example: Ada is unhappy, Bob does not answer, Eve has opted out."""
    text = EXAMPLE.read_text().replace("kafka:\n", f"kafka:\n  topic_prefix: {unique}\n", 1)
    file = tmp_path / "connector.yaml"
    file.write_text(text.replace("service:", f"service:\n  index: {tmp_path}/index.sqlite\n ", 1))
    async with sandbox() as both:
        own = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers, "SERVICE_PORT": "0"}
        environ = {**both.environment(), **own}
        config = load(file, environ)
        await apply(config.kafka, catalogue.topics_for(config))
        async with running_app(config) as app:
            both.expect_webhooks_at(app.address)
            await until(lambda: both.salesforce.streams)
            cases = _close_cases(both)
            await until(lambda: _all_is_written(config))
        yield Told(file, environ, config, cases)


async def _all_is_written(config: Config) -> bool:
    """Seven changes: three cases were opened and closed, and one is reopened. Three outcomes, two writes."""
    expected = {"salesforce.cdc.Case": 7, "salesforce.writes": 2}
    found = {topic: len(await topics.read(config.kafka, topic)) for topic in expected}
    return found == expected and len(await outcomes(config.kafka)) == 3


def _close_cases(both: Sandbox) -> dict[str, str]:
    org, cases = both.salesforce, {}
    both.pisano.customers[ADA] = pisano.Customer(answers={"nps_score": 1, "comment": "Nobody called back."})
    for email in (ADA, BOB, EVE):
        person = {"LastName": "Byron", "Email": email, "HasOptedOutOfEmail": email == EVE}
        cases[email] = org.create("Case", {"ContactId": org.create("Contact", person), "Branch__c": "Izmir"})
    for case in cases.values():
        org.update("Case", case, {"Status": "Closed"})
    return cases


async def _until_indexed(told: Told) -> None:
    async with running_app(told.config, ["index"]) as app:

        async def caught_up() -> bool:
            return await metric(app, 'connector_lag{stage="index"}') == 0

        await until(caught_up)
    assert (await explain(told.config, wanted(ADA))).source.endswith("up to date")


async def test_the_whole_story_by_every_id_with_the_index_and_without(told: Told) -> None:
    scanned = await told.ask(ADA)
    assert "the topics, read to their ends" in scanned["source"]
    story = scanned["facts"]
    assert sorted(fact["kind"] for fact in story) == sorted(WHOLE)
    assert [fact["details"].get("ours") for fact in story if fact["kind"] == "change"] == [None, True]
    [line] = scanned["summary"]
    for said in ("invited to closed-case on", "sent on", "answered on", "written to Survey_Response__c", "to Case"):
        assert said in line
    await _until_indexed(told)
    indexed = await told.ask(ADA)
    assert indexed["facts"] == story
    assert indexed["source"].endswith("index.sqlite, up to date")
    asked = [next(fact["ids"][kind][0] for fact in story if kind in fact["ids"]) for kind in IDS]
    story_calls = {id_ for fact in story for id_ in fact["ids"].get("attempt", ())}
    for what in (*asked, told.cases[ADA], told.cases[ADA][:15], told.cases[EVE], BOB):
        both = [await explain(told.config, wanted(what), scan=scan) for scan in (True, False)]
        places = [[fact.place for fact in each.story.facts] for each in both]
        assert places[0] == places[1]
        if what in asked:
            its = {(fact["topic"], fact["partition"], fact["offset"]) for fact in story}
            assert its == {*places[0]} or (
                what in story_calls and its < {*places[0]}
            )  # a call may have carried Bob too
    by_record = await explain(told.config, wanted(told.cases[ADA]))
    assert sorted(fact.kind for fact in by_record.story.facts) == sorted([*WHOLE, "change"])  # the case was created


async def test_the_text_shows_who_was_not_asked_and_why_without_an_address(told: Told) -> None:
    ended = await told.run(EVE)
    assert ended.returncode == 0, ended.stderr
    assert "did not invite on" in ended.stdout
    assert "because the customer opted out (opted_out)" in ended.stdout
    assert EVE not in ended.stdout
    assert ended.stderr == ""
    ended = await told.run(told.cases[BOB])
    assert "salesforce.cdc.Case/" in ended.stdout
    assert BOB not in ended.stdout


async def test_what_nobody_knows_and_what_is_behind(told: Told) -> None:
    ended = await told.run("nobody@example.com")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("nothing is known of n***@example.com: searched ")
    assert " UTC, in the topics, read to their ends" in ended.stderr
    await _until_indexed(told)
    away = {**told.environ, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    ended = await Told(told.file, away, told.config, told.cases).run(told.cases[BOB])
    assert ended.returncode == 0, ended.stderr
    assert "how far it is behind the topics is not known: no Kafka broker answers at 127.0.0.1:1" in ended.stdout


async def test_what_cannot_be_asked_is_one_sentence(told: Told, tmp_path: Path) -> None:
    away = Told(told.file, {**told.environ, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, told.config, told.cases)
    for where, what, said in (
        (told, "Ada", "nothing is called 'Ada'. Give an e-mail address"),
        (away, ADA, "no Kafka broker answers at 127.0.0.1:1"),
    ):
        ended = await where.run(what)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert said in ended.stderr
        assert "Traceback" not in ended.stderr


async def test_topics_that_are_empty_or_missing_are_one_sentence(
    bootstrap_servers: str, unique: str, tmp_path: Path
) -> None:
    setup = await set_up(tmp_path, bootstrap_servers, unique)
    ended = await Told(setup.file, setup.environ, setup.config, {}).run(ADA)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("nothing is known of a***@example.com: searched 0 records, in the topics")
    setup.file.write_text(setup.file.read_text().replace(unique, f"{unique}none."))
    ended = await Told(setup.file, setup.environ, setup.config, {}).run(ADA)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "there is no topic" in ended.stderr
    assert "`connector topics apply` creates it" in ended.stderr
    assert "Traceback" not in ended.stderr
