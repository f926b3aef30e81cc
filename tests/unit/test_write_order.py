"""Webhooks come in any order: the newest answer that Salesforce takes stays, and no other is lost."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from helpers.plans import carry_out
from helpers.simulated_loop import simulate
from hypothesis import given
from hypothesis import strategies as st

from connector.config import FeedbackRule
from connector.errors import Rejected, Retryable
from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.observe.metrics import Metrics
from connector.records import Feedback, Write, digest, read
from connector.salesforce import CollectionWriter, Result
from connector.stages.write import WriteBack

NOON = (datetime.now(UTC) - timedelta(days=2)).replace(hour=12, minute=0, second=0, microsecond=0)
RULE: dict[str, Any] = {"update": "Case", "by": {"Id": "{{ body.case }}"}, "fields": {"Score__c": "{{ body.minute }}"}}


@dataclass
class Org:
    """A call takes 0.1 s. An answer of a minute in `refused` breaks a validation rule; in `locked` is how often a
    minute meets a locked row. `stored` are the minutes that were stored, by case.
    """

    refused: set[int] = field(default_factory=set)
    locked: Counter[int] = field(default_factory=Counter)
    stored: dict[str, list[int]] = field(default_factory=dict)

    async def describe(self, _: str) -> dict[str, Any]:
        return {"fields": []}

    async def limits(self) -> object:
        raise AssertionError("no call fails")

    async def upsert(self, _: str, key: str, records: Sequence[dict[str, Any]], __: object) -> list[Result]:
        await asyncio.sleep(0.1)
        return [self._store(record[key].lower(), record["Score__c"]) for record in records]

    async def update(self, _: str, records: Sequence[dict[str, Any]], __: object) -> list[Result]:
        await asyncio.sleep(0.1)
        return [self._store(record["Id"], record["Score__c"]) for record in records]

    def _store(self, case: str, minute: int) -> Result:
        if self.locked[minute]:
            self.locked[minute] -= 1
            return Result(False, error=Retryable("UNABLE_TO_LOCK_ROW"))
        if minute in self.refused:
            return Result(False, error=Rejected("Not today", code="FIELD_CUSTOM_VALIDATION_EXCEPTION"))
        self.stored.setdefault(case, []).append(minute)
        return Result(True, id=case)


class Stage:
    """The stage. `said` has by minute what became of an answer: what its write says, or that it is a dead letter."""

    def __init__(self, org: Org, rule: dict[str, Any] = RULE) -> None:
        self.writes: list[Write] = []
        self.said: dict[int, list[str]] = {}
        self.metrics = Metrics()
        self._stage = WriteBack(
            {"score": FeedbackRule.model_validate(rule)},
            CollectionWriter(org, clock=lambda: asyncio.get_running_loop().time()),
            self._publish,
            "salesforce.writes",
            read_writes=self._read_writes,
            kept=timedelta(days=60),
            set_aside=_nothing_is_set_aside,
            metrics=self.metrics,
        )

    async def takes(self, minute: int, case: str = "500000000000001AAA") -> None:
        """Takes an answer that was given this many minutes after noon."""
        body = {"case": case, "minute": minute}
        feedback = Feedback(
            id=digest("made up", case, str(minute)),
            account="main",
            received_at=datetime.now(UTC),
            answered_at=NOON + timedelta(minutes=minute),
            body=body,
        )
        try:
            await carry_out(
                self._stage.plan,
                InRecord("pisano.feedback", 0, 0, b"key", feedback.model_dump_json().encode(), (), 0.0),
            )
        except Rejected:
            self._say(minute, "dead letter")

    async def starts_anew(self) -> None:
        """Another worker has the partition now, and knows what is on the topic."""
        await self._stage.forget({("pisano.feedback", 0)})

    def _say(self, minute: int, what: str) -> None:
        self.said.setdefault(minute, []).append(what)

    async def _publish(self, record: OutRecord) -> None:
        await asyncio.sleep(0.01)
        write = read(Write, record.value)
        self.writes.append(write)
        minute = int(str(write.fields["Score__c"]))
        if write.success:
            self._say(minute, "written")
        elif (write.error or "").startswith("superseded"):
            self._say(minute, write.error or "")

    async def _read_writes(self, _: int) -> AsyncIterator[Write]:
        for write in list(self.writes):
            yield write

    def count(self, result: str) -> float | None:
        labels = {"rule": "score", "result": result}
        return self.metrics.registry.get_sample_value("connector_writes_total", labels)


def _nothing_is_set_aside(*_: object) -> OutRecord:
    raise AssertionError("every score fits")


def superseded_by(minute: int) -> str:
    return f"superseded: an answer of {(NOON + timedelta(minutes=minute)).isoformat()} is written there already"


def played(org: Org, play: Callable[[Stage], Any]) -> Stage:
    """The stage after the play, in simulated time."""

    async def main() -> Stage:
        stage = Stage(org)
        await play(stage)
        return stage

    return simulate(main(), tick=1e-6)


async def one_after_another(stage: Stage, *minutes: int) -> None:
    """Each answer comes while those before it are under way."""
    async with asyncio.TaskGroup() as tasks:
        for minute in minutes:
            tasks.create_task(stage.takes(minute))
            await asyncio.sleep(0.02)


def test_an_answer_is_written_that_came_while_a_newer_one_was_under_way_that_salesforce_refuses() -> None:
    """A locked row makes the newer one slow, so it is refused long after the older one came."""
    org = Org(refused={20}, locked=Counter({20: 3}))
    stage = played(org, lambda stage: one_after_another(stage, 20, 10))
    assert org.stored == {"500000000000001AAA": [10]}
    assert stage.said == {20: ["dead letter"], 10: ["written"]}


def test_an_answer_is_superseded_that_came_while_a_newer_one_was_under_way_that_salesforce_takes() -> None:
    org = Org(locked=Counter({20: 3}))
    stage = played(org, lambda stage: one_after_another(stage, 20, 10, 15))
    assert org.stored == {"500000000000001AAA": [20]}
    assert stage.said == {20: ["written"], 10: [superseded_by(20)], 15: [superseded_by(20)]}
    assert (stage.count("done"), stage.count("superseded"), stage.count("rejected")) == (1, 2, None)
    assert [write.fields for write in stage.writes if not write.success] == [{"Score__c": 10}, {"Score__c": 15}]


@pytest.mark.parametrize("restart", [False, True])
def test_what_salesforce_refuses_does_not_make_the_stage_forget_what_it_holds(restart: bool) -> None:
    """Otherwise an answer that is older than both would overwrite what is there."""

    async def play(stage: Stage) -> None:
        for minute in (10, 20, 5):
            await stage.takes(minute)
            if restart:
                await stage.starts_anew()

    org = Org(refused={20})
    stage = played(org, play)
    assert org.stored == {"500000000000001AAA": [10]}
    assert stage.said == {10: ["written"], 20: ["dead letter"], 5: [superseded_by(10)]}


@pytest.mark.parametrize("restart", [False, True])
def test_an_older_answer_does_not_overwrite_a_newer_one_whose_external_id_has_other_capitals(restart: bool) -> None:
    """To Salesforce they name one record, as most external ids ignore capitals."""

    async def play() -> Stage:
        stage = Stage(org, {**RULE, "by": {"Email_Key__c": RULE["by"]["Id"]}, "upsert": "Person__c", "update": None})
        await stage.takes(5, "Ada@example.com")
        if restart:
            await stage.starts_anew()
        await stage.takes(2, "ada@example.com")
        return stage

    org = Org()
    stage = simulate(play(), tick=1e-6)
    assert org.stored == {"ada@example.com": [5]}
    assert stage.said[2] == [superseded_by(5)]


def test_a_repeat_of_an_answer_under_way_is_not_written_again() -> None:
    """Also when the answer waits for a newer one that is under way."""
    org = Org(refused={20}, locked=Counter({20: 3}))
    stage = played(org, lambda stage: one_after_another(stage, 20, 10, 10, 20, 10))
    assert org.stored == {"500000000000001AAA": [10]}
    assert stage.said == {20: ["dead letter"], 10: ["written"]}


def test_a_superseded_answer_costs_those_that_could_share_its_call_nothing() -> None:
    """A full call is under way, and its records' older answers wait for it beside those of other records."""
    cases = [f"500{number:012}AAA" for number in range(400)]
    org = Org(refused={20})

    async def play(stage: Stage) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number, case in enumerate(cases[:200]):
                tasks.create_task(stage.takes(20 if number % 2 else 21, case))
            await asyncio.sleep(0.05)
            for case in cases:
                tasks.create_task(stage.takes(10, case))

    stage = played(org, play)
    assert org.stored == {case: [10] if number % 2 or number >= 200 else [21] for number, case in enumerate(cases)}
    assert Counter(stage.said[10]) == {"written": 300, superseded_by(21): 100}


@dataclass(frozen=True)
class Arrival:
    minute: int
    pause: float  # seconds before it


@given(
    st.lists(st.builds(Arrival, st.integers(0, 8), st.sampled_from([0.0, 0.005, 0.03, 0.1, 0.5])), min_size=1),
    st.sets(st.integers(0, 8)),
    st.dictionaries(st.integers(0, 8), st.integers(1, 3)),
)
def test_in_whatever_order_answers_come_salesforce_keeps_the_newest_that_it_takes(
    arrivals: list[Arrival], refused: set[int], locked: dict[int, int]
) -> None:
    """Each answer is written once, superseded by one that is written, or a dead letter. Repeats change nothing."""
    org = Org(refused, Counter(locked))

    async def play(stage: Stage) -> None:
        async with asyncio.TaskGroup() as tasks:
            for arrival in arrivals:
                await asyncio.sleep(arrival.pause)
                tasks.create_task(stage.takes(arrival.minute))

    stage = played(org, play)
    taken = {arrival.minute for arrival in arrivals} - refused
    stored = org.stored.get("500000000000001AAA", [])
    assert stored == sorted(set(stored))
    assert stored[-1:] == sorted(taken)[-1:]
    for minute in {arrival.minute for arrival in arrivals}:
        said = set(stage.said[minute])
        by = {superseded_by(newer) for newer in stored if newer > minute}
        if minute in refused:
            assert said <= {"dead letter", *by}
        else:
            assert said == {"written"} if minute in stored else said <= by
