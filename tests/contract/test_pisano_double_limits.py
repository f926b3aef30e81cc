"""The Pisano double's four limits (pisano §6), with plain HTTP, compared with a simple count."""

from collections.abc import AsyncIterator

import httpx
import pytest
from helpers.clock import Clock
from helpers.plain_http import plain_http
from hypothesis import given
from hypothesis import strategies as st

from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.pisano.windows import Windows

LIMITS = [(20, 5.0), (40, 25.0), (80, 125.0), (160, 625.0)]


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000_000.0)  # a multiple of all four periods: fixed windows begin here


@pytest.fixture
async def pisano(clock: Clock) -> AsyncIterator[PisanoDouble]:
    async with PisanoDouble(clock=clock) as double:
        double.add_campaign("4711", ["sf_ref_id"])
        yield double


@pytest.fixture
async def http(pisano: PisanoDouble) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {pisano.static_token}"}
    async with plain_http(base_url=pisano.base_url, headers=headers) as client:
        yield client


@pytest.mark.parametrize(("calls", "seconds"), [(20, 5), (40, 25), (80, 125), (160, 625)])
async def test_each_limit_stops_the_call_after_it(
    pisano: PisanoDouble, http: httpx.AsyncClient, clock: Clock, calls: int, seconds: int
) -> None:
    """pisano §6: with evenly spread calls, one call more breaks each of the four limits; the 429 looks like
    Rack::Attack's.
    """
    for _ in range(calls):
        assert (await http.get("/external/v1/flows/4711")).status_code == 200
        clock.now += (seconds - 1) / calls
    refused = await http.get("/external/v1/flows/4711")
    assert (refused.status_code, refused.text) == (429, "Retry later\n")
    assert refused.headers["Content-Type"].startswith("text/plain")
    assert "Retry-After" not in refused.headers
    (violation,) = pisano.violations()
    assert {f"{calls}/{seconds}s {kind}" for kind in ("fixed", "sliding")} <= set(violation.exceeded)


async def test_a_burst_over_the_edge_of_a_fixed_window_breaks_the_sliding_one(
    pisano: PisanoDouble, http: httpx.AsyncClient, clock: Clock
) -> None:
    """pisano §6: a client with fixed windows can burst 2x at an edge; exactly one window later a call is accepted."""
    clock.now += 4
    for _ in range(20):
        await http.get("/external/v1/flows/4711")
    clock.now += 4.999
    assert (await http.get("/external/v1/flows/4711")).status_code == 429
    assert pisano.violations()[0].exceeded == ("20/5s sliding",)
    clock.now += 0.001
    assert (await http.get("/external/v1/flows/4711")).status_code == 200


async def test_token_calls_and_refused_calls_spend_the_budget(
    pisano: PisanoDouble, http: httpx.AsyncClient, clock: Clock
) -> None:
    """pisano §2.1 and §10: token calls and refused calls count."""
    pisano.configure(retry_after=True)
    for _ in range(21):
        answer = await http.post("/v1/authorized_apps/token", json={})
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "6"  # the end of the fixed window, rounded like Rack::Attack
    clock.now += 4.9
    assert (await http.get("/external/v1/flows/4711")).status_code == 429
    clock.now += 0.2  # the first 21 are outside; the new fixed window holds only the refused call
    assert (await http.get("/external/v1/flows/4711")).status_code == 200


async def test_every_call_counts_whatever_it_asks_for(pisano: PisanoDouble, http: httpx.AsyncClient) -> None:
    """pisano §6: we do not know whether all endpoints share the limits, so here they do, except the control API."""
    for path in ("/external/v1/flows/4711", "/external/v1/flows/none", "/nothing", "/v1/authorized_apps/token") * 5:
        await http.get(path)
    for _ in range(30):
        assert (await http.get("/_control/violations")).json() == []
    assert (await http.get("/external/v1/flows/4711")).status_code == 429
    assert [call.status for call in pisano.calls] == [200, 404, 404, 405] * 5 + [429]


@given(
    st.floats(min_value=0, max_value=700),
    st.lists(st.integers(min_value=0, max_value=16_000), min_size=1, max_size=400),
)
def test_windows_count_as_one_would_by_hand(start: float, gaps: list[int]) -> None:
    """pisano §6: each call counts in the last N seconds, half open, and in its aligned window of N seconds."""
    windows, times = Windows(LIMITS), [1_000_000_000.0 + start]
    for gap in gaps:
        now = times[-1]
        wanted = []
        for calls, seconds in LIMITS:
            fixed = sum(at // seconds == now // seconds for at in times)
            sliding = sum(now - seconds < at <= now for at in times)
            counts = {"fixed": fixed, "sliding": sliding}
            wanted += [f"{calls}/{seconds:g}s {kind}" for kind, count in counts.items() if count > calls]
        assert list(windows.count(now)) == wanted
        times.append(now + gap / 1000)
