"""Checks the double's other log-ins, and what it says about a token, with only httpx (salesforce §D1)."""

import base64
import hashlib
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from helpers.clock import Clock
from helpers.plain_http import plain_http
from salesforce_wire import API, error, log_in, pubsub

from connector.salesforce.proto import pubsub_api_pb2 as pb
from connector.sandbox.doubles.salesforce import SalesforceDouble

CALLBACK = "http://localhost:1717/OauthRedirect"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")


@pytest.fixture
async def http(sf: SalesforceDouble) -> AsyncIterator[httpx.AsyncClient]:
    async with plain_http(base_url=sf.login_url) as http:
        yield http


async def token(http: httpx.AsyncClient, **form: str) -> httpx.Response:
    return await http.post("/services/oauth2/token", data=form)


async def code(http: httpx.AsyncClient, client_id: str, **more: str) -> str:
    asked = {"response_type": "code", "client_id": client_id, "redirect_uri": CALLBACK, "state": "s"}
    answer = await http.get("/services/oauth2/authorize", params=asked | more)
    back = urlsplit(answer.headers["Location"])
    assert (f"{back.scheme}://{back.netloc}{back.path}", parse_qs(back.query)["state"]) == (CALLBACK, ["s"])
    return parse_qs(back.query)["code"][0]


async def test_client_credentials_in_the_header(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """RFC 6749 §2.3.1."""
    form = {"grant_type": "client_credentials"}
    for secret, status in ((sf.client_secret, 200), ("wrong", 400)):
        answer = await http.post("/services/oauth2/token", data=form, auth=(sf.client_id, secret))
        assert answer.status_code == status


async def test_the_web_server_flow_and_its_refresh_token(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """A code holds once. PKCE stands for the secret. A revoked refresh token gives nothing more."""
    app = {"grant_type": "authorization_code", "client_id": sf.client_id, "redirect_uri": CALLBACK}
    found = await code(http, sf.client_id, code_challenge=CHALLENGE)
    given = (await token(http, **app, code=found, code_verifier=VERIFIER)).json()
    assert (await token(http, **app, code=found, code_verifier=VERIFIER)).json()["error"] == "invalid_grant"
    refresh = {"grant_type": "refresh_token", "client_id": sf.client_id, "refresh_token": given["refresh_token"]}
    assert "refresh_token" not in (again := (await token(http, **refresh)).json())
    assert again["access_token"] != given["access_token"]
    assert (await http.post("/services/oauth2/revoke", data={"token": given["refresh_token"]})).status_code == 200
    refused = (await token(http, **refresh)).json()
    assert refused == {"error": "invalid_grant", "error_description": "expired access/refresh token"}


@pytest.mark.parametrize("wrong", ["verifier", "secret", "callback", "late"])
async def test_a_code_that_gives_no_token(
    sf: SalesforceDouble, http: httpx.AsyncClient, clock: Clock, wrong: str
) -> None:
    app = {"grant_type": "authorization_code", "client_id": sf.client_id, "redirect_uri": CALLBACK}
    found = await code(http, sf.client_id, **({"code_challenge": CHALLENGE} if wrong == "verifier" else {}))
    app |= {"code_verifier": "other"} if wrong == "verifier" else {"client_secret": sf.client_secret}
    app |= {"secret": {"client_secret": "x"}, "callback": {"redirect_uri": "http://localhost/"}}.get(wrong, {})
    clock.now += 901 if wrong == "late" else 0
    answer = await token(http, **app, code=found)
    expected = {"secret": "invalid_client", "callback": "redirect_uri_mismatch"}.get(wrong, "invalid_grant")
    assert (answer.status_code, answer.json()["error"]) == (400, expected)


async def test_an_unknown_app_or_address_is_never_sent_a_code(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    for change in ({"client_id": "x"}, {"redirect_uri": "https://example.com/"}):
        asked = {"response_type": "code", "client_id": sf.client_id, "redirect_uri": CALLBACK, **change}
        assert (await http.get("/services/oauth2/authorize", params=asked)).status_code == 400


async def test_what_the_org_says_about_a_token(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """`userinfo` and the address in the token's `id` name org and user; a revoked token is worth nothing."""
    given = await log_in(sf)
    bearer = {"Authorization": f"Bearer {given['access_token']}"}
    info = (await http.get("/services/oauth2/userinfo", headers=bearer)).json()
    assert (info["organization_id"], info["preferred_username"]) == (sf.org_id, sf.username)
    assert (await http.get(urlsplit(given["id"]).path, headers=bearer)).json()["user_id"] == info["user_id"]
    app = {"client_id": sf.client_id, "client_secret": sf.client_secret, "token": given["access_token"]}
    assert (await http.post("/services/oauth2/introspect", data=app)).json()["username"] == sf.username
    found = (await http.get("/.well-known/openid-configuration")).json()
    assert found["token_endpoint"] == f"{sf.login_url}/services/oauth2/token"
    await http.post("/services/oauth2/revoke", data={"token": given["access_token"]})
    assert (await http.post("/services/oauth2/introspect", data=app)).json() == {"active": False}
    assert (await http.get("/services/oauth2/userinfo", headers=bearer)).status_code == 403
    assert error(await http.get(f"{API}/limits", headers=bearer)) == (401, "INVALID_SESSION_ID")


async def test_behind_a_proxy_that_speaks_tls(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """The org gives out the address under which it was reached; the Pub/Sub API takes it, and a short org id."""
    app = {"grant_type": "client_credentials", "client_id": sf.client_id, "client_secret": sf.client_secret}
    through = {"X-Forwarded-Proto": "https", "Host": "acme.example.com"}
    given = (await http.post("/services/oauth2/token", data=app, headers=through)).json()
    assert given["instance_url"] == "https://acme.example.com"
    async with pubsub(sf) as api:
        names = {"accesstoken": given["access_token"], "instanceurl": f"{given['instance_url']}/"}
        metadata = tuple({**names, "tenantid": given["access_token"].split("!")[0]}.items())
        await api.stub.GetTopic(pb.TopicRequest(topic_name="/data/ChangeEvents"), metadata=metadata)
