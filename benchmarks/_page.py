"""The report of all benchmarks as Markdown, with a plot for each figure that grows with load or workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from _svg import plot, short

Figures = Mapping[str, Any]
Points = Mapping[str, Sequence[Mapping[str, float]]]

BUILDS = ("ours", "floor", "earlier")
_VALUES = {"per_second": "per second", "p99_ms": "p99 in ms", "seconds": "seconds", "mb": "MB"}
_ANSWER = {True: "yes", False: "**no**"}
_STEPS = {"load": "by load", "workers": "by workers"}


@dataclass(frozen=True)
class Ran:
    """What one script printed: its figures, or why there are none; and its table."""

    name: str
    figures: Figures | None
    table: str
    problem: str = ""


def page(ran: Sequence[Ran], machine: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The page, and the plots by their file names, which the page expects in the folder `plots`."""
    plots = {each.name: _plots(each) for each in ran}
    rows = [f"| {name} | {value} |" for name, value in machine.items()]
    parts = [
        "# Report of the benchmarks",
        "`make bench` wrote this page. The figures hold for this machine only; compare the ratios. In the plots, `ours`"
        " is this build, `floor` the least possible or a peer, and `earlier` the build before stages handled records in"
        " bulk.",
        "\n".join(["| machine | |", "|---|---|", *rows]),
        "## Claims",
        _claims(ran),
        *(_section(each, plots[each.name]) for each in ran),
    ]
    return "\n\n".join(parts) + "\n", {name: svg for drawn in plots.values() for name, svg in drawn.items()}


def _claims(ran: Sequence[Ran]) -> str:
    rows = [
        f"| {each.name} | {claim['claim']} | {_short(claim['target'])} | {_short(claim['found'])} |"
        f" {_ANSWER[bool(claim['holds'])]} |"
        for each in ran
        for claim in (each.figures or {}).get("claims", ())
    ]
    if not rows:
        return "No benchmark claims anything at the loads of this run."
    return "\n".join(["| benchmark | claim | target | found | holds |", "|---|---|---|---|---|", *rows])


def _short(figure: object) -> str:
    """A number without the digits that tell nothing; a text as it is."""
    if not isinstance(figure, float):
        return str(figure)
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.3g}"


def _section(ran: Ran, plots: Mapping[str, str]) -> str:
    parts = [f"## {ran.name}"]
    if ran.problem:
        parts.append(f"It gave no figures: {ran.problem}")
    ratios = (ran.figures or {}).get("ratios") or {}
    if ratios:
        parts.append("\n".join(f"- {name}: {short(ratio)}" for name, ratio in ratios.items() if ratio is not None))
    if ran.table.strip():
        parts.append(f"```\n{ran.table.strip(chr(10))}\n```")
    parts += [f"![{name.removesuffix('.svg')}](plots/{name})" for name in plots]
    return "\n\n".join(parts)


def _plots(ran: Ran) -> dict[str, str]:
    drawn = {}
    for step, by in _STEPS.items():
        points = _points(ran.figures or {}, step)
        steps = sorted({point[step] for line in points.values() for point in line})
        for key, unit in _VALUES.items():
            lines = {
                name: {short(point[step]): point[key] for point in line if point.get(key) is not None}
                for name, line in points.items()
            }
            lines = {name: line for name, line in lines.items() if line}
            if len(steps) > 1 and lines:
                svg = plot(f"{ran.name} {by}", unit, [short(at) for at in steps], lines)
                drawn[f"{ran.name}-{step}-{key.replace('_', '-')}.svg"] = svg
    return drawn


def _points(figures: Figures, step: str) -> Points:
    """The points with this step, by line. `series` stands in the figures of each build, or beside them for ours."""
    series = {build: (figures.get(build) or {}).get("series") or [] for build in BUILDS}
    series["ours"] = [*series["ours"], *figures.get("series", [])]
    return {build: [point for point in line if step in point] for build, line in series.items()}
