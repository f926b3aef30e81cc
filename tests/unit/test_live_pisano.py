"""`connector check --live`: a test webhook, and the forms of the login, against doubles that differ."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.config_files import MINIMAL, read

from connector.config import Config
from connector.errors import Fatal
from connector.sandbox.doubles.pisano import PisanoDouble
from connector.wiring import live_logins, live_webhooks
from connector.wiring.found import Found

SECRET = "hunter2hunter2hunter2"
APP = "{method: authorized_app, client_id: APP, client_secret: hunter2-app}"
Answer = Callable[[httpx.Request], httpx.Response]


def config(folder: Path, base_url: str = "https://api.pisano.co", auth: str = APP, more: str = "") -> Config:
    text = MINIMAL.replace("{method: static_token, token: hunter2}", auth)
    return read(folder, text.replace("https://api.pisano.co", base_url).replace(SECRET, SECRET + more))


async def lines(found: Any) -> list[str]:
    said: list[Found] = [one async for one in found]
    assert not any("hunter2" in one.what for one in said)
    return [str(one) for one in said]


async def webhook(folder: Path, answer: Answer, address: str = "https://acme.com", more: str = "") -> str:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        (line,) = await lines(live_webhooks.sent(config(folder, more=more), http, address))
    return line


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            httpx.Response(401),
            "answered 401. The secret did not arrive as the service has it: does a proxy drop the head",
        ),
        (httpx.Response(404), "answered 404. No webhook is there: does a proxy change the path"),
        (httpx.Response(502), "answered 502. A proxy answers, and not the service"),
        (httpx.Response(200, text="welcome"), "answered 200. Something else answers there"),
        (
            httpx.Response(308, headers={"Location": "https://x.acme.com/?hunter2"}),
            "It is a redirect to x.acme.com: gi",
        ),
        (httpx.Response(418), "answered 418. Look at the proxy's log."),
        (httpx.Response(200, content=b"x" * 100_000), "answered 200. Something else answers there"),
        (httpx.ConnectError(f"no {SECRET}"), "no answer (ConnectError no ***). Check the name, the certificate and"),
        (httpx.ReadTimeout(""), "no answer (ReadTimeout)"),
    ],
)
async def test_a_test_webhook_that_does_not_arrive_says_what_to_look_at(
    tmp_path: Path, answer: httpx.Response | Exception, said: str
) -> None:
    def answered(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    line = await webhook(tmp_path, answered)
    assert line.startswith("✗ webhook https://acme.com/pisano/main: ")
    assert said in line


@pytest.mark.parametrize("more", ["", ", secret_in: path"])
@pytest.mark.parametrize("address", ["https://acme.com/", "https://acme.com/pisano/main"])
async def test_a_test_webhook_is_sent_as_pisano_sends_one(tmp_path: Path, address: str, more: str) -> None:
    asked: list[httpx.Request] = []
    await webhook(tmp_path, lambda request: asked.append(request) or httpx.Response(200), address, more)
    (request,) = asked
    in_path, in_header = f"/pisano/main/{SECRET}", request.headers.get("X-Webhook-Secret")
    assert (request.url.path, in_header) == ((in_path, None) if more else ("/pisano/main", SECRET))
    assert isinstance(json.loads(request.content), str)  # no version takes a text for an answer


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("surveys.acme.com", "an address starts with https://"),
        ("http://surveys.acme.com", "http:// is allowed for loopback addresses only"),  # the secret goes with it
    ],
)
async def test_what_is_no_address_is_one_sentence(tmp_path: Path, address: str, reason: str) -> None:
    with pytest.raises(Fatal, match=f"^{re.escape(address)} is no public address: {reason}"):
        await webhook(tmp_path, lambda _: httpx.Response(200), address)


@pytest.mark.parametrize(
    ("names", "pasted"),
    [
        (("client_id", "client_secret"), None),
        (("app_id", "secret"), "{id_key: app_id, secret_key: secret, …}"),
        (("key", "secret"), "{id_key: key, secret_key: secret, …}"),
    ],
)
async def test_the_names_of_the_login_are_found(tmp_path: Path, names: tuple[str, str], pasted: str | None) -> None:
    async with PisanoDouble(app_id="APP", app_secret="hunter2-app") as pisano, httpx.AsyncClient() as http:
        pisano.configure(id_key=names[0], secret_key=names[1], token_key="data.token", expiry_key="expired_at")
        *tried, last = await lines(live_logins.settled(config(tmp_path, pisano.base_url), http))
        assert pisano.violations() == []
    assert all(one.startswith("· pisano.main: a login with ") for one in tried)
    expected = f"✗ pisano.main: the file differs from what works. Set pisano.main.auth: {pasted}"
    assert last == (
        expected if pasted else "✓ pisano.main: the names of the login and the form of the header are right"
    )


async def test_a_wrong_secret_is_told_from_a_wrong_name(tmp_path: Path) -> None:
    async with PisanoDouble(app_id="APP", app_secret="another") as pisano, httpx.AsyncClient() as http:
        found = await lines(live_logins.settled(config(tmp_path, pisano.base_url), http))
    assert found[0].startswith("· pisano.main: a login with client_id and client_secret is answered 401")
    assert found[-1] == "✗ pisano.main: no login works: check base_url, client_id and client_secret"


async def settled(folder: Path, answer: Answer, auth: str = APP) -> list[str]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        return await lines(live_logins.settled(config(folder, auth=auth), http))


@pytest.mark.parametrize("auth", [APP, "{method: static_token, token: hunter2}"])
async def test_the_form_of_the_header_is_found(tmp_path: Path, auth: str) -> None:
    """An older Rails takes only `Token`. A flow that is not there still says whether the header was taken."""

    def older_rails(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(200, json={"token": "hunter2", "expires_in": 60})
        return httpx.Response(404 if request.headers["Authorization"].startswith("Token ") else 401)

    assert await settled(tmp_path, older_rails, auth) == [
        "✗ pisano.main: the file differs from what works. Set pisano.main.auth: {scheme: token, …}"
    ]


async def test_a_slash_after_the_path_and_an_answer_of_another_shape_are_told(tmp_path: Path) -> None:
    def with_slash(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and not request.url.path.endswith("/"):
            return httpx.Response(308)
        return httpx.Response(200, json={"access_token": "hunter2"})

    found = await settled(tmp_path, with_slash)
    assert any("its login wants a slash at the end of the path" in line for line in found)
    assert found[-1].startswith(
        "· pisano.main: the login's answer names no time at which the token ends: a token is us"
    )

    shape = {"session": {"jwt": "hunter2"}}
    found = await settled(tmp_path, lambda _: httpx.Response(200, json=shape))
    assert found[0].endswith("200 without a token that we know; it holds session, session.jwt")


@pytest.mark.parametrize("status", [429, 500])
async def test_nothing_more_is_tried_once_pisano_takes_no_calls(tmp_path: Path, status: int) -> None:
    found = await settled(tmp_path, lambda _: httpx.Response(status))
    assert len(found) == 2
