"""Draws one customer's two traces, from spans as OpenTelemetry's console exporter prints them:

OTEL_TRACES_EXPORTER=console connector demo | python docs/trace_picture.py > docs/trace.svg
"""

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from html import escape
from typing import Any

Span = dict[str, Any]

LINE, LEFT, WIDTH = 22, 440, 1100  # pixels: a line's height, the end of the names, all
COLOURS = {
    "PRODUCER": "#b7791f",
    "CONSUMER": "#2b6cb0",
    "CLIENT": "#2f855a",
    "SERVER": "#805ad5",
    "INTERNAL": "#718096",
}
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1a202c } .dim { fill: #718096 } .head { font-weight: 600 }
line { stroke: #e2e8f0 } rect.ground { fill: #fff }
@media (prefers-color-scheme: dark) {
  text { fill: #e2e8f0 } .dim { fill: #a0aec0 } line { stroke: #2d3748 } rect.ground { fill: #1a202c }
}"""


def read(text: str) -> list[Span]:
    """The JSON objects in the text, among whatever else it holds."""
    found, at, decoder = [], text.find("\n{"), json.JSONDecoder()
    while at >= 0:
        span, end = decoder.raw_decode(text, at + 1)
        found.append(span)
        at = text.find("\n{", end - 1)
    return found


def chosen(spans: list[Span]) -> list[list[Span]]:
    """The trace of a survey and that of its answer, for the customer whose answer came first."""
    traces: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span["start_time"]):
        traces.setdefault(span["context"]["trace_id"], []).append(span)
    for answer in traces.values():
        for link in answer[0]["links"]:
            if link["context"]["trace_id"] != answer[0]["context"]["trace_id"]:
                return [traces[link["context"]["trace_id"]], answer]
    sys.exit("there is no answer with a link to its survey among these spans")


def rows(trace: list[Span], parent: str | None = None, depth: int = 0) -> Iterator[tuple[Span, int]]:
    """The spans of a trace, each below its parent, with their depth."""
    for span in trace:
        if span["parent_id"] == parent:
            yield span, depth
            yield from rows(trace, span["context"]["span_id"], depth + 1)


def seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def drawn(traces: list[list[Span]]) -> str:
    begin = min(seconds(span["start_time"]) for trace in traces for span in trace)
    end = max(seconds(span["end_time"]) for trace in traces for span in trace)
    scale = (WIDTH - LEFT - 90) / (end - begin)
    parts, y = [], 24
    for title, trace in zip(("The survey", "The answer, with a link to the invitation"), traces, strict=True):
        parts.append(f'<text class="head" x="10" y="{y}">{title}</text>')
        for span, depth in rows(trace):
            y += LINE
            x = LEFT + (seconds(span["start_time"]) - begin) * scale
            took = seconds(span["end_time"]) - seconds(span["start_time"])
            length, colour = max(3.0, took * scale), COLOURS[span["kind"].removeprefix("SpanKind.")]
            parts += [
                f'<line x1="10" x2="{WIDTH - 10}" y1="{y + 6}" y2="{y + 6}"/>',
                f'<text x="{10 + 14 * depth}" y="{y}">{escape(span["name"])}</text>',
                f'<rect x="{x:.1f}" y="{y - 11}" width="{length:.1f}" height="13" rx="2" fill="{colour}"/>',
            ]
            if took > 0.0005:
                parts.append(f'<text class="dim" x="{x + length + 5:.1f}" y="{y}">{1000 * took:.0f} ms</text>')
        y += 2 * LINE
    key = "".join(
        f'<rect x="{10 + 110 * n}" y="{y - 21}" width="12" height="12" rx="2" fill="{colour}"/>'
        f'<text class="dim" x="{27 + 110 * n}" y="{y - 11}">{kind.lower()}</text>'
        for n, (kind, colour) in enumerate(COLOURS.items())
    )
    size = f'viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}"'
    body = "\n".join([f'<rect class="ground" width="{WIDTH}" height="{y}"/>', *parts, key])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n{body}\n</svg>\n'


if __name__ == "__main__":
    sys.stdout.write(drawn(chosen(read(sys.stdin.read()))))
