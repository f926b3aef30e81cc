"""Traces for OpenTelemetry, if the environment asks for them and the extra `otel` is installed.

Without that, every method here does nothing, and OpenTelemetry is not imported. docs/tracing.md says what is traced.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import httpx

from connector.errors import Fatal

if TYPE_CHECKING:
    from connector.observe._otel import Spans

Headers = Iterable[tuple[str, bytes | None]]
Kind = Literal["client", "consumer", "internal", "server"]
Value = str | int
Note = Callable[[str, Value], None]

_ASK = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_EXPORTERS = ("otlp", "console", "none")


class Tracing:
    """What the stages call. A span that it opens is the current one of the task; it holds nothing of a customer.

    A `traceparent` in a record's `headers` names the span that made the record.
    """

    def __init__(self) -> None:
        self.spans: Spans | None = None

    def set_up(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Begins to trace if one of OpenTelemetry's own variables asks for it.

        Raises:
            Fatal: The extra is not installed, or a variable has a value that we cannot follow.
        """
        exporter = environ.get("OTEL_TRACES_EXPORTER") or "otlp"
        if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or not any(map(environ.get, _ASK)):
            return
        if exporter not in _EXPORTERS:
            raise Fatal(f"OTEL_TRACES_EXPORTER is {exporter}; it can be {', '.join(_EXPORTERS)}")
        if exporter == "none":
            return
        try:
            from connector.observe import _otel  # noqa: PLC0415 - only where somebody wants it
        except ImportError as error:
            raise Fatal(
                f"the environment asks for traces, but {error.name} is not installed. Install the extra"
                " `salesforce-pisano-connector[otel]`, or set OTEL_SDK_DISABLED=true."
            ) from error
        self.spans = _otel.Spans(_otel.provider(exporter, environ))

    def stop(self) -> None:
        """Sends what was traced. Call it at the end of the process; it takes 2 s at most."""
        if self.spans is not None:
            self.spans.stop()

    def span(
        self,
        name: str,
        kind: Kind = "internal",
        attributes: Mapping[str, Value] | None = None,
        *,
        links: Sequence[Headers] = (),
        start: datetime | None = None,
    ) -> AbstractContextManager[Note]:
        """A span around what happens in the context manager, which gives a function that notes more attributes.

        `links` are the headers of the records that it is about. It is a child of the current span, or else of the one
        that made the first of these records, or else the root of a new trace.
        """
        if self.spans is None:
            return _NOTHING
        return self.spans.span(name, kind, attributes or {}, links=links, start=start)

    def processed(self, cell: str, place: tuple[str, int, int], headers: Headers) -> AbstractContextManager[Note]:
        """The span of a cell's work on the record at `place`: topic, partition and offset."""
        if self.spans is None:
            return _NOTHING
        topic, partition, offset = place
        known = _messaging("process", topic) | {
            "messaging.consumer.group.name": cell.partition("/")[0],
            "connector.cell": cell,
            "messaging.destination.partition.id": str(partition),
            "messaging.kafka.offset": offset,
        }
        return self.spans.span(f"process {topic}", "consumer", known, links=[headers])

    def called(self, request: httpx.Request) -> AbstractContextManager[Note]:
        """The span of an HTTP call that is part of another span. We send no `traceparent` to Salesforce and Pisano."""
        if self.spans is None or not self.spans.in_span:
            return _NOTHING
        url = request.url
        return self.spans.span(
            f"{request.method} {url.path}",
            "client",
            {
                "http.request.method": request.method,
                "server.address": url.host,
                "server.port": url.port or (443 if url.scheme == "https" else 80),
                "url.path": url.path,  # no more of it: a query may hold an address
            },
        )

    def created(self, topic: str, event: str, headers: Headers) -> bytes | None:
        """The `traceparent` for a new record that a record with these headers, or the current span, caused.

        `event` is the record's CloudEvents id. None when nothing is traced here.
        """
        if self.spans is None:
            return None
        return self.spans.created(
            f"create {topic}", _messaging("create", topic) | {"cloudevents.event_id": event}, headers
        )

    @staticmethod
    def apart(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task outside the current span, for work that lives on and is about other records, too."""
        return asyncio.create_task(work, context=Context())

    def link(self, headers: Headers) -> None:
        """Links the current span to the one that made the record with these headers."""
        if self.spans is not None:
            self.spans.link(headers)


def _messaging(operation: str, topic: str) -> dict[str, Value]:
    """Attributes of OpenTelemetry's semantic conventions for messaging, version 1.44."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": topic,
    }


def _ignored(_: str, __: Value) -> None:
    return


_NOTHING = nullcontext(_ignored)

tracing = Tracing()  # as global as OpenTelemetry's own provider, and as the log
