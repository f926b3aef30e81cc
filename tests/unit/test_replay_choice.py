"""What an operator may write to choose records of a replay, and how a replay's report counts."""

from datetime import UTC, datetime, timedelta

import pytest

from connector.errors import Fatal
from connector.kafka.inbound import InRecord
from connector.kafka.kept import Place
from connector.operate.replay import COPY, Found, Report, condition, is_copy
from connector.operate.spans import bound

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
CASES, VISITS = "px.salesforce.cdc.Case", "px.salesforce.events.Store_Visit__e"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("earliest", None),
        ("7d", NOW - timedelta(days=7)),
        ("90m", NOW - timedelta(minutes=90)),
        ("2026-11-28", datetime(2026, 11, 28, tzinfo=UTC)),
        ("2026-11-28T09:00+03:00", datetime(2026, 11, 28, 6, tzinfo=UTC)),
        ("3/1234", Place(CASES, 3, 1234)),
        (f"{CASES}/3/1234", Place(CASES, 3, 1234)),
    ],
)
def test_a_bound_is_a_time_a_period_or_a_place(text: str, expected: object) -> None:
    assert bound("--from", text, [CASES], NOW) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("yesterday", "--from: 'yesterday' is neither earliest, nor a period such as 7d"),
        ("3/", "a place is [TOPIC/]PARTITION/OFFSET, such as 0/1234, and not 3/"),
        ("a/b/3/4", "a place is [TOPIC/]PARTITION/OFFSET"),
        ("3/-1", "a place is [TOPIC/]PARTITION/OFFSET"),
        ("3/1234", f"3/1234 may be on any of {CASES}, {VISITS}; write TOPIC/3/1234"),
        ("pisano.feedback/3/1234", f"this stage reads {CASES}, {VISITS}, and not pisano.feedback"),
    ],
)
def test_a_bound_that_is_none_says_what_is_wanted(text: str, message: str) -> None:
    with pytest.raises(Fatal) as caught:
        bound("--from", text, [CASES, VISITS], NOW)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("stage", "source", "message"),
    [
        ("send", "record.survey ==", "--where: "),
        ("send", 'record.campagne == "4711"', "these records have no campagne; did you mean campaign?"),
        ("write", 'body.nps == "1"', "it can name record.FIELD, key and headers.NAME"),
    ],
)
def test_a_condition_with_a_mistake_is_refused_before_anything_is_read(stage: str, source: str, message: str) -> None:
    with pytest.raises(Fatal) as caught:
        condition(stage, source)
    assert message in str(caught.value)


def test_a_condition_names_the_records_fields_the_key_and_the_headers() -> None:
    assert condition("trigger", 'record.fields.Status == "Closed" and key != blank and headers.ce_id != blank')


def test_only_what_a_replay_wrote_to_the_same_topic_is_a_copy() -> None:
    """An invitation that a replay of trigger made is not: it is the only one of its id."""

    def of(source: str) -> InRecord:
        return InRecord("px.pisano.invitations", 0, 7, b"main", b"{}", [(COPY, source.encode())], 0.0)

    assert is_copy(of("px.pisano.invitations/0/3"))
    assert not is_copy(of(f"{CASES}/0/3"))
    assert not is_copy(InRecord("px.pisano.invitations", 0, 7, b"main", b"{}", [], 0.0))


def test_a_report_counts_all_and_shows_ten_of_each_outcome() -> None:
    report = Report()
    for offset in range(25):
        report.add(Found(Place(CASES, 0, offset), "would not be sent", "opted_out"))
    report.add(Found(Place(CASES, 0, 99), "would be a dead letter", "gap", is_dead=True))
    report.add(Found(Place(CASES, 0, 98), "would not be sent", "no_address"))
    rows = [(what, reason, count, len(examples)) for what, reason, count, examples in report.rows()]
    assert rows == [
        ("would be a dead letter", "gap", 1, 1),
        ("would not be sent", "opted_out", 25, 10),
        ("would not be sent", "no_address", 1, 1),
    ]
    assert report.dead == 1
