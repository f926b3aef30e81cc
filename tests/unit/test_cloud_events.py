"""Headers of CloudEvents' Kafka protocol binding in binary mode, and the trace headers."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

from connector.config import Kafka
from connector.kafka.cloud_events import Headers, OutRecord, to_record
from connector.kafka.dead_letters import DeadLetters
from connector.records import Feedback

AT = datetime(2026, 3, 1, 12, 30, 0, 250_000, tzinfo=UTC)
TRACE = "0af7651916cd43dd8448eb211c80319c"


def record(parent: Headers = (), at: datetime = AT) -> OutRecord:
    feedback = Feedback(id="f-1", account="main", received_at=at, body={"comment": "Üsküdar"})
    return to_record(
        "pisano.feedback",
        "5001",
        feedback,
        ce_type="pisano.feedback",
        ce_source="/accounts/main",
        ce_id="f-1",
        ce_time=at,
        parent=parent,
    )


def trace(parent: Headers) -> tuple[str, str]:
    """Trace id and span id of a record that `parent` caused."""
    given = dict(record(parent).headers)["traceparent"].decode()
    found = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01", given)
    assert found, given
    return found[1], found[2]


def test_the_headers_are_those_of_the_binding_and_the_value_is_the_data_alone() -> None:
    made = record()
    headers = dict(made.headers)
    del headers["traceparent"]
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": b"f-1",
        "ce_type": b"pisano.feedback",
        "ce_source": b"/accounts/main",
        "ce_time": b"2026-03-01T12:30:00.250000Z",
        "ce_dataschema": b"urn:salesforce-pisano-connector:schema:Feedback",
        "content-type": b"application/json",
    }
    assert len(made.headers) == len(dict(made.headers))
    assert made.key == b"5001"
    assert made.value is not None
    assert '"Üsküdar"'.encode() in made.value


def test_a_cloudevents_library_reads_it() -> None:
    made = record(at=AT.astimezone(timezone(timedelta(hours=3))))
    event = from_binary(KafkaMessage(dict(made.headers), made.key, made.value or b""), JSONFormat())
    assert (event.get_id(), event.get_type(), event.get_time()) == ("f-1", "pisano.feedback", AT)
    data = event.get_data()
    assert isinstance(data, dict)
    assert data["body"] == {"comment": "Üsküdar"}


def test_a_cloudevents_library_reads_a_dead_letter_that_never_was_a_record() -> None:
    kafka = Kafka.model_validate({"bootstrap_servers": "localhost:9092"})
    letters = DeadLetters(kafka, "receive", lambda *_: None)
    made = letters.of_body(
        "webhook /p", b"\xde", "unreadable", ValueError("x"), {"Content-Type": "text/plain; charset=\udcff"}
    )
    event = from_binary(KafkaMessage(dict(made.headers), made.key, made.value or b""), JSONFormat())
    assert (event.get_type(), event.get_data()) == ("connector.deadletter", b"\xde")
    assert dict(made.headers)["dl_content_type"] == b"text/plain; charset=\\udcff"


def test_the_trace_goes_on_and_each_record_is_a_span_of_its_own() -> None:
    parent = [("traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())]
    spans = {trace(parent) for _ in range(2)}
    assert {trace_id for trace_id, _ in spans} == {TRACE}
    assert len(spans) == 2
    assert trace([("traceparent", f"cc-{TRACE}-b7ad6b7169203331-01-what-comes-later".encode())])[0] == TRACE


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"\xff",
        b"00-00000000000000000000000000000000-b7ad6b7169203331-01",
        b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        b"00-zzf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c",
    ],
)
def test_a_trace_that_is_none_begins_a_new_one(header: bytes | None) -> None:
    """Other programs may write to the topics too, so a header may hold anything or have no value."""
    assert trace([("traceparent", header)])[0] not in {TRACE, "0" * 32}
