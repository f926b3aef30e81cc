"""Makes what a look knows ready for the templates: words, colours, and places in pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connector.console.collector import Over, Snapshot
from connector.operate.status import Status
from connector.records import Outcome

PERIODS = {"1h": 60, "24h": 48, "7d": 42}  # bars of a chart: a minute, half an hour, four hours each
_BEHIND = 60.0  # seconds: what is younger is no lag that somebody has to look at
_STALE = 30.0  # seconds: five looks at Kafka
_HEIGHT = 100.0  # of a chart, in its own units
_WIDTH = 10.0  # of a bar and the gap after it

# Each stage's place in the picture.
_STAGES: Mapping[str, tuple[int, int]] = {
    "capture": (190, 10),
    "trigger": (440, 10),
    "send": (690, 10),
    "receive": (690, 132),
    "write": (190, 132),
}
_OUTCOMES = [str(outcome) for outcome in (Outcome.SENT, Outcome.SUPPRESSED, Outcome.EXPIRED, Outcome.UNKNOWN)]
_OUTCOMES.append(str(Outcome.REJECTED))


@dataclass(frozen=True)
class Stage:
    """`tone` is good, warn, bad or dim, and `word` says the same."""

    name: str
    x: int
    y: int
    tone: str
    word: str
    figures: Mapping[str, Any]

    @property
    def flows(self) -> bool:
        """Whether it has finished records in the last minute."""
        return bool(self.figures["per_minute"])


@dataclass(frozen=True)
class View:
    """A look, for templates. `old` says why figures are old or missing. `status` is None before the first look."""

    status: Status | None
    stages: Sequence[Stage]
    old: str | None
    now: datetime

    @property
    def tone(self) -> str:
        """The colour of the whole."""
        if self.status is None or self.old:
            return "warn"
        return "bad" if self.status.problems else "good"

    @property
    def word(self) -> str:
        """The whole in words."""
        if self.status is None:
            return "looking …"
        count_ = len(self.status.problems)
        if count_:
            return f"{count_} thing{'s' * (count_ != 1)} to look at"
        return "figures are old" if self.old else "nothing to look at"


@dataclass(frozen=True)
class Bar:
    """A bar of a chart: where it stands, its pieces from the bottom up, and all of it in words."""

    x: float
    pieces: Sequence[tuple[str, float, float]]  # outcome, top, height
    words: str


@dataclass(frozen=True)
class Chart:
    """Bars over a period; `top` is the count at the upper edge."""

    bars: Sequence[Bar]
    top: int
    begin: datetime
    outcomes: Sequence[str]

    @property
    def width(self) -> float:
        """In the chart's own units."""
        return len(self.bars) * _WIDTH


def view(snapshot: Snapshot, now: datetime) -> View:
    """The look as templates take it."""
    status = snapshot.status
    stages = [*_stages(status)] if status else []
    return View(status, stages, _old(snapshot, now), now)


def chart(over: Over) -> Chart:
    """A chart of outcomes over time."""
    top = max([1, *(sum(counts.values()) for _, counts in over)])
    names = [name for name in _OUTCOMES if any(counts.get(name) for _, counts in over)]
    return Chart([*_bars(over, top)], top, over[0][0], names)


def age(seconds: float | None) -> str:
    """A time that has passed, or is to pass; an empty text for what is not known."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def count(number: float | None) -> str:
    """A number, with thin spaces between thousands; a dash for what is not known."""
    return "\u2013" if number is None else f"{number:,.0f}".replace(",", "\u202f")


def when(at: datetime | str) -> str:
    """A time in UTC, to the second; as it is written, if it has no date in UTC any more."""
    at = datetime.fromisoformat(at) if isinstance(at, str) else at
    try:
        return f"{at.astimezone(UTC):%F %T}"
    except OverflowError:
        return str(at)


def _stages(status: Status) -> Iterator[Stage]:
    known = {one["stage"]: one for one in status.stages}
    unknown = dict.fromkeys(("members", "ready", "lag", "lag_seconds", "in_flight", "parked", "per_minute"))
    for name, (x, y) in _STAGES.items():
        figures = known.get(name, {**unknown, "workers": 0})
        held = sum(cell["cell"].split("/")[0] == name for cell in status.held)
        yield Stage(name, x, y, *_state(figures, held), figures)


def _state(figures: Mapping[str, Any], held: int) -> tuple[str, str]:
    if held:
        return "bad", f"{held} held"
    if figures["members"] == 0:
        return "bad", "nobody runs it"
    if figures["workers"] and figures["ready"] < figures["workers"]:
        return "bad", "not ready"
    if (figures["lag_seconds"] or 0.0) > _BEHIND:
        return "warn", f"{age(figures['lag_seconds'])} behind"
    if not figures["workers"]:
        return "dim", "no worker answers"
    return "good", "ready"


def _old(snapshot: Snapshot, now: datetime) -> str | None:
    if snapshot.kafka:
        since = (
            f"Kafka's figures are from {when(snapshot.kafka_at)} UTC" if snapshot.kafka_at else "no figures of Kafka"
        )
        return f"{snapshot.kafka} ({since})"
    if snapshot.kafka_at and (seconds := (now - snapshot.kafka_at).total_seconds()) > _STALE:
        return f"Kafka's figures are {age(seconds)} old: it answers slowly"
    return None


def _bars(over: Over, top: int) -> Iterator[Bar]:
    for number, (begin, counts) in enumerate(over):
        pieces, floor = [], _HEIGHT
        for name in _OUTCOMES:
            if found := counts.get(name, 0):
                height = found / top * _HEIGHT
                floor -= height
                pieces.append((name, round(floor, 2), round(height, 2)))
        words = ", ".join(f"{counts[name]} {name}" for name in _OUTCOMES if counts.get(name)) or "none"
        yield Bar(number * _WIDTH, pieces, f"{when(begin)} UTC: {words}")
