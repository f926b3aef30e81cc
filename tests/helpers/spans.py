"""Spans of OpenTelemetry that a test collects in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from connector.observe._otel import Spans
from connector.observe.tracing import tracing


@dataclass(frozen=True)
class Collected:
    """Finished spans."""

    exporter: InMemorySpanExporter

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans in the order of their beginnings."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def trace(self, trace_id: int) -> list[ReadableSpan]:
        """Those of one trace."""
        return [span for span in self.spans if span.context.trace_id == trace_id]

    def only(self, name: str) -> ReadableSpan:
        """The only one with this name."""
        [span] = [span for span in self.spans if span.name == name]
        return span


@contextmanager
def collected_spans() -> Iterator[Collected]:
    """Traces everything as long as it is open."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.spans = Spans(provider)
    try:
        yield Collected(exporter)
    finally:
        tracing.spans = None
        provider.shutdown()
