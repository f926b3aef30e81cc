"""The page /metrics is valid in both formats, and says what happened."""

import math

import httpx
import pytest
from helpers.plain_http import plain_http
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from connector.config import Service
from connector.limits import StackedLimiter, Window
from connector.observe.health import Server
from connector.observe.metrics import Metrics
from connector.salesforce.api_usage import ApiUsage

ASKS_FOR_OPEN_METRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"


async def page(metrics: Metrics, **headers: str) -> httpx.Response:
    """The page as a worker with one ready stage serves it."""

    async def ready() -> dict[str, bool]:
        return {"send": True}

    server = Server(Service(port=0), [], ready=ready, metrics=metrics)
    await server.start()
    try:
        async with plain_http() as http:
            return (await http.get(f"{server.address}/metrics", headers=headers)).raise_for_status()
    finally:
        await server.stop()


async def test_the_page_is_valid_in_the_format_that_the_client_asks_for() -> None:
    metrics = Metrics()
    labels = {one.name.removesuffix("_total"): one.labels for one in metrics.registry.described}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase) and (names := labels[metric.describe()[0].name]):
            metric.labels(*(f'a \\ "{name}"\n' for name in names))  # so that it has a series
    metrics.finished.of["send"] = lambda: 7
    asked = await page(metrics, Accept=ASKS_FOR_OPEN_METRICS)
    assert asked.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    found = {family.name: family for family in open_metrics(asked.text)}
    assert len(found) == len(metrics.registry.described) > 40
    assert found["connector_finished"].samples[0].value == 7
    assert all(family.documentation.endswith(".") for family in found.values())

    plain = await page(metrics)
    assert plain.headers["Content-Type"].startswith("text/plain; version=")
    names = {sample.name for family in prometheus(plain.text) for sample in family.samples}
    assert {one.name for one in metrics.registry.described if one.kind != "histogram"} <= names


def test_calls_are_counted_by_host_and_so_is_how_long_an_answer_asks_us_to_wait() -> None:
    metrics, request = Metrics(), httpx.Request("POST", "https://api.pisano.co/v1/email_sharings")
    never = {"Retry-After": "Mon, 01 Jan 99999999999999 00:00:00 GMT"}
    for status, headers in ((200, never), (429, {"Retry-After": "20"}), (503, {"Retry-After": "later"})):
        metrics.saw_answer(httpx.Response(status, headers=headers, request=request), 0.3)
    host = {"host": "api.pisano.co"}
    assert metrics.value("http_call_seconds_count", **host, status="429") == 1
    assert metrics.value("retry_after_seconds_sum", **host) == 20
    assert metrics.value("retry_after_seconds_count", **host) == 1  # the others name no time


async def test_an_account_shows_its_limits_from_its_first_moment_on() -> None:
    metrics, now = Metrics(), [100.0]
    limiter = StackedLimiter([Window(20, 5.0)], clock=lambda: now[0])
    metrics.watch_windows("main", limiter.used)
    await limiter.acquire()
    limiter.close_after_429(30.0)
    assert metrics.value("limiter_window_used", account="main", window="20/5s") == 1
    assert metrics.value("limiter_window_limit", account="main", window="20/5s") == 20
    assert metrics.value("limiter_closed_seconds", account="main") == 30
    assert metrics.value("pisano_throttled_total", account="main") == 0
    now[0] += 60
    assert metrics.value("limiter_closed_seconds", account="main") == 0


@pytest.mark.parametrize("known", [None, ApiUsage(used=10_018, limit=100_000)])
def test_the_budget_of_api_calls_is_not_a_number_until_salesforce_has_told_it(known: ApiUsage | None) -> None:
    metrics = Metrics()
    metrics.watch_api(lambda: known)
    told = [metrics.registry.get_sample_value(f"connector_salesforce_api_{name}") or 0.0 for name in ("used", "limit")]
    assert all(map(math.isnan, told)) if known is None else told == [10_018, 100_000]
