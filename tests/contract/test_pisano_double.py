"""Checks the Pisano double against contracts/pisano.md, with plain HTTP and without our own client."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from helpers.clock import Clock
from helpers.plain_http import plain_http
from helpers.waiting import PATIENCE

from connector.sandbox.doubles.pisano import Campaign, Fault, PisanoDouble, Question

JANE = "jane@example.com"
SENT = {
    "emails": [JANE],
    "custom_attributes": {JANE: {"name": "Jane Doe"}},
    "built_in_responses": {JANE: {"sf_ref_id": "5"}},
}
SHARE = "/v1/email_campaigns/4711/email_sharings"


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000_000.0)  # a multiple of all four periods: fixed windows begin here


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
    async with plain_http(base_url=pisano.base_url, headers=headers) as client:
        yield client


def having(**changes: object) -> dict[str, object]:
    return {**SENT, **changes}


@pytest.mark.parametrize("path", [SHARE, SHARE + "/"])
async def test_a_right_call_e_mails_at_once_with_and_without_trailing_slash(
    pisano: PisanoDouble, http: httpx.AsyncClient, path: str
) -> None:
    """pisano §3: the two sources differ by a slash; Pisano sends the e-mail when the call is made."""
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
        pytest.param({"emails": [f"{number}@example.com" for number in range(1001)]}, id="more than may be in a call"),
        pytest.param(having(custom_attributes={"name": "Jane"}), id="map not keyed by address (S1)"),
        pytest.param(having(built_in_responses={JANE: {}, "joe@example.com": {}}), id="map with a foreign address"),
        pytest.param(having(built_in_responses={}), id="map without an address"),
        pytest.param(having(built_in_responses={JANE: {"unknown": "5"}}), id="no question of the flow (S1)"),
        pytest.param(having(built_in_responses={JANE: {"branch_id": 5}}), id="wrong type (S4)"),
        pytest.param(having(built_in_responses={JANE: {"visit": "17.09.2024"}}), id="wrong date format (S8)"),
        pytest.param(having(built_in_responses={JANE: {"visit": "2024-9-17"}}), id="date without its zeros (S8)"),
        pytest.param(having(built_in_responses={JANE: {"branch_id": ["5"]}}), id="a list for one value"),
        pytest.param(having(custom_attributes={JANE: {"name": {"first": "Jane"}}}), id="a mapping for one value"),
        pytest.param(having(built_in_responses={JANE: {"branch_id": None}}), id="null is to be left out (§10)"),
        pytest.param(having(custom_attributes={JANE: {"name": ""}}), id="empty is to be left out (§10)"),
        pytest.param(having(reminder=True), id="parameter that is not listed (S2)"),
    ],
)
async def test_a_wrong_body_is_refused_as_a_whole_and_e_mails_nobody(
    pisano: PisanoDouble, http: httpx.AsyncClient, body: object
) -> None:
    """pisano §3, read strictly. The answer names the culprit only if the double is set to do so."""
    answer = await http.post(SHARE, json=body)
    assert (answer.status_code, answer.json()) == (422, {"errors": ["unprocessable entity"]})
    assert not pisano.emails()


@pytest.mark.parametrize(
    ("attributes", "status"),
    [
        ({"name": "Jane", "external_id": "003", "tier": "Gold", "born": "1990-01-31", "visits": 3, "vip": True}, 201),
        ({"Tier": "Gold"}, 422),
        ({"tier": "Lead"}, 422),
        ({"born": "31.01.1990"}, 422),
        ({"visits": 3.5}, 422),
        ({"visits": "3"}, 422),
        ({"vip": "true"}, 422),
        ({"external_id": 3}, 422),
    ],
)
async def test_with_a_customer_schema_attributes_are_checked_as_questions_are(
    pisano: PisanoDouble, http: httpx.AsyncClient, attributes: dict[str, object], status: int
) -> None:
    """pisano §3 (S8): a wrong type or date format breaks the integration. Without a schema any attribute is taken."""
    assert (await http.post(SHARE, json=having(custom_attributes={JANE: attributes}))).status_code == 201
    schema = [
        {"key": "tier", "type": "list", "options": ["Gold", "Silver"]},
        {"key": "born", "type": "date"},
        {"key": "visits", "type": "integer"},
        {"key": "vip", "type": "boolean"},
    ]
    pisano.configure(attributes=schema)
    assert (await http.post(SHARE, json=having(custom_attributes={JANE: attributes}))).status_code == status


async def test_two_questions_with_one_key_are_refused(pisano: PisanoDouble) -> None:
    with pytest.raises(ValueError, match="two questions have the key sf_ref_id"):
        pisano.add_campaign("4712", ["sf_ref_id", "sf_ref_id"])


async def test_one_bad_address_sinks_the_call_and_is_named_if_so_set(
    pisano: PisanoDouble, http: httpx.AsyncClient
) -> None:
    """pisano §3 [U]: rejecting the whole call is the worst case for a batch."""
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
    """pisano §2: dynamic tokens expire; Rails accepts both schemes."""
    secret = {"client_id": pisano.app_id, "client_secret": pisano.app_secret}
    async with plain_http(base_url=pisano.base_url) as http:
        token = (await http.post("/v1/authorized_apps/token", json=secret)).json()["token"]
        headers = {"Authorization": form.format(token)}
        assert (await http.post(SHARE, json=SENT, headers=headers)).status_code == 201
        clock.now += 3600
        assert (await http.post(SHARE, json=SENT, headers=headers)).status_code == 401
        wrong = {**secret, "client_secret": "wrong"}
        assert (await http.post("/v1/authorized_apps/token", json=wrong)).status_code == 401


@pytest.mark.parametrize("expiry_key", ["expires_in", "expires_at", "expire_at", "expired_at", None])
@pytest.mark.parametrize("epoch", [True, False])
async def test_a_token_says_when_it_ends_under_the_name_that_is_set(
    pisano: PisanoDouble, http: httpx.AsyncClient, clock: Clock, expiry_key: str | None, epoch: bool
) -> None:
    """pisano §2.1: seconds, a time as ISO 8601 or since the epoch, or nothing; all names are unknown."""
    pisano.configure(expiry_key=expiry_key, expiry_epoch=epoch, token_key="data.token", id_key="id", secret_key="key")
    credentials = {"id": pisano.app_id, "key": pisano.app_secret}
    answer = (await http.post("/v1/authorized_apps/token", json=credentials)).json()["data"]
    assert answer.pop("token") in pisano.tokens
    end = clock.now + 3600 if epoch else datetime.fromtimestamp(clock.now + 3600, UTC).isoformat()
    wanted = {"expires_in": 3600} if expiry_key == "expires_in" else {expiry_key: end}
    assert answer == (wanted if expiry_key else {})


async def test_only_json_with_a_known_token_is_taken(pisano: PisanoDouble, http: httpx.AsyncClient) -> None:
    """pisano §2, §3."""
    assert (await http.post(SHARE, data={"emails": JANE})).status_code == 415
    assert (await http.post(SHARE, content=b"{", headers={"Content-Type": "application/json"})).status_code == 400
    for header in ("", "Bearer", "Bearer nobody", "Basic " + pisano.static_token):
        assert (await http.post(SHARE, json=SENT, headers={"Authorization": header})).status_code == 401
    assert not pisano.emails()


async def test_a_second_e_mail_is_found_by_what_names_the_invitation(
    pisano: PisanoDouble, http: httpx.AsyncClient
) -> None:
    """An invitation is identified by all responses together, or by the response that is set."""
    for branch, case in (("1", "5"), ("1", "6"), ("2", "5")):
        await http.post(SHARE, json=having(built_in_responses={JANE: {"branch_id": branch, "sf_ref_id": case}}))
    assert pisano.second_emails() == []
    pisano.configure(invitation_key="sf_ref_id")
    assert pisano.second_emails() == [pisano.emails()[2]]


async def test_flow_lists_questions_with_keys_and_options(pisano: PisanoDouble, http: httpx.AsyncClient) -> None:
    """pisano §5: mappings are validated against these questions."""
    pisano.add_campaign("nps", [Question(key="score", type="list", options=("0", "10"))])
    flow = (await http.get("/external/v1/flows/nps")).json()
    assert flow["questions"] == [{"key": "score", "type": "list", "options": [{"key": "0"}, {"key": "10"}]}]


async def test_faults_before_and_after_the_e_mail(pisano: PisanoDouble, http: httpx.AsyncClient) -> None:
    """pisano §3: after a time-out or a dropped connection the outcome is unknown: sent or not sent."""
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


async def test_a_call_can_be_late(clock: Clock) -> None:
    """The double delays the call with its own sleep, then carries it out normally."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with PisanoDouble(clock=clock, sleep=sleep) as double, plain_http() as http:
        double.fail(Fault(delay=7.0))
        assert (await http.get(f"{double.base_url}/external/v1/flows/1")).status_code == 401
    assert waits == [7.0]


async def test_after_an_outage_it_is_back_on_the_same_port_with_all_that_it_knew(
    pisano: PisanoDouble, http: httpx.AsyncClient
) -> None:
    assert (await http.post(SHARE, json=SENT)).status_code == 201
    await pisano.__aexit__()
    with pytest.raises(httpx.TransportError):
        await http.post(SHARE, json=SENT)
    await pisano.__aenter__()
    assert (await http.post(SHARE, json=SENT)).status_code == 201
    assert len(pisano.second_emails()) == 1


async def test_hanging_calls_do_not_outlive_the_double(clock: Clock) -> None:
    """A hung call ends when its client or the double ends, whichever is first."""
    async with PisanoDouble(clock=clock) as double:
        double.fail(Fault(kind="hang"))
        async with plain_http() as http:
            with pytest.raises(httpx.ReadTimeout):
                await http.get(f"{double.base_url}/external/v1/flows/1", timeout=httpx.Timeout(PATIENCE, read=0.1))
