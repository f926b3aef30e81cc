"""Where a span belongs, what it says of an error, and when there are none at all."""

import runpy
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from helpers.invitations import invitation
from helpers.spans import collected_spans
from opentelemetry.trace import StatusCode

from connector import observe
from connector.errors import Fatal, Rejected
from connector.kafka.cloud_events import Headers, OutRecord, to_record
from connector.kafka.inbound import InRecord
from connector.observe.tracing import Tracing, tracing
from connector.reasons import Reason
from connector.records import Feedback, Invitation
from connector.stages._invited import Invited

AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


def record(parent: Headers = ()) -> OutRecord:
    feedback = Feedback(id="f-1", account="main", received_at=AT, body={})
    names = {"ce_type": "pisano.feedback", "ce_source": "/accounts/main", "ce_id": "f-1"}
    return to_record("pisano.feedback", "5001", feedback, **names, ce_time=AT, parent=parent)


def test_a_record_continues_the_trace_of_its_cause_and_not_of_what_the_task_did_before() -> None:
    with collected_spans() as collected:
        with tracing.span("one customer"):
            one = record()
        with tracing.span("another customer"):
            other, caused = record(), record(one.headers)
        create = [span for span in collected.spans if span.name == "create pisano.feedback"]
        traces = {span.name: span.context.trace_id for span in collected.spans if span.parent is None}
        assert [span.context.trace_id for span in create] == [
            traces["one customer"],
            traces["another customer"],
            traces["one customer"],
        ]
        assert create[2].parent
        assert create[2].parent.span_id == create[0].context.span_id
        [header] = [value for name, value in caused.headers if name == "traceparent"]
        flags = create[2].context.trace_flags  # bit 0 is "sampled"; a newer bit says that the id is random
        assert header.decode() == f"00-{traces['one customer']:032x}-{create[2].context.span_id:016x}-{flags:02x}"
        assert flags.sampled
        assert len(other.headers) == len(dict(other.headers))


def test_a_record_that_nothing_traced_has_caused_makes_no_span() -> None:
    with collected_spans() as collected:
        assert dict(record().headers)["traceparent"].startswith(b"00-")
        assert collected.spans == []


def test_a_call_for_several_customers_has_a_link_to_each() -> None:
    with collected_spans() as collected:
        causes = []
        for customer in ("one", "two"):
            with tracing.span(customer):
                causes.append(record().headers)
        with tracing.span("call Pisano", links=causes):
            pass
        call, first = collected.only("call Pisano"), collected.only("one")
        assert call.context.trace_id == first.context.trace_id
        assert len({link.context.trace_id for link in call.links}) == 2


def test_an_error_is_told_with_addresses_masked() -> None:
    with collected_spans() as collected:
        with pytest.raises(Rejected), tracing.processed("send/main", ("pisano.invitations", 0, 7), ()):
            raise Rejected("nobody has jane@example.com")
        [span] = collected.spans
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "nobody has j***@example.com")
        assert (span.attributes or {})["error.type"] == "Rejected"
        assert span.events == ()


def test_a_call_says_no_query_and_is_part_of_a_span_or_not_traced() -> None:
    request = httpx.Request("GET", "https://acme.my.salesforce.com/services/data/v66.0/query?q=jane@example.com")
    with collected_spans() as collected:
        with tracing.called(request):
            pass
        assert collected.spans == []
        with tracing.span("trigger"), tracing.called(request) as note:
            note("http.response.status_code", 503)
        call = collected.only("GET /services/data/v66.0/query")
        assert "jane" not in call.to_json()
        assert call.status.status_code is StatusCode.ERROR
        assert (call.attributes or {})["error.type"] == "503"


@pytest.mark.parametrize(
    "environ",
    [{}, {**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}],
)
def test_nothing_is_traced_unless_the_environment_asks_for_it(environ: dict[str, str]) -> None:
    own = Tracing()
    own.set_up(environ)
    assert own.spans is None


def test_an_endpoint_is_enough_to_trace() -> None:
    own, environ = Tracing(), {**ENDPOINT, "OTEL_TRACES_SAMPLER": "always_off"}
    own.set_up(environ)
    assert own.spans
    own.stop()
    assert environ["OTEL_SERVICE_NAME"] == "salesforce-pisano-connector"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is zipkin; it can be otlp, console, none"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "set it to http/protobuf, and the endpoint to .* 4318"),
    ],
)
def test_what_we_cannot_follow_is_refused(environ: dict[str, str], said: str) -> None:
    with pytest.raises(Fatal, match=said):
        Tracing().set_up(environ)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "connector.observe._otel")
    monkeypatch.delattr(observe, "_otel")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(Fatal, match=r"is not installed. Install the extra `salesforce-pisano-connector\[otel\]`"):
        Tracing().set_up(dict(ENDPOINT))


def test_an_answer_is_to_the_last_invitation_that_it_can_be_to() -> None:
    """Those that nobody was sent, that name nothing, or that cannot be read do not count; the oldest is forgotten."""
    known = Invited({"main": "sf_ref_id"}, most=2)

    def invited(trace: bytes, value: bytes | Invitation) -> None:
        content = value if isinstance(value, bytes) else value.model_dump_json().encode()
        known.take(InRecord("pisano.invitations", 0, 0, b"main", content, [("traceparent", trace)], 0.0))

    def found(number: int) -> bytes | None:
        return dict(known.headers("main", f"case-{number}"))["traceparent"]

    invited(b"one", invitation(1))
    invited(b"one again", invitation(1))
    invited(b"two", invitation(2, suppressed=Reason.OPTED_OUT))
    invited(b"three", invitation(3, built_in_responses={}))
    invited(b"four", b"{")
    assert [found(number) for number in (1, 2, 3)] == [b"one again", None, None]
    assert dict(known.headers("other", "case-1"))["traceparent"] is None
    for number in (5, 6):
        invited(b"new", invitation(number))
    assert [found(number) for number in (1, 5, 6)] == [None, b"new", b"new"]


def test_the_picture_shows_a_survey_and_its_answer() -> None:
    """From what the console exporter prints, among the lines of the demo."""
    with collected_spans() as collected:
        with tracing.span("receive /data/CaseChangeEvent", "consumer"):
            sent = record()
        with tracing.span("POST /pisano/main", "server"):
            tracing.link(sent.headers)
        printed = "\n".join(["Starting …", *(span.to_json() for span in collected.spans), "a table"])
    script = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "trace_picture.py"))
    picture = script["drawn"](script["chosen"](script["read"](printed)))
    names = [text.text for text in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    spans = ["receive /data/CaseChangeEvent", "create pisano.feedback", "POST /pisano/main"]
    assert [name for name in names if name in spans] == spans


def test_the_service_does_not_import_opentelemetry_by_itself() -> None:
    code = "import sys, connector.cli.run, connector.wiring; print([m for m in sys.modules if 'opentelemetry' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"
