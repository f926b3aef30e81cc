"""The Pisano double's customers answer, and its webhooks are delivered (pisano §4); and its control API."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest
from aiohttp import web

from connector.doubles.pisano import Customer, PisanoDouble, Webhook

JANE = "jane@example.com"
SENT = {
    "emails": [JANE],
    "custom_attributes": {JANE: {"name": "Jane Doe"}},
    "built_in_responses": {JANE: {"sf_ref_id": "5"}},
}
SHARE = "/v1/email_campaigns/4711/email_sharings"


@pytest.fixture
async def pisano() -> AsyncIterator[PisanoDouble]:
    async def no_sleep(_: float) -> None:
        await asyncio.sleep(0)

    async with PisanoDouble(sleep=no_sleep) as double:
        double.add_campaign("4711", ["sf_ref_id"])
        yield double


@pytest.fixture
async def http(pisano: PisanoDouble) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {pisano.static_token}"}
    async with httpx.AsyncClient(base_url=pisano.base_url, headers=headers, timeout=5) as client:
        yield client


class Receiver:
    """Takes webhooks, and answers with the next of `statuses`, then 200."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.secrets: list[str | None] = []
        self.statuses: list[int] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.secrets.append(request.headers.get("X-Webhook-Secret"))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield receiver
    await runner.cleanup()


async def test_an_answer_comes_as_webhook_from_the_template(
    pisano: PisanoDouble, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    """pisano §4: the keys of S1; free text is URL-encoded, as Liquid has no json filter; sf_ref_id comes back."""
    pisano.webhook = Webhook(url=receiver.url, headers={"X-Webhook-Secret": "s3cret"})
    pisano.customers[JANE] = Customer(answers={"nps_score": 2, "comment": 'She said "no"\n'}, times=3)
    await http.post(SHARE, json=SENT)
    await pisano.webhooks.settled()
    assert orjson.loads(receiver.bodies[0]) == {
        "firstName": "Jane",
        "lastName": "Doe",
        "email": JANE,
        "nps_score": "2",
        "sf_ref_id": "5",
        "source_platform": "Pisano",
        "comment": "She+said+%22no%22%0A",
        "comment_encoding": "url",
    }
    assert len(receiver.bodies) == 3
    assert len(set(receiver.bodies)) == 1
    assert receiver.secrets == ["s3cret"] * 3


async def test_a_template_without_encoding_yields_invalid_json(
    pisano: PisanoDouble, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    """pisano §4: the admin types the template by hand, and Liquid escapes nothing."""
    pisano.webhook = Webhook(url=receiver.url, template='{"comment": "{{ comment }}", "empty": "{{ nobody }}"}')
    pisano.customers[JANE] = Customer(answers={"comment": 'quote " here'})
    await http.post(SHARE, json=SENT)
    await pisano.webhooks.settled()
    assert receiver.bodies == [b'{"comment": "quote " here", "empty": ""}']


async def test_re_sent_up_to_20_times_and_4xx_never(pisano: PisanoDouble, receiver: Receiver) -> None:
    """pisano §4: up to 20 automatic re-sends for connection issues; 5xx as set; content errors are not retried."""
    nowhere = Webhook(url="http://127.0.0.1:1/hook")
    pisano.webhooks.send(nowhere, "{}")
    await pisano.webhooks.settled()
    assert [(d.attempt, d.status) for d in pisano.deliveries] == [(n, None) for n in range(1, 22)]
    for resend, statuses, tries in ((True, [503, 503], 3), (False, [503], 1), (True, [400], 1)):
        pisano.deliveries.clear()
        receiver.statuses = statuses
        pisano.webhooks.send(Webhook(url=receiver.url, resend_on_5xx=resend), "{}")
        await pisano.webhooks.settled()
        assert len(pisano.deliveries) == tries


async def test_control_api_mirrors_the_python_interface_and_is_not_counted(
    pisano: PisanoDouble, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    """The sandbox and tests in other processes set up and ask the double over HTTP."""
    setup = [
        await http.put("/_control/flows/f", json={"questions": [{"key": "sf_ref_id"}]}),
        await http.put("/_control/campaigns/9", json={"flow": "f"}),
        await http.put(f"/_control/customers/{JANE}", json={"answers": {"nps_score": 9}}),
        await http.put("/_control/webhook", json={"url": receiver.url}),
        await http.patch("/_control/settings", json={"success_status": 202}),
        await http.post("/_control/faults", json={"status": 503}),
    ]
    assert {answer.status_code for answer in setup} == {204}
    assert (await http.put("/_control/flows/f", json={"question": []})).status_code == 422
    share = "/v1/email_campaigns/9/email_sharings"
    assert [(await http.post(share, json=SENT)).status_code for _ in range(3)] == [503, 202, 202]
    await http.post("/_control/webhooks", json={"body": "not json", "times": 2})
    await pisano.webhooks.settled()
    assert [call["status"] for call in (await http.get("/_control/calls")).json()] == [503, 202, 202]
    assert len((await http.get("/_control/emails", params={"address": JANE})).json()) == 2
    assert len((await http.get("/_control/second_emails")).json()) == 1
    assert (await http.get("/_control/violations")).json() == []
    assert sum(d["body"] == "not json" for d in (await http.get("/_control/webhooks")).json()) == 2
    await http.post("/_control/reset")
    assert (await http.get("/_control/calls")).json() == (await http.get("/_control/emails")).json() == []
