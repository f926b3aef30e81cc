"""Runs a stage again over kept records: chooses them, has them worked on in lots, and counts what came of it."""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from connector.config import Config, Kafka, catalogue
from connector.config.scope import one_of
from connector.errors import Fatal
from connector.kafka.cloud_events import OutRecord
from connector.kafka.connection import admin_client
from connector.kafka.inbound import InRecord
from connector.kafka.kept import Place, Progress, Span, bounds, kept
from connector.operate.spans import EARLIEST, bound
from connector.records import ChangeEvent, Feedback, Invitation, Record
from connector.templates import Condition, RenderError, TemplateError
from connector.values import exact

STAGES = ("trigger", "send", "write")
COPY = "replay"  # the header that a replay adds to what it writes: the place of the record that was replayed

_LOT = 400  # records that are worked on together: two full SOQL calls
_MOST_EXAMPLES = 10  # of one outcome
_ELSEWHERE = {
    "capture": "Salesforce keeps what capture reads: `connector positions set` makes it read again",
    "receive": "receive gets its webhooks from Pisano, and what it stored is on pisano.feedback: replay write",
    "index": "index reads the topics again when its file is gone: stop it, delete the file, and start it",
}
_MODELS: Mapping[str, type[Record]] = {"trigger": ChangeEvent, "send": Invitation, "write": Feedback}


@dataclass(frozen=True)
class Found:
    """What came of a record, or of an invitation or write that it made. `id` names that, and is no personal data.

    `what` is one of a few words for people, `reason` a code or a rule's name. `is_dead`: it is, or would be, a dead
    letter.
    """

    place: Place
    what: str
    reason: str | None = None
    id: str | None = None
    is_dead: bool = False


@dataclass
class Report:
    """`read` counts the records between the bounds, `copies` those that an earlier replay wrote, which are left out,
    and `chosen` those that the replay is about. `outcomes` counts by what came of them and the reason.
    """

    read: int = 0
    copies: int = 0
    chosen: int = 0
    dead: int = 0
    outcomes: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    examples: dict[tuple[str, str | None], list[Found]] = field(default_factory=dict)

    def add(self, found: Found) -> None:
        """Counts an outcome, and keeps it as an example if there are few."""
        kind = found.what, found.reason
        self.outcomes[kind] += 1
        self.dead += found.is_dead
        if self.outcomes[kind] <= _MOST_EXAMPLES:
            self.examples.setdefault(kind, []).append(found)

    def require_some(self) -> None:
        """Raises Fatal if the replay is about no record."""
        if not self.chosen:
            raise Fatal(
                f"there is nothing to replay: of {self.read} records between --from and --to, {self.copies} are copies"
                f" of an earlier replay, and --where holds for none of the others"
                if self.read
                else "there is nothing to replay: the topics hold no record between --from and --to"
            )

    def rows(self) -> list[tuple[str, str | None, int, list[Found]]]:
        """What came of the records, the reason, how often, and examples: by what came of them, then by how often."""
        kinds = sorted(self.outcomes, key=lambda kind: (kind[0], -self.outcomes[kind], kind[1] or ""))
        return [(*kind, self.outcomes[kind], self.examples[kind]) for kind in kinds]


Work = Callable[[Sequence[InRecord]], Awaitable[Sequence[Found]]]


def inputs(config: Config, stage: str) -> list[str]:
    """The full names of the topics that a stage reads. Raises Fatal for a stage that cannot be replayed."""
    if stage in _ELSEWHERE:
        raise Fatal(f"{stage} cannot be replayed: {_ELSEWHERE[stage]}")
    if stage not in STAGES:
        raise Fatal(f"there is no stage {stage} to replay; {one_of(stage, STAGES)}")
    if stage == "trigger":
        return [*catalogue.entity_topics(config).values()]
    return [config.kafka.topic_prefix + ("pisano.invitations" if stage == "send" else "pisano.feedback")]


def condition(stage: str, source: str) -> Condition:
    """The condition of `--where`, whose names are those of the stage's records.

    Raises:
        Fatal: It is no condition, or names something that no record of the stage has.
    """
    try:
        found = Condition(source)
    except TemplateError as error:
        raise Fatal(f"--where: {error}") from error
    fields = _MODELS[stage].model_fields
    for path in found.paths():
        root, name = path.parts[0], path.parts[1] if len(path.parts) > 1 else None
        if root not in {"record", "key", "headers"}:
            raise Fatal(f"--where: {path} is not known; it can name record.FIELD, key and headers.NAME")
        if root == "record" and isinstance(name, str) and name not in fields:
            raise Fatal(f"--where: {path}: these records have no {name}; {one_of(name, fields)}")
    return found


@dataclass(frozen=True)
class Selection:
    """The records of a span for which the condition holds, without what earlier replays wrote there."""

    kafka: Kafka
    span: Span
    where: Condition | None = None

    async def lots(self, report: Report, progress: Progress) -> AsyncGenerator[list[InRecord], None]:
        """The records in order per partition, some at once; `report` counts them.

        Raises:
            Fatal: The condition cannot be decided for a record, or a topic is gone.
            Retryable: Kafka is away.
        """
        lot: list[InRecord] = []
        topics = sorted({topic for topic, _ in self.span})
        async with aclosing(kept(self.kafka, topics, within=self.span, progress=progress)) as records:
            async for record in records:
                report.read += 1
                if is_copy(record):
                    report.copies += 1
                elif self.where is None or _holds(self.where, record):
                    report.chosen += 1
                    lot.append(record)
                if len(lot) >= _LOT:
                    yield lot
                    lot = []
        if lot:
            yield lot


async def selection(config: Config, stage: str, begin: str, end: str | None, where: str | None) -> Selection:
    """What an operator chose: `begin` and `end` are as in `bound`, `where` is a condition.

    Raises:
        Fatal: No broker answers, a topic is missing, or a part of the choice is wrong.
        Retryable: Kafka is away.
    """
    topics, now = inputs(config, stage), datetime.now(UTC)
    first = bound("--from", begin, topics, now)
    if end == EARLIEST:
        raise Fatal(
            f"--to {EARLIEST}: there is nothing before the earliest record; without --to the replay goes up to now"
        )
    last = None if end is None else bound("--to", end, topics, now)
    if isinstance(first, Place) and isinstance(last, Place) and first[:2] != last[:2]:
        raise Fatal(f"--from {begin} and --to {end} are in different partitions; replay one after the other")
    holds = None if where is None else condition(stage, where)
    async with admin_client(config.kafka):
        pass  # says better than a consumer why no broker answers
    return Selection(config.kafka, await bounds(config.kafka, topics, first, last), holds)


async def count(selection: Selection, progress: Progress = lambda *_: None) -> int:
    """How many records a replay would be about. Raises what `Selection.lots` raises, and Fatal if there are none."""
    report = Report()
    async with aclosing(selection.lots(report, progress)) as lots:
        async for _ in lots:
            pass
    report.require_some()
    return report.chosen


async def replay(selection: Selection, work: Work, report: Report, progress: Progress = lambda *_: None) -> None:
    """Has each lot of records worked on, one after the other. After an error, `report` has what was done before it.

    Raises:
        ConnectorError: What `Selection.lots` or `work` raise.
    """
    async with aclosing(selection.lots(report, progress)) as lots:
        async for lot in lots:
            for found in await work(lot):
                report.add(found)
    report.require_some()


def copies(kafka: Kafka, write: Callable[[Sequence[OutRecord]], Awaitable[object]]) -> Work:
    """Work that writes each record again, with its key, value, headers and partition, to the topics of `kafka`."""

    async def work(lot: Sequence[InRecord]) -> list[Found]:
        await write([_copy(record, kafka.topic_prefix) for record in lot])
        return [Found(place_of(record), "written again", id=_id(record)) for record in lot]

    return work


def place_of(record: InRecord) -> Place:
    """Where the record lies."""
    return Place(record.topic, record.partition, record.offset)


def is_copy(record: InRecord) -> bool:
    """Whether an earlier replay made this record from another one of the same topic."""
    return (_header(record, COPY) or "").startswith(f"{record.topic}/")


def _copy(record: InRecord, prefix: str) -> OutRecord:
    """It keeps its partition: what the stages remember of a record, they remember under that number."""
    name = next(name for name in ("pisano.invitations", "pisano.feedback") if record.topic.endswith(name))
    headers = [*record.headers, (COPY, str(place_of(record)).encode())]
    return OutRecord(prefix + name, record.key, record.value, headers, record.partition)


def _id(record: InRecord) -> str | None:
    return _header(record, "ce_id")


def _header(record: InRecord, name: str) -> str | None:
    value = dict(record.headers).get(name)
    return value.decode(errors="replace") if value is not None else None


def _holds(where: Condition, record: InRecord) -> bool:
    scope = {"record": _value(record.value), "key": (record.key or b"").decode(errors="replace"), "headers": {}}
    scope["headers"] = {name: value.decode(errors="replace") for name, value in record.headers if value is not None}
    try:
        return where.holds(scope)
    except RenderError as error:
        raise Fatal(f"--where: {place_of(record)}: {error}") from error


def _value(value: bytes | None) -> Any:
    try:
        return exact.loads(value or b"null")
    except ValueError:
        return None
