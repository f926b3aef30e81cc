"""Counts what topics say, over the last hour, day and week."""

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from connector.config import Kafka
from connector.kafka.dead_letters import DEAD_LETTERS
from connector.kafka.inbound import InRecord
from connector.kafka.kept import Progress, kept
from connector.kafka.ledger import ATTEMPTS
from connector.operate.actions import ACTIONS
from connector.operate.letters import Decisions, Letter
from connector.records import Outcome

PERIODS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}
LONGEST = max(PERIODS.values())
_AGAIN = timedelta(minutes=1)  # read twice: clocks of the writers differ
_BUCKET = 60  # seconds

Key = tuple[str, str]


class Tail:
    """Reads a topic from `period` ago on, or from its beginning with None, and at the next call only what is new.

    `topic` is without the prefix.
    """

    def __init__(
        self, kafka: Kafka, topic: str, take: Callable[[InRecord], None], *, period: timedelta | None = LONGEST
    ) -> None:
        self._kafka = kafka
        self._topic = kafka.topic_prefix + topic
        self._take = take
        self._period = period
        self._read: dict[int, tuple[int, float]] = {}  # by partition: the next offset, and the latest time so far
        self._since: datetime | None = None

    async def read(self, now: datetime, progress: Progress = lambda *_: None) -> None:
        """Takes each record once.

        Raises:
            Fatal, Retryable: As `kept` says.
        """
        since = self._since or (now - self._period if self._period else None)
        async for record in kept(self._kafka, [self._topic], since=since, progress=progress):
            offset, latest = self._read.get(record.partition, (0, 0.0))
            is_later = record.timestamp > latest  # at a lower offset: the topic was made anew
            if record.offset >= offset or is_later:
                self._read[record.partition] = record.offset + 1, max(latest, record.timestamp)
                self._take(record)
        self._since = now - _AGAIN


class Counts:
    """How often each key came, by minute. It forgets what is older than a week."""

    def __init__(self) -> None:
        self._minutes: defaultdict[int, Counter[Key]] = defaultdict(Counter)

    def add(self, key: Key, at: float, count: int = 1) -> None:
        """Counts a key at a Unix time."""
        self._minutes[int(at // _BUCKET)][key] += count

    def bars(self, now: datetime, period: timedelta, count: int) -> list[tuple[datetime, Counter[Key]]]:
        """How often each key came in each of `count` equal parts of the last `period`, with the part's begin."""
        width = period.total_seconds() / count
        newest = int(now.timestamp() // width)
        found = {number: Counter[Key]() for number in range(newest - count + 1, newest + 1)}
        for minute, counter in self._minutes.items():
            if (number := int(minute * _BUCKET // width)) in found:
                found[number].update(counter)
        return [(datetime.fromtimestamp(number * width, UTC), counter) for number, counter in found.items()]

    def rows(self, now: datetime) -> list[tuple[Key, dict[str, int]]]:
        """Each key that came, with how often in each period."""
        moment = now.timestamp()
        for minute in [minute for minute in self._minutes if minute * _BUCKET < moment - LONGEST.total_seconds()]:
            del self._minutes[minute]
        found: defaultdict[Key, dict[str, int]] = defaultdict(lambda: dict.fromkeys(PERIODS, 0))
        for minute, counter in self._minutes.items():
            for name, period in PERIODS.items():
                if minute * _BUCKET > moment - period.total_seconds():
                    for key, count in counter.items():
                        found[key][name] += count
        return sorted((key, row) for key, row in found.items() if any(row.values()))


class Outcomes:
    """Invitations by outcome and reason, and when each account got its token, from the ledger."""

    def __init__(self, kafka: Kafka) -> None:
        self.tail = Tail(kafka, ATTEMPTS, self.take)
        self.counts = Counts()
        self.tokens: dict[str, datetime] = {}
        self._unknown: dict[str, tuple[Key, float]] = {}  # by invitation: a person may decide about it later

    def take(self, record: InRecord) -> None:
        """Takes a record of the ledger. Send reports one that cannot be read; here it counts as nothing."""
        try:
            entry = orjson.loads(record.value or b"{}")
            self._take(entry, record.timestamp)
        except (ValueError, KeyError, TypeError, AttributeError):
            return

    def _take(self, entry: dict[str, Any], at: float) -> None:
        if entry.get("kind") == "settlement":
            key = entry["outcome"], entry["reason"] or ""
            if earlier := self._unknown.pop(entry["invitation"], None):
                self.counts.add(*earlier, -1)
            if key[0] == Outcome.UNKNOWN:
                self._unknown[entry["invitation"]] = key, at
            self.counts.add(key, at)
        elif entry.get("call") == "token" and entry.get("result") == "accepted":
            self.tokens[entry["account"]] = datetime.fromisoformat(entry["settled_at"]).astimezone(UTC)


class Letters:
    """Dead letters by stage and reason, without those that operators have worked off."""

    def __init__(self, kafka: Kafka) -> None:
        self.tail = Tail(kafka, DEAD_LETTERS, self.take)
        self._decisions = Decisions()
        self.decided = Tail(kafka, ACTIONS, self.decide)
        self._letters: list[Letter] = []

    def take(self, record: InRecord) -> None:
        """Takes a dead letter."""
        self._letters.append(Letter(record).small())

    def decide(self, record: InRecord) -> None:
        """Takes a decision of an operator."""
        self._decisions.take(record)

    def rows(self, now: datetime) -> list[tuple[Key, dict[str, int]]]:
        """The letters of the last week that wait for somebody, by stage and reason, as `Counts.rows`."""
        since, counts = (now - LONGEST).timestamp(), Counts()
        self._letters = [letter for letter in self._letters if letter.record.timestamp >= since]
        for letter in self._letters:
            if self._decisions.about(letter) is None:
                counts.add((letter.stage, letter.reason), letter.record.timestamp)
        return counts.rows(now)
