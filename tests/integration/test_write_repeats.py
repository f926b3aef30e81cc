"""write must recognise repeats: when Kafka refuses a write's record, at its start, and after a long time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from helpers.plans import carry_out

from connector.config import FeedbackRule
from connector.errors import Rejected, Retryable
from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.observe.metrics import Metrics
from connector.records import Feedback, Write, digest, read
from connector.salesforce import ClientCredentials, CollectionWriter, RestClient
from connector.sandbox.doubles.salesforce import SalesforceDouble
from connector.stages.write import WriteBack

RULE: dict[str, Any] = {
    "update": "Case",
    "by": {"Id": "{{ body.case }}"},
    "does_not_fit": "refuse",
    "fields": {"NPS__c": "{{ body.score }}"},
}


class Stage:
    """The stage with one rule, `score`, and the double. `writes`: its topic. Kafka refuses the first `refusals`."""

    def __init__(self, sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
        self.writes: list[Write] = []
        self.refusals = 0
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.reads = asyncio.Event()
        tokens = ClientCredentials(http, sf.login_url, client_id=sf.client_id, client_secret=sf.client_secret)
        self.write_back = WriteBack(
            {"score": FeedbackRule.model_validate(RULE)},
            CollectionWriter(RestClient(tokens, http, client_name="pisano-connector", calls_per_second=1000)),
            self._publish,
            "salesforce.writes",
            read_writes=self._read_writes,
            kept=timedelta(days=60),
            set_aside=_nothing_is_set_aside,
            metrics=Metrics(),
        )

    async def _publish(self, record: OutRecord) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Retryable("Kafka is away", retry_after=0.0)
        self.writes.append(read(Write, record.value))

    async def _read_writes(self, _: int) -> AsyncIterator[Write]:
        self.reads.set()
        await self.may_read.wait()
        for write in self.writes:
            yield write

    async def answers(self, *values: dict[str, Any]) -> None:
        """Carries out the answers; answers with the same content have the same id."""
        await asyncio.gather(*(carry_out(self.write_back.plan, _record(body)) for body in values))


def _nothing_is_set_aside(*_: object) -> OutRecord:
    raise AssertionError("every score fits")


def _record(body: dict[str, Any]) -> InRecord:
    feedback = Feedback(
        id=digest("made up", repr(body)), account="main", received_at=datetime(2026, 1, 1, tzinfo=UTC), body=body
    )
    return InRecord("pisano.feedback", 0, 0, b"key", feedback.model_dump_json().encode(), (), 0.0)


@pytest.fixture
async def sf() -> AsyncIterator[SalesforceDouble]:
    async with SalesforceDouble() as double:
        yield double


@pytest.fixture
async def stage(sf: SalesforceDouble) -> AsyncIterator[Stage]:
    async with httpx.AsyncClient() as http:
        yield Stage(sf, http)


def scores(sf: SalesforceDouble) -> Sequence[Any]:
    return [write.fields["NPS__c"] for write in sf.history() if write.success]


async def test_what_kafka_did_not_take_at_once_is_on_the_topic_before_the_answer_counts_as_done(
    sf: SalesforceDouble, stage: Stage
) -> None:
    """write does not store it in Salesforce again because of that; it would overwrite the later answer."""
    case = sf.create("Case", {})
    stage.refusals = 2
    await stage.answers({"case": case, "score": 1}, {"case": case, "score": 2})
    assert scores(sf) == [1, 2]
    assert [write.fields["NPS__c"] for write in stage.writes] == [1, 2]


@pytest.mark.parametrize("later", range(6))
async def test_answers_keep_their_order_while_the_stage_reads_back_what_is_done(
    later: int, sf: SalesforceDouble, stage: Stage
) -> None:
    """The second answer comes a few turns of the event loop after the reading has ended."""
    case = sf.create("Case", {})
    stage.may_read.clear()
    first = asyncio.create_task(stage.answers({"case": case, "score": 1}))
    await stage.reads.wait()
    stage.may_read.set()
    for _ in range(later):
        await asyncio.sleep(0)
    await asyncio.gather(first, stage.answers({"case": case, "score": 2}))
    assert scores(sf) == [1, 2]


async def test_partitions_that_come_back_are_read_anew(sf: SalesforceDouble, stage: Stage) -> None:
    """Another worker may have written to them in the meantime."""
    case = sf.create("Case", {})
    await stage.answers({"case": case, "score": 1})
    await stage.write_back.forget({("pisano.feedback", 0)})
    stage.writes.append(stage.writes[0].model_copy(update={"id": _write_id({"case": case, "score": 2})}))
    await stage.answers({"case": case, "score": 1}, {"case": case, "score": 2}, {"case": case, "score": 3})
    assert scores(sf) == [1, 3]


@pytest.mark.parametrize(("age", "again"), [(timedelta(days=59), False), (timedelta(days=62), True)])
async def test_ids_are_kept_for_as_long_as_an_answer_can_come_again_and_no_longer(
    age: timedelta, again: bool, sf: SalesforceDouble, stage: Stage
) -> None:
    case = sf.create("Case", {})
    await stage.answers({"case": case, "score": 1})
    stage.writes[0] = stage.writes[0].model_copy(update={"at": datetime.now(UTC) - age})
    await stage.write_back.forget({("pisano.feedback", 0)})
    await stage.answers({"case": case, "score": 1})
    assert scores(sf) == ([1, 1] if again else [1])


async def test_an_equal_body_is_a_repeat_for_a_while_and_then_another_answer(
    sf: SalesforceDouble, stage: Stage
) -> None:
    """Also after a restart, and when all of it is replayed. Two customers may answer alike (report 13)."""
    case = sf.create("Case", {})
    hours = [0, 1, 7, 9, 10, 200]
    answers = [_anonymous({"case": case, "score": 1}, hour) for hour in hours]
    for restart in (False, True):
        for answer in answers:
            await carry_out(stage.write_back.plan, answer)
            if restart:
                await stage.write_back.forget({("pisano.feedback", 0)})
    first, second, third = stage.writes
    assert [write.received_at for write in stage.writes] == [_BEGIN + timedelta(hours=hour) for hour in (0, 9, 200)]
    assert first.feedback == second.feedback == third.feedback
    assert len({write.id for write in stage.writes}) == 3
    assert scores(sf) == [1, 1, 1]


async def test_an_older_answer_that_comes_later_does_not_overwrite_a_newer_one(
    sf: SalesforceDouble, stage: Stage
) -> None:
    """Webhooks may come in the wrong order (report 18). Also after a restart; another record is not concerned."""
    case, other = sf.create("Case", {}), sf.create("Case", {})
    for restart in (False, True):
        for key, score, hour in ((case, 1, 2), (case[:15], 2, 1), (other, 3, 1), (case, 4, 2), (case, 5, 3)):
            await carry_out(stage.write_back.plan, _given({"case": key, "score": score}, hour + 10 * restart))
            if restart:
                await stage.write_back.forget({("pisano.feedback", 0)})
    assert scores(sf) == [1, 3, 4, 5] * 2
    superseded = [write for write in stage.writes if not write.success]
    assert [write.fields["NPS__c"] for write in superseded] == [2, 2]
    assert all("superseded: an answer of" in (write.error or "") for write in superseded)


async def test_an_answer_that_has_grown_is_written_and_its_older_form_is_not(
    sf: SalesforceDouble, stage: Stage
) -> None:
    """Both have the same id. First comes what a customer has answered so far, then the whole."""
    case = sf.create("Case", {})
    for score, hour in ((1, 1), (2, 2), (1, 1), (2, 2), (1, 1)):
        await carry_out(stage.write_back.plan, _given({"case": case, "score": score}, hour, id_="ab" * 16))
    assert scores(sf) == [1, 2]


async def test_an_answer_that_salesforce_refuses_supersedes_none(sf: SalesforceDouble, stage: Stage) -> None:
    case = sf.create("Case", {})
    with pytest.raises(Rejected, match="NPS__c"):
        await carry_out(stage.write_back.plan, _given({"case": case, "score": "no number"}, 2))
    await carry_out(stage.write_back.plan, _given({"case": case, "score": 2}, 1))
    assert scores(sf) == [2]


def _given(body: dict[str, Any], hour: int, id_: str | None = None) -> InRecord:
    """An answer that was given at this hour."""
    feedback = Feedback(
        id=id_ or digest("made up", repr(body), str(hour)),
        account="main",
        received_at=datetime.now(UTC),
        answered_at=_BEGIN + timedelta(hours=hour),
        body=body,
    )
    return InRecord("pisano.feedback", 0, hour, b"key", feedback.model_dump_json().encode(), (), 0.0)


def _anonymous(body: dict[str, Any], hour: int) -> InRecord:
    """A body that nothing names, that came this many hours after the first, and may be sent again for 8 hours."""
    at = _BEGIN + timedelta(hours=hour)
    feedback = Feedback(
        id=digest("made up", repr(body)),
        account="main",
        received_at=at,
        repeats_until=at + timedelta(hours=8),
        body=body,
    )
    return InRecord("pisano.feedback", 0, hour, b"key", feedback.model_dump_json().encode(), (), 0.0)


_BEGIN = datetime.now(UTC) - timedelta(days=20)


def _write_id(body: dict[str, Any]) -> str:
    return digest("write", digest("made up", repr(body)), "score")
