"""The figures of `connector status` and of /status: counts over time, rates, and what somebody should look at."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.config_files import MINIMAL, read
from hypothesis import given
from hypothesis import strategies as st

from connector.config import Config, Kafka
from connector.errors import Fatal
from connector.kafka.groups import Group
from connector.kafka.inbound import InRecord
from connector.limits import StackedLimiter, Window
from connector.observe.logs import LastErrors
from connector.operate import status
from connector.operate.actions import action_of
from connector.operate.counts import PERIODS, Counts, Letters, Outcomes, Tail
from connector.operate.status import Board
from connector.operate.worker_page import Page, page
from connector.salesforce.api_usage import ApiUsage, api_usage
from connector.wiring.shared import Shared
from connector.wiring.status import StatusPage

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
KAFKA = Kafka(bootstrap_servers="127.0.0.1:1")
HEALTHY = {name: Group(1, 0, 0.0) for name in ("trigger", "send", "write")} | {"capture": Group(1)}


def record(value: Mapping[str, Any], ago: timedelta, headers: Sequence[tuple[str, bytes]] = ()) -> InRecord:
    at = (NOW - ago).timestamp()
    return InRecord("topic", 0, 0, None, json.dumps(value).encode(), tuple(headers), at)


def settlement(invitation: str, outcome: str, reason: str | None = None) -> dict[str, Any]:
    return {"kind": "settlement", "invitation": invitation, "outcome": outcome, "reason": reason}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10 * 86400)), max_size=50))
def test_each_period_counts_what_came_within_it(events: list[tuple[str, int]]) -> None:
    """To the minute; what is older than a week counts nowhere."""
    found = Counts()
    for key, ago in events:
        found.add((key, ""), NOW.timestamp() - ago)
    rows = {key: row for (key, _), row in found.rows(NOW)}
    for name, period in PERIODS.items():
        for key in "abc":
            surely = sum(one == key and ago < period.total_seconds() - 60 for one, ago in events)
            maybe = sum(one == key and ago < period.total_seconds() + 60 for one, ago in events)
            assert surely <= rows.get(key, {}).get(name, 0) <= maybe


def test_an_unknown_outcome_that_a_person_decided_counts_once() -> None:
    outcomes = Outcomes(KAFKA)
    outcomes.take(record(settlement("one", "unknown", "no_answer"), timedelta(hours=5)))
    outcomes.take(record(settlement("two", "unknown", "no_answer"), timedelta(hours=5)))
    outcomes.take(record(settlement("one", "sent"), timedelta(minutes=5)))
    assert outcomes.counts.rows(NOW) == [
        (("sent", ""), {"1h": 1, "24h": 1, "7d": 1}),
        (("unknown", "no_answer"), {"1h": 0, "24h": 1, "7d": 1}),
    ]


def test_the_ledger_tells_when_a_token_came_and_what_cannot_be_read_counts_as_nothing() -> None:
    outcomes = Outcomes(KAFKA)
    call = {"kind": "attempt", "account": "main", "call": "token", "state": "settled", "settled_at": NOW.isoformat()}
    outcomes.take(record({**call, "result": "refused", "account": "other"}, timedelta()))
    outcomes.take(record({**call, "result": "accepted"}, timedelta()))
    for value in (b"no JSON", b"[1]", b'{"kind": "settlement"}', None):
        outcomes.take(InRecord("topic", 0, 0, None, value, (), NOW.timestamp()))
    assert outcomes.tokens == {"main": NOW}
    assert outcomes.counts.rows(NOW) == []


def test_dead_letters_count_by_stage_and_reason_until_somebody_works_them_off() -> None:
    letters, gone = Letters(KAFKA), [("dl_stage", b"write"), ("dl_reason", b"record_gone")]
    unknown = [("dl_stage", b"send"), ("dl_reason", b"unknown"), ("dl_at", NOW.isoformat().encode())]
    for offset in (7, 8):
        letters.take(replace(record({}, timedelta(hours=2), gone), offset=offset))
    letters.take(replace(record({"account": "main", "id": "one"}, timedelta(hours=2), unknown), offset=9))
    assert letters.rows(NOW) == [
        (("send", "unknown"), {"1h": 0, "24h": 1, "7d": 1}),
        (("write", "record_gone"), {"1h": 0, "24h": 2, "7d": 2}),
    ]
    for kind, target in (("dead_letter", "deadletter/0/7"), ("settle", "main/one")):
        action = action_of(kind, target, "drop", by="ada", reason="")
        value = action.model_copy(update={"at": NOW}).model_dump_json().encode()
        letters.decide(replace(record({}, timedelta(0)), key=target.encode(), value=value))
    assert letters.rows(NOW) == [(("write", "record_gone"), {"1h": 0, "24h": 1, "7d": 1})]


def test_a_429_shows_for_how_long_the_gate_is_closed() -> None:
    limiter = StackedLimiter([Window(20, 5.0), Window(40, 25.0)], clock=lambda: 100.0)
    assert limiter.used().closed_for == 0
    limiter.close_for(7.0)
    assert limiter.used().closed_for == 7.0
    assert list(limiter.used()) == [(Window(20, 5.0), 0), (Window(40, 25.0), 0)]


@pytest.mark.parametrize(
    ("header", "usage"),
    [
        ("api-usage=10018/100000; api-bursts=1/750", ApiUsage(10018, 100000)),
        ("api-bursts=1/750;api-usage=3/5", ApiUsage(3, 5)),
        ("per-app-api-usage=17/250(appName=sample)", None),
        ("api-usage=many/100000", None),
        ("", None),
    ],
)
def test_the_budget_of_api_calls_is_read_from_the_header(header: str, usage: ApiUsage | None) -> None:
    assert api_usage(header) == usage


def test_the_last_errors_are_few_and_masked() -> None:
    errors = LastErrors()
    errors(None, "", {"level": "warning", "event": "no error"})
    for number in range(30):
        errors(
            None, "", {"level": "error", "event": f"event_{number}", "error": "no jane@example.com", "exc_info": True}
        )
    lines = errors.lines()
    assert [line["event"] for line in lines] == [f"event_{number}" for number in range(10, 30)]
    assert lines[0]["error"] == "no j***@example.com"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return read(tmp_path, MINIMAL)


@pytest.fixture
def kafka_says(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Group]]]:
    """What Kafka says about the groups, look by look; the topics are empty."""
    answers: list[dict[str, Group]] = []

    async def groups(*_: object) -> dict[str, Group]:
        return answers.pop(0)

    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(status, "groups", groups)
    monkeypatch.setattr(Tail, "read", nothing)
    yield answers
    assert answers == []


@pytest.mark.parametrize(
    ("first", "second", "problems"),
    [
        (Group(1, 10, 30.0), None, []),  # it is young
        (Group(1, 10, 90.0), Group(1, 10, 95.0), []),
        (Group(1, 10, 90.0), Group(1, 4, 95.0), []),
        (Group(1, 10, 90.0), Group(1, 12, 95.0), ["send falls behind: 12 records, the oldest 95 s old"]),
        (Group(0, 0, 0.0), None, ["send has no member: nobody runs it"]),
    ],
)
async def test_a_lag_that_grows_is_something_to_look_at(
    config: Config, kafka_says: list[dict[str, Group]], first: Group, second: Group | None, problems: list[str]
) -> None:
    """Where the oldest record is more than a minute old, it looks twice."""
    kafka_says += [{**HEALTHY, "send": one} for one in (first, second) if one]
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    found = await Board(config, [], now=lambda: NOW, sleep=sleep).look()
    assert found.problems == problems
    assert len(slept) == (second is not None)


async def test_a_second_look_compares_with_the_first(config: Config, kafka_says: list[dict[str, Group]]) -> None:
    kafka_says += [{**HEALTHY, "write": Group(1, lag, 5.0 + 80 * lag)} for lag in (0, 3, 2)]
    board = Board(config, [], now=lambda: NOW)
    assert (await board.look()).problems == []
    assert (await board.look()).problems == ["write falls behind: 3 records, the oldest 245 s old"]
    assert (await board.look()).problems == []


async def test_a_transaction_that_hangs_is_something_to_look_at_although_there_seems_to_be_no_lag(
    config: Config, kafka_says: list[dict[str, Group]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = {"send": {"ready": True, "hanging_transactions": 0}, "trigger": {"ready": True, "hanging_transactions": 2}}
    answer = {"stages": stages, "accounts": {}, "salesforce": {}, "held": [], "errors": []}

    async def answered(*_: object) -> dict[str, Any]:
        return Page.model_validate(answer).model_dump()

    monkeypatch.setattr(status, "page", answered)
    kafka_says.append(HEALTHY)
    found = await Board(config, ["http://worker:8080"], now=lambda: NOW).look()
    assert found.problems == ["trigger waits for a transaction that hangs: docs/kafka.md, Transactions that hang"]


async def test_several_workers_the_newest_errors_come_last_and_what_waits_is_not_the_former_owners(
    config: Config, kafka_says: list[dict[str, Group]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that gave the account away a moment ago has made more calls; it knows of none that waits."""

    def worker(used: int, waiting: int, *times: str) -> dict[str, Any]:
        windows = [{"seconds": 625, "limit": 160, "used": used}]
        errors = [{"timestamp": f"2026-07-30T12:0{time}:00Z", "event": "cell_held"} for time in times]
        accounts = {"main": {"windows": windows, "waiting": waiting}}
        return {"stages": {}, "accounts": accounts, "salesforce": {}, "held": [], "errors": errors}

    answers = {"http://one:8080": worker(9, 0, "1", "4"), "http://other:8080": worker(2, 7, "2", "3")}

    async def answered(_: object, url: str) -> dict[str, Any]:
        return Page.model_validate(answers[url]).model_dump()

    monkeypatch.setattr(status, "page", answered)
    kafka_says.append(HEALTHY)
    found = await Board(config, [*answers], now=lambda: NOW).look()
    assert [line["timestamp"][14:16] for line in found.errors] == ["01", "02", "03", "04"]
    assert [(one["waiting"], one["windows"][0]["used"]) for one in found.accounts] == [(7, 9)]


@pytest.mark.parametrize(
    ("answer", "answers"),
    [
        ({"stages": {"send": {"ready": True}}, "accounts": {}, "salesforce": {}, "held": [], "errors": []}, True),
        ({"stages": {"send": {}}, "accounts": {}, "salesforce": {}, "held": [], "errors": []}, False),
        ({"status": "ok"}, False),
        ([], False),
    ],
)
async def test_what_is_no_page_of_a_worker_counts_as_no_answer(answer: object, answers: bool) -> None:
    """An older worker may lack figures; another program may answer at the address."""

    def answered(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/status"
        return httpx.Response(200, json=answer)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answered)) as http:
        assert (await page(http, "http://worker:8080") is not None) == answers


def test_an_address_that_is_none_is_refused(config: Config) -> None:
    with pytest.raises(Fatal, match="localhost:8080 is no address of a worker; write it as http://HOST:PORT"):
        Board(config, ["localhost:8080"])


async def test_a_worker_tells_how_much_each_stage_has_finished_in_the_last_minute(config: Config) -> None:
    """Of trigger, send and write it was never known: the watches keep these totals, and nothing found them."""
    moments, done = iter((0.0, 30.0)), iter((7, 10))
    async with Shared(config) as shared:
        told = StatusPage(shared, clock=lambda: next(moments), now=lambda: NOW)
        shared.metrics.finished.of["send"] = lambda: next(done)
        told.look(("send",))
        told.look(("send",))
        assert told.page({"send": True})["stages"]["send"]["per_minute"] == 6


async def test_a_worker_tells_its_rates_windows_positions_and_what_is_held(config: Config) -> None:
    """Per minute over the last looks; ages from its own clock; null for what it does not know."""
    moments = iter((0.0, 10.0, 40.0))
    async with Shared(config) as shared:
        told = StatusPage(shared, clock=lambda: next(moments), now=lambda: NOW)
        metrics = shared.metrics
        for changes in (5, 0, 20):
            metrics.change_events.labels("/data/CaseChangeEvent").inc(changes)
            told.look(("capture", "send"))
        metrics.position_at.labels("/data/CaseChangeEvent").set((NOW - timedelta(hours=3)).timestamp())
        metrics.lag.labels("send").set(math.nan)
        limiter = StackedLimiter([Window(20, 5.0)], clock=lambda: 100.0)
        metrics.watch_windows("main", limiter.used)
        await limiter.acquire()
        for account, survey, count in (("main", "one", 3), ("main", "two", 4), ("other", "one", 9)):
            metrics.waiting.labels(account, survey).set(count)
        limiter.close_for(5.0)
        shared.cells.at("send/main").hold(Fatal("no right for jane@example.com"), "configuration")
        found = told.page({"capture": True, "send": False})
        assert found["stages"]["capture"]["per_minute"] == 30
        assert found["stages"]["send"] == {
            "ready": False,
            "lag": None,
            "lag_seconds": None,
            "hanging_transactions": None,
            "in_flight": None,
            "parked": None,
            "per_minute": None,
        }
        windows = [{"seconds": 5.0, "limit": 20, "used": 1}]
        assert found["accounts"] == {"main": {"windows": windows, "closed_for": 5.0, "waiting": 7}}
        assert found["channels"] == {"/data/CaseChangeEvent": {"position_age": 3 * 3600}}
        assert found["salesforce"] == {"token_age": None, "api": None}
        (cell,) = found["held"]
        assert (cell["cell"], cell["reason"]) == ("send/main", "no right for j***@example.com")
        assert "hunter2" not in json.dumps(found)
