"""The dead letters as operators see them, and what operators have done with them."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from heapq import heappop, heappush
from typing import Any

from connector.config import Config, Kafka
from connector.decisions import Action
from connector.errors import Fatal, Rejected
from connector.kafka.connection import admin_client
from connector.kafka.dead_letters import DEAD_LETTERS
from connector.kafka.inbound import InRecord
from connector.kafka.kept import Progress, kept, record_at
from connector.masking import mask_emails
from connector.operate.actions import ACTIONS, without_invitation
from connector.operate.spans import read_time
from connector.records import Outcome, read
from connector.values import exact

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)  # Kafka knows no earlier time
LETTER_AT = "letter_at"  # of a decision: when the stage gave up. Another letter lies there when the topic is made anew
_ENDED = {Outcome.REJECTED, Outcome.UNKNOWN}  # reasons of send's dead letters whose outcome is in the ledger


@dataclass(frozen=True)
class Letter:
    """A dead letter as it lies on its topic. Any client may write there, so any header may be missing."""

    record: InRecord

    @cached_property
    def said(self) -> Mapping[str, str]:
        """The headers, as text."""
        return {name: (value or b"").decode(errors="backslashreplace") for name, value in self.record.headers}

    @property
    def place(self) -> str:
        """`PARTITION/OFFSET` on `connector.deadletters`; it names the letter."""
        return f"{self.record.partition}/{self.record.offset}"

    @property
    def stage(self) -> str:
        """The stage that gave up on it."""
        return self.said.get("dl_stage", "")

    @property
    def reason(self) -> str:
        """Why, as a code."""
        return self.said.get("dl_reason", "")

    @property
    def cell(self) -> str:
        """Whose work failed, such as `trigger/closed-case`; empty for a webhook."""
        return self.said.get("dl_cell", "")

    @property
    def error(self) -> str:
        """Why, in words. Addresses are masked."""
        return self.said.get("dl_error", "")

    @property
    def origin(self) -> str:
        """`TOPIC/PARTITION/OFFSET` of the record, or what it is when it never was one."""
        names = ("dl_topic", "dl_partition", "dl_offset")
        return (
            "/".join(self.said.get(name, "?") for name in names) if self.has_topic else self.said.get("dl_source", "")
        )

    @property
    def has_topic(self) -> bool:
        """False for a webhook or an event that never became a record."""
        return "dl_topic" in self.said

    @cached_property
    def at(self) -> datetime:
        """When the stage gave up."""
        try:
            at = datetime.fromisoformat(self.said.get("dl_at", ""))
        except ValueError:
            at = datetime.fromtimestamp(self.record.timestamp, UTC)
        return at if at.tzinfo else at.replace(tzinfo=UTC)

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """The value's JSON object; empty if it holds none."""
        try:
            found = exact.loads(self.record.value or b"")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def invitation(self) -> str | None:
        """`ACCOUNT/ID` of the invitation, when its outcome is in the ledger of send."""
        if self.stage != "send" or self.reason not in _ENDED:
            return None
        return f"{self.content.get('account')}/{self.content.get('id')}"

    def small(self) -> "Letter":
        """The same letter in little memory: it knows its place, stage, reason, time and invitation."""
        headers = tuple(header for header in self.record.headers if header[0] in {"dl_stage", "dl_reason", "dl_at"})
        small = Letter(replace(self.record, value=None, headers=headers))
        small.__dict__["invitation"] = self.invitation
        return small

    def survey(self) -> str | None:
        """The survey that it is about, if it is about one."""
        match self.cell.split("/"):
            case ["trigger", survey] | ["send", _, survey]:
                return survey
        return _text(self.content.get("survey"))

    def account(self, config: Config) -> str | None:
        """The account of Pisano that it is about, if it is known."""
        match self.cell.split("/"):
            case ["trigger", survey] if survey in config.surveys:
                return config.surveys[survey].account
            case ["send", account, _]:
                return account
        paths = {f"webhook {one.webhook.path}": name for name, one in config.pisano.items() if one.webhook}
        return paths.get(self.origin) or _text(self.content.get("account"))


@dataclass(frozen=True)
class Wanted:
    """A filter; None lets everything pass. A cell includes the cells in it."""

    stage: str | None = None
    reason: str | None = None
    survey: str | None = None
    account: str | None = None
    cell: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, letter: Letter, config: Config) -> bool:
        """Whether the letter passes."""
        return (
            self.stage in {None, letter.stage}
            and self.reason in {None, letter.reason}
            and (self.cell is None or f"{letter.cell}/".startswith(f"{self.cell}/"))
            and (self.since is None or letter.at >= self.since)
            and (self.until is None or letter.at <= self.until)
            and (self.survey is None or letter.survey() == self.survey)
            and (self.account is None or letter.account(config) == self.account)
        )


class Decisions:
    """What operators have decided, by target."""

    def __init__(self) -> None:
        self._by_target: dict[str, Action] = {}

    def take(self, record: InRecord) -> None:
        """Takes a record of `connector.actions`. One that cannot be read decides nothing."""
        target = (record.key or b"").decode(errors="replace")
        if record.value is None:
            self._by_target.pop(target, None)
            return
        try:
            action = read(Action, record.value)
        except Rejected:
            return
        self._by_target[target] = without_invitation(action)

    def of(self, target: str) -> Action | None:
        """The decision about a target."""
        return self._by_target.get(target)

    def about(self, letter: Letter) -> Action | None:
        """The decision that worked the letter off: about itself, or since then about its invitation."""
        action = self._by_target.get(target_of(letter))
        if action and action.params.get(LETTER_AT, letter.at.isoformat()) == letter.at.isoformat():
            return action  # earlier versions do not say which letter lay there
        settled = self._by_target.get(letter.invitation or "")
        return settled if settled and settled.kind in {"settle", "erase"} and settled.at >= letter.at else None


def target_of(letter: Letter) -> str:
    """The target of an action about this letter."""
    return f"deadletter/{letter.place}"


async def letters(
    config: Config, wanted: Wanted, *, progress: Progress = lambda *_: None
) -> AsyncGenerator[Letter, None]:
    """The dead letters that pass; those of one key are in order. Raises what `kept` raises."""
    topic = config.kafka.topic_prefix + DEAD_LETTERS
    async with aclosing(kept(config.kafka, [topic], since=wanted.since, progress=progress)) as records:
        async for record in records:
            letter = Letter(record)
            if wanted.takes(letter, config):
                yield letter


@dataclass(frozen=True)
class Row:
    """A letter in a list, without its value. `at` is ISO 8601 in UTC; addresses are masked."""

    place: str
    at: str
    stage: str
    reason: str
    cell: str
    key: str
    error: str
    origin: str
    bytes: int
    worked_off: str | None


async def rows(
    config: Config, wanted: Wanted, *, limit: int, worked_off: bool = False, progress: Progress = lambda *_: None
) -> tuple[list[Row], int]:
    """The newest `limit` letters that pass, the oldest first; and how many pass. Raises what `kept` raises.

    `worked_off`: also those that operators have worked off.
    """
    known, newest, count = await decisions(config.kafka), list[tuple[datetime, int, Row]](), 0
    async for letter in letters(config, wanted, progress=progress):
        action = known.about(letter)
        if action is None or worked_off:
            count += 1
            heappush(newest, (letter.at, count, _row(letter, action)))
            if len(newest) > limit:
                heappop(newest)
    return [row for *_, row in sorted(newest)], count


def _row(letter: Letter, action: Action | None) -> Row:
    return Row(
        letter.place,
        letter.at.astimezone(UTC).isoformat(timespec="seconds"),
        letter.stage,
        letter.reason,
        letter.cell,
        mask_emails((letter.record.key or b"").decode(errors="backslashreplace")),
        letter.error,
        letter.origin,
        len(letter.record.value or b""),
        said(action) if action else None,
    )


def said(action: Action) -> str:
    """What was decided, by whom and when, in words."""
    words = {"retry": "retried", "discard": "discarded"}.get(action.decision, f"settled ({action.decision})")
    return f"{words} by {action.by} at {action.at:%F %T} UTC" + (f": {action.reason}" if action.reason else "")


async def letter_at(kafka: Kafka, place: str) -> Letter:
    """The dead letter at this place.

    Raises:
        Fatal: There is none, or `place` is not `PARTITION/OFFSET`.
        Retryable: Kafka is away.
    """
    partition, _, offset = place.partition("/")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise Fatal(f"a dead letter is named by PARTITION/OFFSET, such as 0/1234, and not {place!r}")
    return Letter(await record_at(kafka, kafka.topic_prefix + DEAD_LETTERS, int(partition), int(offset)))


async def decisions(kafka: Kafka) -> Decisions:
    """What operators have decided so far. Raises what `kept` raises."""
    found = Decisions()
    async for record in kept(kafka, [kafka.topic_prefix + ACTIONS]):
        found.take(record)
    return found


async def require_kafka(kafka: Kafka) -> None:
    """Raises Fatal when no broker answers."""
    async with admin_client(kafka):
        pass


def moment(text: str, now: datetime, *, is_end: bool = False) -> datetime:
    """A time, a day, or a duration before `now`. Of a day, `is_end` means its end. Times without a zone are UTC.

    Raises:
        Fatal: It is none of these.
    """
    at = read_time(text, now)
    if at is None:
        raise Fatal(f"{text!r} is no time: write 7d, 2026-12-31 or 2026-12-31T09:00+03:00")
    if is_end and len(text) == len("2026-12-31") and text.count("-") == 2:
        at += timedelta(days=1) - timedelta(microseconds=1)
    return max(at, _FIRST)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
