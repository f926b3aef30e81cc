"""Access tokens: one call for many callers, one renewal per refusal, and no rapid repeats."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from helpers.clock import Clock

from connector.errors import Fatal, Retryable
from connector.salesforce import ClientCredentials, JwtBearer, Token

SECRET = "not-to-be-seen"


class Endpoint:
    """A token endpoint that numbers its tokens; `answer` replaces the next answers."""

    def __init__(self) -> None:
        self.calls: list[dict[str, str]] = []
        self.answer: Callable[[], httpx.Response] | None = None
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self._handle))

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/services/oauth2/token"
        self.calls.append({key: values[0] for key, values in parse_qs(request.content.decode()).items()})
        await asyncio.sleep(0)
        return self.answer() if self.answer else self.token()

    def token(self) -> httpx.Response:
        body = {
            "access_token": f"token-{len(self.calls)}",
            "instance_url": "https://acme.my.salesforce.com",
            "id": "https://login.salesforce.com/id/00D000000000001EAA/005000000000001AAA",
        }
        return httpx.Response(200, json=body)


def source(endpoint: Endpoint, **options: Any) -> ClientCredentials:
    return ClientCredentials(
        endpoint.http, "https://acme.my.salesforce.com/", client_id="app", client_secret=SECRET, **options
    )


async def test_token_comes_with_instance_and_org() -> None:
    """salesforce §A, §D1: the org id is the second-last segment of the `id` address."""
    endpoint = Endpoint()
    token = await source(endpoint).token()
    assert token == Token("token-1", "https://acme.my.salesforce.com", "00D000000000001EAA")
    assert endpoint.calls == [{"grant_type": "client_credentials", "client_id": "app", "client_secret": SECRET}]
    assert "token-1" not in repr(token)


async def test_many_callers_share_one_call() -> None:
    endpoint = Endpoint()
    tokens = source(endpoint)
    assert len({(await task).access_token for task in [asyncio.create_task(tokens.token()) for _ in range(20)]}) == 1
    assert len(endpoint.calls) == 1


async def test_refused_token_is_renewed_once_however_many_saw_the_refusal() -> None:
    endpoint = Endpoint()
    tokens = source(endpoint)
    old = await tokens.token()
    tokens.invalidate(old)
    new = await tokens.token()
    tokens.invalidate(old)
    assert await tokens.token() is new
    assert len(endpoint.calls) == 2


async def test_token_is_renewed_at_its_greatest_age() -> None:
    endpoint, clock = Endpoint(), Clock(1000.0)
    tokens = source(endpoint, max_age=600.0, clock=clock)
    await tokens.token()
    clock.now += 599
    assert (await tokens.token()).access_token == "token-1"
    clock.now += 1
    assert (await tokens.token()).access_token == "token-2"


async def test_refusal_is_fatal_names_the_reason_and_is_not_repeated_for_a_minute() -> None:
    """salesforce §D1: a 400 means a wrong configuration; repeated failures lock the login."""
    endpoint, clock = Endpoint(), Clock(1000.0)
    tokens = source(endpoint, clock=clock)
    endpoint.answer = lambda: httpx.Response(
        400, json={"error": "invalid_client", "error_description": "invalid client credentials"}
    )
    for _ in range(3):
        with pytest.raises(Fatal, match="invalid_client: invalid client credentials") as caught:
            await tokens.token()
        assert SECRET not in str(caught.value)
    assert len(endpoint.calls) == 1
    endpoint.answer = None
    clock.now += 61
    assert (await tokens.token()).access_token == "token-2"


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_busy_endpoint_is_retryable_and_not_asked_again_before_its_time(status: int) -> None:
    endpoint, clock = Endpoint(), Clock(1000.0)
    tokens = source(endpoint, clock=clock)
    endpoint.answer = lambda: httpx.Response(status, headers={"Retry-After": "7"})
    with pytest.raises(Retryable) as caught:
        await tokens.token()
    assert caught.value.retry_after == 7
    endpoint.answer = None
    clock.now += 6
    with pytest.raises(Retryable):
        await tokens.token()
    assert len(endpoint.calls) == 1
    clock.now += 2
    assert (await tokens.token()).access_token == "token-2"


async def test_unreachable_endpoint_is_retryable() -> None:
    endpoint = Endpoint()

    def refuse() -> httpx.Response:
        raise httpx.ConnectError("refused")

    endpoint.answer = refuse
    with pytest.raises(Retryable, match="ConnectError"):
        await source(endpoint).token()


async def test_login_page_instead_of_a_token_is_fatal() -> None:
    endpoint = Endpoint()
    endpoint.answer = lambda: httpx.Response(200, text="<html>")
    with pytest.raises(Fatal, match="My Domain"):
        await source(endpoint).token()


async def test_jwt_bearer_signs_what_salesforce_expects() -> None:
    """salesforce §D1: RS256 with iss, sub, aud and an exp 180 to 300 s ahead."""
    endpoint = Endpoint()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    tokens = JwtBearer(
        endpoint.http,
        "https://acme.my.salesforce.com",
        client_id="app",
        username="ada@example.com",
        private_key=pem,
        audience="https://test.salesforce.com",
        wall_clock=lambda: 4_000_000_000.0,
    )
    await tokens.token()
    [form] = endpoint.calls
    claims = jwt.decode(
        form["assertion"], key.public_key(), algorithms=["RS256"], audience="https://test.salesforce.com"
    )
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert (claims["iss"], claims["sub"]) == ("app", "ada@example.com")
    assert 180 <= claims["exp"] - 4_000_000_000 <= 300


def test_unreadable_private_key_is_fatal_and_not_shown() -> None:
    with pytest.raises(Fatal) as caught:
        JwtBearer(Endpoint().http, "https://x", client_id="app", username="u", private_key=SECRET)
    assert SECRET not in str(caught.value)
