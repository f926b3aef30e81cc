"""What a replay makes of a stage's plan, without a broker: what it writes, and when it gives up."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import pytest
from helpers.invitations import as_records, invitation

from connector.cells import Breaker
from connector.config import Kafka
from connector.errors import Fatal, Rejected, Retryable
from connector.kafka.cell_work import Work
from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.inbound import InRecord
from connector.operate.again import BESIDE, TriggerAgain, WriteDryRun
from connector.operate.replay import Found
from connector.reasons import Reason
from connector.records import Invitation, Write

KAFKA = Kafka(bootstrap_servers="localhost:9092")
Publish = Callable[[OutRecord], Awaitable[object]]
Errors = Mapping[int, Exception]


def event(number: int) -> InRecord:
    return InRecord("salesforce.cdc.Case", 1, number, b"key", b"{}", (("ce_id", b"x"),), 0.0)


class Topics:
    """What a replay has written."""

    def __init__(self) -> None:
        self.records: list[OutRecord] = []

    async def write(self, records: object) -> None:
        assert isinstance(records, list)
        self.records += records


def a_survey(
    errors: Errors, suppressed: Mapping[int, Reason]
) -> Callable[[Publish], Callable[[InRecord], dict[str, Work]]]:
    """Invites the customer with the number of an event's offset; events from 100 on are not wanted."""

    async def invite(publish: Publish, number: int) -> None:
        if number in errors:
            raise errors[number]
        [record] = as_records(KAFKA, [invitation(number, suppressed=suppressed.get(number))])
        await publish(record)

    def plan(publish: Publish, record: InRecord) -> dict[str, Work]:
        if record.offset == 66:
            raise Rejected("not a readable ChangeEvent", code="unreadable")
        return {"closed-case": partial(invite, publish, record.offset)} if record.offset < 100 else {}

    return lambda publish: partial(plan, publish)


def a_letter(record: InRecord, reason: str, error: Exception, cell: str) -> OutRecord:
    return OutRecord("connector.deadletters", record.key, record.value, [("why", f"{cell} {reason}".encode())])


def again(topics: Topics | None, errors: Errors | None = None, **options: object) -> TriggerAgain:
    plan_with = a_survey(errors or {}, {2: Reason.OPTED_OUT})
    return TriggerAgain(plan_with, a_letter, write=topics and topics.write, **options)  # type: ignore[arg-type]


def said(found: list[Found]) -> list[tuple[int, str, str | None]]:
    return [(one.place.offset, one.what, one.reason) for one in found]


async def test_invitations_and_dead_letters_are_written_with_the_place_of_their_cause() -> None:
    topics, errors = Topics(), {3: Rejected("no such record", code="no_record"), 4: KeyError("a bug")}
    found = await again(topics, errors).work([event(number) for number in (1, 2, 3, 4, 66, 100)])
    assert said(found) == [
        (1, "invited", None),
        (2, "not invited", "opted_out"),
        (3, "dead letter", "no_record"),
        (4, "dead letter", "unexpected_error"),
        (66, "dead letter", "unreadable"),
        (100, "no survey wants it", None),
    ]
    assert [one.is_dead for one in found] == [False, False, True, True, True, False]
    marks = [dict(record.headers).get("replay") for record in topics.records]
    assert marks == [b"salesforce.cdc.Case/1/1", b"salesforce.cdc.Case/1/2", None, None, None]
    assert [dict(record.headers)["why"] for record in topics.records[2:]] == [
        b"trigger/closed-case no_record",
        b"trigger/closed-case unexpected_error",
        b"trigger/unreadable unreadable",
    ]


async def test_without_topics_to_write_to_it_only_says_what_would_come() -> None:
    found = await again(None, {3: Rejected("no", code="gap")}).work([event(1), event(3)])
    assert said(found) == [(1, "invited", None), (3, "would be a dead letter", "gap")]


async def test_what_another_account_has_is_neither_written_nor_foreseen() -> None:
    topics = Topics()

    def elsewhere(one: Invitation) -> str | None:
        return "old" if one.id == invitation(1).id else None

    found = await again(topics, elsewhere=elsewhere).work([event(1), event(5)])
    assert said(found) == [(1, "left out: another account has it", "old"), (5, "invited", None)]
    assert len(topics.records) == 1


async def test_a_flood_of_refusals_ends_the_replay_before_it_is_a_flood_of_dead_letters() -> None:
    topics, errors = Topics(), {number: Rejected("a misspelt field", code="x") for number in range(10, 30)}
    replay = again(topics, errors, breaker=partial(Breaker, run=5))
    await replay.work([event(number) for number in (1, 10, 11, 12, 13, 14)])
    await replay.work([event(1), *(event(number) for number in range(15, 20))])  # one that passes begins anew
    written = len(topics.records)
    with pytest.raises(Fatal, match="too many of the last change events were refused, the last one for: a misspelt"):
        await replay.work([event(20)])
    assert len(topics.records) == written == 12


async def test_an_outage_ends_the_replay_and_writes_nothing_of_its_lot() -> None:
    topics = Topics()
    with pytest.raises(Retryable, match="Salesforce is away"):
        await again(topics, {2: Retryable("Salesforce is away")}).work([event(1), event(2)])
    assert topics.records == []


async def test_what_write_would_do_is_told_by_rule() -> None:
    published: list[OutRecord] = []

    async def writes(rule: str, success: bool = True) -> None:
        write = Write.model_validate(
            {
                "id": f"write of {rule}",
                "feedback": "f",
                "rule": rule,
                "operation": "update",
                "object": "Case",
                "key_field": "Id",
                "key": "5005g0000000001AAA",
                "fields": {},
                "success": success,
                "at": "2026-01-01T00:00:00Z",
            }
        )
        said = {"ce_type": "t", "ce_source": "s", "ce_id": "i", "ce_time": write.at}
        published.append(to_record("salesforce.writes", write.id, write, **said))  # type: ignore[arg-type]

    async def sets_aside(rule: str) -> None:
        published.append(OutRecord(BESIDE, None, None, []))
        await writes(rule)

    async def refuses() -> None:
        raise Rejected("no key", code="no_key")

    async def does_nothing() -> None:
        pass

    works: dict[str, Work] = {
        "new": partial(writes, "new"),
        "late": partial(writes, "late", False),
        "unfit": partial(sets_aside, "unfit"),
        "bad": refuses,
        "done": does_nothing,
    }
    dry = WriteDryRun(lambda record: works if record.offset else {}, published)
    assert said(await dry.work([event(0), event(1)])) == [
        (0, "no rule applies", None),
        (1, "would be a dead letter", "no_key"),
        (1, "would be written", "new"),
        (1, "would not be written: a newer answer is there", "late"),
        (1, "would be written", "unfit"),
        (1, "is written already", "done"),
        (1, "would be a dead letter besides", "does_not_fit"),
    ]
