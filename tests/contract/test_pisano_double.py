"""The Pisano double against what contracts/pisano.md states, with plain HTTP: no client of ours is involved."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from connector.doubles.pisano import Campaign, Fault, PisanoDouble, Question

JANE = "jane@example.com"
SENT = {
    "emails": [JANE],
    "custom_attributes": {JANE: {"name": "Jane Doe"}},
    "built_in_responses": {JANE: {"sf_ref_id": "5"}},
}
SHARE = "/v1/email_campaigns/4711/email_sharings"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000_000.0  # a multiple of all four periods: fixed windows begin here

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def pisano(clock: Clock) -> AsyncIterator[PisanoDouble]:
    async def no_sleep(_: float) -> None:
        await asyncio.sleep(0)

    async with PisanoDouble(clock=clock, sleep=no_sleep) as double:
        double.add_campaign("4711", ["sf_ref_id", "branch_id", Question(key="visit", type="date")])
        yield double


@pytest.fixture
async def http(pisano: PisanoDouble) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {pisano.static_token}"}
    async with httpx.AsyncClient(base_url=pisano.base_url, headers=headers, timeout=5) as client:
        yield client


def having(**changes: object) -> dict[str, object]:
    return {**SENT, **changes}


@pytest.mark.parametrize("path", [SHARE, SHARE + "/"])
async def test_a_right_call_e_mails_at_once_with_and_without_trailing_slash(
    pisano: PisanoDouble, http: httpx.AsyncClient, path: str
) -> None:
    """pisano §3: the two sources differ by a slash; the send happens when the call is made."""
    assert (await http.post(path, json=SENT)).status_code == 201
    (email,) = pisano.emails(JANE)
    assert (email.campaign, email.built_in_responses) == ("4711", {"sf_ref_id": "5"})
    assert not pisano.second_emails()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param([], id="not an object"),
        pytest.param(having(emails=[]), id="no address"),
        pytest.param(having(emails=JANE), id="emails is no array"),
        pytest.param({"emails": ["no-address"]}, id="invalid address"),
        pytest.param({"emails": [JANE, JANE]}, id="duplicate address"),
        pytest.param(having(custom_attributes={"name": "Jane"}), id="map not keyed by address (S1)"),
        pytest.param(having(built_in_responses={JANE: {}, "joe@example.com": {}}), id="map with a foreign address"),
        pytest.param(having(built_in_responses={}), id="map without an address"),
        pytest.param(having(built_in_responses={JANE: {"unknown": "5"}}), id="no question of the flow (S1)"),
        pytest.param(having(built_in_responses={JANE: {"branch_id": 5}}), id="wrong type (S4)"),
        pytest.param(having(built_in_responses={JANE: {"visit": "17.09.2024"}}), id="wrong date format (S8)"),
        pytest.param(having(built_in_responses={JANE: {"branch_id": None}}), id="null is to be left out (§10)"),
        pytest.param(having(custom_attributes={JANE: {"name": ""}}), id="empty is to be left out (§10)"),
        pytest.param(having(reminder=True), id="parameter that is not listed (S2)"),
    ],
)
async def test_a_wrong_body_is_refused_as_a_whole_and_e_mails_nobody(
    pisano: PisanoDouble, http: httpx.AsyncClient, body: object
) -> None:
    """pisano §3, read strictly. The answer names no culprit unless it is set to."""
    answer = await http.post(SHARE, json=body)
    assert (answer.status_code, answer.json()) == (422, {"errors": ["unprocessable entity"]})
    assert not pisano.emails()


async def test_one_bad_address_sinks_the_call_and_is_named_if_so_set(
    pisano: PisanoDouble, http: httpx.AsyncClient
) -> None:
    """pisano §3 [U]: whole-call reject is the worst case for a batch."""
    pisano.configure(names_culprit=True)
    answer = await http.post(SHARE, json={"emails": [JANE, "bad@"]})
    assert "bad@" in answer.text
    assert not pisano.emails()


async def test_campaign_must_exist_with_provider_and_active_channel(
    pisano: PisanoDouble, http: httpx.AsyncClient
) -> None:
    """pisano §3: preconditions of S1."""
    assert (await http.post(SHARE.replace("4711", "1"), json=SENT)).status_code == 404
    for campaign in (Campaign(flow="4711", provider=False), Campaign(flow="4711", channel_active=False)):
        pisano.campaigns["4711"] = campaign
        assert (await http.post(SHARE, json=SENT)).status_code == 422
    assert not pisano.emails()


async def test_suppressed_customers_are_accepted_and_not_e_mailed(
    pisano: PisanoDouble, http: httpx.AsyncClient
) -> None:
    """pisano §7.1: contact policy likely answers success without an e-mail."""
    pisano.configure(suppressed=[JANE])
    assert (await http.post(SHARE, json=SENT)).status_code == 201
    assert not pisano.emails()


@pytest.mark.parametrize("form", ["Bearer {}", 'Token token="{}"', "Token token={}"])
async def test_both_authorization_schemes_and_expiry(pisano: PisanoDouble, clock: Clock, form: str) -> None:
    """pisano §2: dynamic tokens expire; Rails takes both schemes."""
    secret = {"client_id": pisano.app_id, "client_secret": pisano.app_secret}
    async with httpx.AsyncClient(base_url=pisano.base_url) as http:
        token = (await http.post("/v1/authorized_apps/token", json=secret)).json()["token"]
        headers = {"Authorization": form.format(token)}
        assert (await http.post(SHARE, json=SENT, headers=headers)).status_code == 201
        clock.now += 3600
        assert (await http.post(SHARE, json=SENT, headers=headers)).status_code == 401
        wrong = {**secret, "client_secret": "wrong"}
        assert (await http.post("/v1/authorized_apps/token", json=wrong)).status_code == 401


async def test_flow_lists_questions_with_keys_and_options(pisano: PisanoDouble, http: httpx.AsyncClient) -> None:
    """pisano §5: what a mapping is validated against."""
    pisano.add_campaign("nps", [Question(key="score", type="list", options=("0", "10"))])
    flow = (await http.get("/external/v1/flows/nps")).json()
    assert flow["questions"] == [{"key": "score", "type": "list", "options": [{"key": "0"}, {"key": "10"}]}]


@pytest.mark.parametrize(("calls", "seconds"), [(20, 5), (40, 25), (80, 125), (160, 625)])
async def test_each_limit_stops_the_call_after_it(
    pisano: PisanoDouble, http: httpx.AsyncClient, clock: Clock, calls: int, seconds: int
) -> None:
    """pisano §6: evenly spent, each of the four limits breaks at one call more; the 429 looks as Rack::Attack's."""
    for _ in range(calls):
        assert (await http.get("/external/v1/flows/4711")).status_code == 200
        clock.now += (seconds - 1) / calls
    refused = await http.get("/external/v1/flows/4711")
    assert (refused.status_code, refused.text) == (429, "Retry later\n")
    assert refused.headers["Content-Type"].startswith("text/plain")
    assert "Retry-After" not in refused.headers
    (violation,) = pisano.violations()
    assert f"{calls}/{seconds}s sliding" in violation.exceeded


async def test_a_burst_over_the_edge_of_a_fixed_window_breaks_the_sliding_one(
    pisano: PisanoDouble, http: httpx.AsyncClient, clock: Clock
) -> None:
    """pisano §6: a client with fixed windows can burst 2x at an edge; exactly a window later a call is fine."""
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
    """pisano §2.1 and §10: token calls count, and so do calls that were refused."""
    pisano.configure(retry_after=True)
    for _ in range(21):
        answer = await http.post("/v1/authorized_apps/token", json={})
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "6"  # the fixed window's end, rounded as Rack::Attack does
    clock.now += 4.9
    assert (await http.get("/external/v1/flows/4711")).status_code == 429
    clock.now += 0.2  # the first 21 have slid out; in a new fixed window only the refused one is left
    assert (await http.get("/external/v1/flows/4711")).status_code == 200


async def test_faults_before_and_after_the_e_mail(pisano: PisanoDouble, http: httpx.AsyncClient) -> None:
    """pisano §3: after a time-out or a dropped connection the outcome is unknown; it may be either."""
    pisano.fail(Fault(kind="drop"))
    with pytest.raises(httpx.TransportError):
        await http.post(SHARE, json=SENT)
    assert not pisano.emails()
    pisano.fail(Fault(kind="drop", sent=True))
    with pytest.raises(httpx.TransportError):
        await http.post(SHARE, json=SENT)
    pisano.fail(Fault(status=503, body="busy", calls="token"))  # not for this kind of call
    pisano.fail(Fault(status=500, sent=True, calls="email_sharings", times=2))
    assert [(await http.post(SHARE, json=SENT)).status_code for _ in range(3)] == [500, 500, 201]
    assert len(pisano.emails()) == 4
    assert len(pisano.second_emails()) == 3
    assert [call.status for call in pisano.calls] == [None, None, 500, 500, 201]


async def test_hanging_calls_do_not_outlive_the_double(clock: Clock) -> None:
    """A hung call ends with its client or with the double, whichever is first."""
    async with PisanoDouble(clock=clock) as double:
        double.fail(Fault(kind="hang"))
        async with httpx.AsyncClient() as http:
            with pytest.raises(httpx.ReadTimeout):
                await http.get(f"{double.base_url}/external/v1/flows/1", timeout=0.1)
