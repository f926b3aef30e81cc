"""Where things stand: figures from Kafka and from the workers' `/status`, for `connector status` and the console.

It looks from outside, so it works from any machine that reaches Kafka. Without a worker that answers, it knows what
Kafka knows.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from connector.config import Config, catalogue
from connector.errors import Fatal, Rejected
from connector.kafka.channel_log import POSITIONS
from connector.kafka.groups import Group, groups
from connector.kafka.inbound import InRecord
from connector.kafka.kept import Progress
from connector.operate.counts import PERIODS, Letters, Outcomes, Tail
from connector.operate.worker_page import asking, page
from connector.records import Position, read

KEPT = timedelta(hours=72)  # how long Salesforce keeps change events for a position (salesforce §A5)

_SLOW = 60.0  # seconds: a younger record is no lag that somebody has to look at
_BETWEEN = 5.0  # seconds between the first two looks at a lag, to see whether it grows
_OLD = timedelta(hours=48)  # of a position: a day is left to find out why

Sleep = Callable[[float], Awaitable[None]]
Say = Callable[[str], None]


@dataclass
class Status:
    """One look. Ages and times to wait are in seconds; what is not known is None.

    `workers` has each worker's page by its address, None for one that does not answer. `outcomes` and `dead_letters`
    count over `1h`, `24h` and `7d`. `problems` are sentences about what somebody should look at.
    """

    at: datetime
    stages: list[dict[str, Any]]
    accounts: list[dict[str, Any]]
    channels: list[dict[str, Any]]
    salesforce: dict[str, Any]
    held: list[dict[str, Any]]
    outcomes: list[dict[str, Any]]
    dead_letters: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    workers: dict[str, dict[str, Any] | None]
    problems: list[str] = field(default_factory=list)


class Board:
    """Call `look` as often as you like: it reads whole topics only the first time.

    `urls` are the workers' addresses. `now` is in UTC.

    Raises:
        Fatal: An address is not one of HTTP.
    """

    def __init__(
        self,
        config: Config,
        urls: Sequence[str],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if wrong := [url for url in urls if not url.startswith(("http://", "https://"))]:
            raise Fatal(f"{wrong[0]} is no address of a worker; write it as http://HOST:PORT")
        self._config = config
        self._urls = [url.rstrip("/") for url in urls]
        self._now = now
        self._sleep = sleep
        self._outcomes = Outcomes(config.kafka)
        self._letters = Letters(config.kafka)
        self._positions: dict[str, datetime] = {}
        # A channel that stands still has its last position for weeks.
        self._position_tail = Tail(config.kafka, POSITIONS, self._take_position, period=None)
        self._before: Mapping[str, Group] = {}
        self._growing: set[str] = set()

    async def look(self, say: Say = lambda _: None) -> Status:
        """Looks at Kafka and at the workers. `say` is told what is being read.

        Raises:
            Fatal: No broker answers, a topic is missing, or a right.
            Retryable: Kafka is away.
        """
        workers = await self._ask_workers()
        say("Asking Kafka about the groups …")
        now_groups, self._growing = await self._groups()
        for what, tail in (
            ("outcomes", self._outcomes.tail),
            ("dead letters", self._letters.tail),
            ("decisions", self._letters.decided),
            ("positions", self._position_tail),
        ):
            await tail.read(self._now(), _percent(say, what))
        return self._status(workers, now_groups, self._growing)

    async def glance(self) -> Status:
        """Asks only the workers. What Kafka says is as old as the last `look`; before the first, it is not known."""
        return self._status(await self._ask_workers(), self._before, self._growing)

    def outcomes_over_time(self, period: str, bars: int) -> list[tuple[datetime, Mapping[str, int]]]:
        """How many invitations got each outcome in each of `bars` parts of the last `1h`, `24h` or `7d`.

        Each part comes with the time at which it begins.
        """
        parts: list[tuple[datetime, Mapping[str, int]]] = []
        for begin, counts in self._outcomes.counts.bars(self._now(), PERIODS[period], bars):
            by_outcome = Counter[str]()
            for (outcome, _), count in counts.items():
                by_outcome[outcome] += count
            parts.append((begin, by_outcome))
        return parts

    async def _groups(self) -> tuple[Mapping[str, Group], set[str]]:
        """The groups, and which of them fall further behind."""
        topics = reads(self._config)
        found = await groups(self._config.kafka, topics, lambda: self._now().timestamp())
        before, self._before = self._before, found
        if not before and any((group.lag_seconds or 0.0) > _SLOW for group in found.values()):
            await self._sleep(_BETWEEN)
            before, found = found, await groups(self._config.kafka, topics, lambda: self._now().timestamp())
        growing = {
            name
            for name, group in found.items()
            if name in before and (group.lag_seconds or 0.0) > _SLOW and (group.lag or 0) > (before[name].lag or 0)
        }
        return found, growing

    async def _ask_workers(self) -> dict[str, dict[str, Any] | None]:
        async with asking() as http:
            pages = await asyncio.gather(*(page(http, url) for url in self._urls))
        return dict(zip(self._urls, pages, strict=True))

    def _take_position(self, record: InRecord) -> None:
        try:
            position = read(Position, record.value)
        except Rejected:
            return  # capture says so, and is held
        self._positions[position.channel] = position.at

    def _status(
        self, workers: dict[str, dict[str, Any] | None], now_groups: Mapping[str, Group], growing: set[str]
    ) -> Status:
        now = self._now()
        pages = [each for each in workers.values() if each]
        names = dict.fromkeys([*now_groups, "receive", *(name for each in pages for name in each["stages"])])
        status = Status(
            at=now,
            stages=[_stage(name, now_groups.get(name), pages) for name in names],
            accounts=[self._account(name, pages, now) for name in self._config.pisano],
            channels=[self._channel(name, now) for name in self._config.salesforce.channels],
            salesforce=_salesforce(pages),
            held=[{**cell, "worker": url} for url, each in workers.items() if each for cell in each["held"]],
            outcomes=[
                {"outcome": str(outcome), "reason": reason or None, **counts}
                for (outcome, reason), counts in self._outcomes.counts.rows(now)
            ],
            dead_letters=[
                {"stage": stage, "reason": reason, **counts} for (stage, reason), counts in self._letters.rows(now)
            ],
            errors=sorted(
                ({**line, "worker": url} for url, each in workers.items() if each for line in each["errors"]),
                key=lambda line: line.get("timestamp", ""),
            ),
            workers=workers,
        )
        status.problems = _problems(status, growing)
        return status

    def _account(self, name: str, pages: Sequence[Mapping[str, Any]], now: datetime) -> dict[str, Any]:
        """The windows as the worker sees them that counts most: one that lost the account counts no new calls."""
        known = [each["accounts"][name] for each in pages if name in each["accounts"]]
        limits: Mapping[str, Any] = max(
            known, key=lambda one: sum(window["used"] for window in one["windows"]), default={}
        )
        waiting = [one["waiting"] for one in known if one["waiting"] is not None]
        token = self._outcomes.tokens.get(name)
        return {
            "account": name,
            "windows": limits.get("windows"),
            "closed_for": limits.get("closed_for"),
            "waiting": max(waiting, default=None),
            "token_age": (now - token).total_seconds() if token else None,
        }

    def _channel(self, name: str, now: datetime) -> dict[str, Any]:
        at = self._positions.get(name)
        return {
            "channel": name,
            "position_age": (now - at).total_seconds() if at else None,
            "kept": KEPT.total_seconds(),
        }


def reads(config: Config) -> dict[str, list[str]]:
    """The consumer group of each stage that has one, and the topics whose records it reads; without the prefix."""
    prefix = config.kafka.topic_prefix
    return {
        "capture": [],  # its group only shares the channels; how far a channel is stands in its position
        "trigger": [topic.removeprefix(prefix) for topic in catalogue.entity_topics(config).values()],
        "send": ["pisano.invitations"],
        "write": ["pisano.feedback"],
    }


def _percent(say: Say, what: str) -> Progress:
    return lambda passed, total: say(f"Reading {what}: {100 * passed // total if total else 100} %")


def _stage(name: str, group: Group | None, pages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    mine = [each["stages"][name] for each in pages if name in each["stages"]]

    def total(figure: str) -> float | None:
        known = [one[figure] for one in mine if one.get(figure) is not None]
        return sum(known) if known else None

    return {
        "stage": name,
        "members": group.members if group else None,
        "ready": sum(one["ready"] for one in mine) if mine else None,
        "workers": len(mine),
        "lag": group.lag if group else None,
        "lag_seconds": group.lag_seconds if group else None,
        "hanging_transactions": total("hanging_transactions"),
        "in_flight": total("in_flight"),
        "parked": total("parked"),
        "per_minute": total("per_minute"),
    }


def _salesforce(pages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = [each["salesforce"] for each in pages]
    budgets = [one["api"] for one in known if one["api"]]
    ages = [one["token_age"] for one in known if one["token_age"] is not None]
    return {"api": max(budgets, key=lambda one: one["used"], default=None), "token_age": max(ages, default=None)}


def _problems(status: Status, growing: set[str]) -> list[str]:
    found = [f"the cell {cell['cell']} is held: {cell['reason']}" for cell in status.held]
    for stage in status.stages:
        name = stage["stage"]
        if stage["members"] == 0:
            found.append(f"{name} has no member: nobody runs it")
        if stage["workers"] and stage["ready"] < stage["workers"]:
            found.append(f"{name} is not ready on {stage['workers'] - stage['ready']} of {stage['workers']} workers")
        if stage["hanging_transactions"]:
            found.append(f"{name} waits for a transaction that hangs: docs/kafka.md, Transactions that hang")
        if name in growing:
            found.append(f"{name} falls behind: {stage['lag']} records, the oldest {stage['lag_seconds']:.0f} s old")
    for channel in status.channels:
        age = channel["position_age"]
        if age is not None and age > _OLD.total_seconds():
            found.append(f"the position of {channel['channel']} is {age / 3600:.0f} h old; after 72 h changes are lost")
    return found
