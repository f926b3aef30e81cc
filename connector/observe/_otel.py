"""Spans, made with OpenTelemetry's SDK. Only `tracing.py` imports this, and only where somebody wants traces."""

import logging
import re
import threading
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from connector.errors import Fatal
from connector.masking import mask_emails
from connector.observe.tracing import Headers, Kind, Note, Value

_SERVICE = "salesforce-pisano-connector"
_SENT_WITHIN = 2.0  # seconds at the end of the process
_SCHEMA = "https://opentelemetry.io/schemas/1.44.0"  # of the semantic conventions
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def provider(exporter: str, environ: MutableMapping[str, str]) -> TracerProvider:
    """OpenTelemetry's tracer provider: sampler, limits, resource and queue are as its own variables say.

    Raises:
        Fatal: The variables name a protocol that we do not speak.
    """
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if exporter == "otlp" and environ.get(name) not in {None, "", "http/protobuf"}:
            raise Fatal(
                f"{name} is {environ[name]}; set it to http/protobuf, and the endpoint to the collector's port for"
                " HTTP, usually 4318"
            )
    if "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        environ.setdefault("OTEL_SERVICE_NAME", _SERVICE)
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # it warns at each repetition of an export
    made = TracerProvider(shutdown_on_exit=False)  # it would try for 30 s to reach a collector that is away
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter() if exporter == "otlp" else ConsoleSpanExporter()))
    return made


class Spans:
    """See `Tracing`, which has the same methods."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("connector", schema_url=_SCHEMA)

    def stop(self) -> None:
        """Sends the spans that wait, and gives up those that nobody takes within 2 s."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(_SENT_WITHIN)

    @property
    def in_span(self) -> bool:
        """Whether the task has a current span."""
        return trace.get_current_span().get_span_context().is_valid

    @contextmanager
    def span(
        self,
        name: str,
        kind: Kind,
        attributes: Mapping[str, Value],
        *,
        links: Sequence[Headers] = (),
        start: datetime | None = None,
    ) -> Iterator[Note]:
        """An error sets the span's status, with addresses masked; OpenTelemetry would record it with its traceback."""
        with self._tracer.start_as_current_span(
            name,
            _within(links[0] if links else ()),
            SpanKind[kind.upper()],
            attributes,
            [Link(made_by) for made_by in map(_maker, links) if made_by],
            int(start.timestamp() * 1e9) if start else None,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield partial(_note, span, 500 if kind == "server" else 400)
            except Exception as error:
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(Status(StatusCode.ERROR, mask_emails(str(error))))
                raise

    def created(self, name: str, attributes: Mapping[str, Value], headers: Headers) -> bytes | None:
        context = _within(headers)
        if not trace.get_current_span(context).get_span_context().is_valid:
            return None
        span = self._tracer.start_span(name, context, SpanKind.PRODUCER, attributes)
        span.end()
        made = span.get_span_context()
        return b"00-%032x-%016x-%02x" % (made.trace_id, made.span_id, made.trace_flags)

    def link(self, headers: Headers) -> None:
        if made_by := _maker(headers):
            trace.get_current_span().add_link(made_by)


def _note(span: trace.Span, least: int, name: str, value: Value) -> None:
    """Notes an attribute. A status of HTTP from `least` on is an error of the span, as the conventions want it."""
    span.set_attribute(name, value)
    if name == "http.response.status_code" and int(value) >= least:
        span.set_attribute("error.type", str(value))
        span.set_status(StatusCode.ERROR)


def _maker(headers: Headers) -> SpanContext | None:
    """The span that made a record with these headers."""
    found = _TRACEPARENT.fullmatch(dict(headers).get("traceparent") or b"")
    if not found:
        return None
    trace_id, span_id, flags = (int(found[part], 16) for part in (1, 2, 3))
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))


def _within(headers: Headers) -> Context:
    """Where a new span belongs: in the current one, unless the headers are of another trace.

    A task may carry the span of the record that caused it, though it works for many.
    """
    current, made_by = trace.get_current_span(), _maker(headers)
    if made_by is None or made_by.trace_id == current.get_span_context().trace_id:
        return trace.set_span_in_context(current)
    return trace.set_span_in_context(NonRecordingSpan(made_by))
