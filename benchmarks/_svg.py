"""Draws one plot as SVG: lines over a few named steps, readable on a light and on a dark page."""

from collections.abc import Mapping, Sequence
from html import escape
from math import floor, log10

Line = Mapping[str, float]  # by step; a step may be missing

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 130, 40, 45  # pixels around the plot: figures, names of the lines, title, steps
_GRID_LINES = 4
_LABEL_HEIGHT = 14  # pixels between two names, so that they do not lie on each other

# Colours that people who confuse red and green can tell apart (Okabe and Ito), and a dash of its own for each line.
_STYLE = """
  .page { fill: #ffffff } .ink { fill: #1f2328 } .grid { stroke: #d0d7de } text { font: 12px sans-serif }
  .a { --c: #0072b2 } .b { --c: #b35900 } .c { --c: #00734f } .d { --c: #8f4a76 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } .ink { fill: #e6edf3 } .grid { stroke: #3d444d }
    .a { --c: #56b4e9 } .b { --c: #e69f00 } .c { --c: #2bc493 } .d { --c: #d993bd }
  }
  polyline { fill: none; stroke: var(--c); stroke-width: 2 } circle, .name { fill: var(--c) }
  .b polyline { stroke-dasharray: 8 4 } .c polyline { stroke-dasharray: 2 3 } .d polyline { stroke-dasharray: 8 3 2 3 }
"""
_CLASSES = "abcd"


def plot(title: str, unit: str, steps: Sequence[str], lines: Mapping[str, Line]) -> str:
    """An SVG document of at most four lines by name. The value axis begins at 0. `unit` says what the values are."""
    top = _round_up(max((value for line in lines.values() for value in line.values()), default=0.0))
    across = (_WIDTH - _LEFT - _RIGHT) / max(1, len(steps) - 1)
    x = {step: _LEFT + number * across for number, step in enumerate(steps)}

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM)

    grid = [_grid_line(y(value), short(value)) for value in (top * n / _GRID_LINES for n in range(_GRID_LINES + 1))]
    named = [_text(x[step], _HEIGHT - _BOTTOM + 18, step, "middle") for step in steps]
    points = {name: [(x[step], y(line[step])) for step in steps if step in line] for name, line in lines.items()}
    drawn = [
        _line(name, kind, at, label)
        for (name, at), label, kind in zip(points.items(), _label_places(points), _CLASSES, strict=False)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style>",
            f'<rect class="page" width="{_WIDTH}" height="{_HEIGHT}"/>',
            _text(_LEFT, 18, f"{title}, {unit}", "start"),
            *grid,
            *named,
            *drawn,
            "</svg>\n",
        ]
    )


def short(value: float) -> str:
    """A figure that fits on an axis or in a table: 12.3k, 850, 0.5."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _round_up(value: float) -> float:
    """The next figure of the kind 1, 2, 4, 5 or 8 times a power of ten."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 2, 4, 5, 8, 10, 20) if step * power >= value)


def _label_places(points: Mapping[str, Sequence[tuple[float, float]]]) -> list[float]:
    """The height of each line's name: beside its last point, but below the name above it."""
    places, lowest = dict.fromkeys(points, 0.0), float("-inf")
    for name in sorted(points, key=lambda name: points[name][-1][1] if points[name] else 0.0):
        lowest = max(points[name][-1][1] + 4 if points[name] else 0.0, lowest + _LABEL_HEIGHT)
        places[name] = lowest
    return list(places.values())


def _grid_line(y: float, label: str) -> str:
    line = f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text(_LEFT - 8, y + 4, label, "end")


def _line(name: str, kind: str, points: Sequence[tuple[float, float]], label: float) -> str:
    if not points:
        return ""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points)
    text = f'<text class="name" x="{points[-1][0] + 10:.1f}" y="{label:.1f}">{escape(name)}</text>'
    return f'<g class="{kind}"><polyline points="{path}"/>{dots}{text}</g>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="ink" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
