"""The demo: broker, doubles and connector together, and the customers' stories as a table."""

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from connector.config import Config, catalogue
from connector.config.file import load
from connector.kafka import topics
from connector.sandbox.broker import Broker, kafka_broker
from connector.sandbox.company import Sandbox, sandbox
from connector.sandbox.doubles.salesforce import SalesforceDouble
from connector.sandbox.story import Fate, Story, close_cases, open_cases
from connector.wiring import App

_PATIENCE = 60.0  # seconds to wait for the stages, then for each new record; the limiter's pause is the longest wait
_POLL = 0.05  # seconds
_SAY = 0.5  # seconds between two lines of progress

Say = Callable[[str], None]
Keep = Callable[["Played", Mapping[str, str]], Awaitable[None]]


@dataclass(frozen=True)
class Played:
    """The result of the demo: each case's fate, what the doubles saw, and everything that went wrong."""

    story: Story
    sandbox: Sandbox
    seconds: float
    problems: list[str]


async def play(file: Path, say: Say, patience: float = _PATIENCE, keep: Keep | None = None) -> Played:
    """Runs `file` against the doubles, with its own broker and topics, until every customer's story has ended.

    Gives up when the topics bring no new record for `patience` seconds. Then everything goes on while `keep` runs; it
    gets the result, and the environment in which `file` means this service and these topics.
    """
    async with kafka_broker(say=say) as broker, sandbox() as doubles:
        environment = _environment(broker, doubles)
        config = _config(file, environment)
        say("Creating the topics …")
        await topics.apply(config.kafka, catalogue.topics_for(config))
        say("Starting the five stages …")
        async with App(config) as app:
            doubles.expect_webhooks_at(app.address)
            running = asyncio.create_task(app.run(asyncio.Event()))
            try:
                played = await _round_trip(config, app, doubles, running, say, patience)
                if keep:
                    await keep(played, {**environment, "SERVICE_PORT": app.address.rpartition(":")[2]})
                return played
            finally:
                running.cancel()


def _environment(broker: Broker, doubles: Sandbox) -> dict[str, str]:
    """The variables of the examples, and a prefix for the topics on a broker that was there before the demo."""
    prefix = f"demo-{secrets.token_hex(3)}." if "KAFKA_BOOTSTRAP_SERVERS" in os.environ else ""
    return {
        **doubles.environment(),
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": prefix,
        "SERVICE_PORT": "0",
    }


def _config(file: Path, environment: Mapping[str, str]) -> Config:
    config = load(file, {**os.environ, **environment})
    kafka = config.kafka.model_copy(update={"topic_prefix": environment["KAFKA_TOPIC_PREFIX"]})
    return config.model_copy(update={"kafka": kafka})  # for a file that does not name the prefix


async def _round_trip(
    config: Config, app: App, doubles: Sandbox, running: "asyncio.Task[None]", say: Say, patience: float
) -> Played:
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while not (all((await app.ready()).values()) and _listens(doubles.salesforce, config)):
                _raise_if_ended(running)
                await asyncio.sleep(_POLL)
    cases = open_cases(doubles)
    story = Story(config.kafka, cases)
    began = time.monotonic()
    close_cases(doubles, cases)
    with suppress(TimeoutError):
        async with asyncio.timeout(patience) as silence, aclosing(story.follow()) as looks:
            said_at = began
            async for news in looks:
                _raise_if_ended(running)
                if news:
                    silence.reschedule(asyncio.get_running_loop().time() + patience)
                if time.monotonic() - said_at > _SAY:
                    said_at = time.monotonic()
                    say(_progress(story))
                if not story.wrong():
                    break
    return Played(story, doubles, time.monotonic() - began, _problems(story, doubles))


def _listens(org: SalesforceDouble, config: Config) -> bool:
    """Whether each channel's stream is open. A channel without a position misses everything before that."""
    return {stream.topic for stream in org.streams} >= set(config.salesforce.channels)


def _raise_if_ended(running: "asyncio.Task[None]") -> None:
    if running.done():
        running.result()


def _progress(story: Story) -> str:
    fates = story.fates.values()
    settled = sum(fate.settlement is not None for fate in fates)
    answered = sum(bool(fate.feedbacks) for fate in fates)
    written = sum(bool(fate.writes) for fate in fates)
    return f"{len(fates)} cases closed at once: {settled} settled, {answered} answered, {written} written back …"


def _problems(story: Story, doubles: Sandbox) -> list[str]:
    org, pisano = doubles.salesforce, doubles.pisano
    problems = [f"{story.fates[case].customer.first_name}: {wrong}" for case, wrong in story.wrong().items()]
    for case, fate in story.fates.items():
        wanted = "Reopened" if fate.customer.reopened else fate.customer.status
        if (status := org.record("Case", case)["Status"]) != wanted:
            problems.append(f"{fate.customer.first_name}: the case is {status}, not {wanted}")
    answers = sorted(record["Case__c"] for record in org.records("Survey_Response__c"))
    if answers != sorted(case for case, fate in story.fates.items() if fate.customer.score is not None):
        problems.append(f"{len(answers)} answers are in Salesforce, which do not match the customers who answered")
    if violations := pisano.violations():
        problems.append(f"Pisano counted {len(violations)} calls over its limits")
    if second := pisano.second_emails():
        problems.append(f"Pisano sent {len(second)} second e-mails")
    return problems


def table(played: Played) -> Table:
    """A row for each customer."""
    org, pisano = played.sandbox.salesforce, played.sandbox.pisano
    summary = Table(
        "case",
        "customer",
        "address",
        "invitation",
        "attempt",
        "waited",
        "answer",
        "written to Salesforce",
        title="What happened to each customer",
        caption=(
            f"{len(pisano.calls)} calls to Pisano, {len(pisano.violations())} over its limits, "
            f"{len(pisano.emails())} e-mails, {len(pisano.second_emails())} second ones; {played.seconds:.1f} s"
        ),
    )
    for case, fate in played.story.fates.items():
        number = org.record("Case", case)["CaseNumber"]
        summary.add_row(number, *_cells(fate, org), style="dim" if fate.customer.last_name == "Burst" else None)
    return summary


def _cells(fate: Fate, org: SalesforceDouble) -> list[str]:
    customer, settlement = fate.customer, fate.settlement
    outcome = settlement.outcome.value if settlement else "none"
    if settlement and settlement.outcome == "suppressed":
        outcome += f": {settlement.reason}".replace("_", " ")
    elif settlement and settlement.outcome == "rejected" and "question" in (settlement.detail or ""):
        outcome += ": question key"
    answer = "" if customer.score is None else f"{customer.score}"
    if len(fate.feedbacks) > 1:
        answer += f" (webhook came {len(fate.feedbacks)} times)"
    written = [
        "case reopened"
        if write.operation == "update"
        else f"response {org.record(write.object, write.record_id or '')['Name']}"
        for write in fate.writes
    ]
    return [
        customer.first_name,
        customer.email or "",
        fate.invitation.id[:8] if fate.invitation else "none",
        outcome,
        f"{fate.waited:.1f} s" if fate.waited is not None else "",
        answer,
        ", ".join(written),
    ]
