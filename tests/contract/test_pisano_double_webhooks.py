"""The Pisano double's customers answer, and it delivers the webhooks (pisano §4)."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest
from helpers.plain_http import plain_http
from receiver import Receiver, receiving

from connector.sandbox.doubles.pisano import Customer, PisanoDouble, Webhook

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
    async with plain_http(base_url=pisano.base_url, headers=headers) as client:
        yield client


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def test_an_answer_comes_as_webhook_from_the_template(
    pisano: PisanoDouble, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    """pisano §4: the keys of S1; free text is URL-encoded, because Liquid has no json filter; sf_ref_id comes back."""
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


async def test_a_customer_answers_when_it_is_time_and_a_re_send_waits_longer_each_time(receiver: Receiver) -> None:
    """pisano §4: the answer comes `after` seconds after the e-mail, re-sends after 15 + n^4 times the pace."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    receiver.statuses = [503, 503, 503]
    async with PisanoDouble(sleep=sleep) as pisano, plain_http(base_url=pisano.base_url) as http:
        pisano.add_campaign("4711", ["sf_ref_id"])
        pisano.webhook = Webhook(url=receiver.url, pace=0.5)
        pisano.customers[JANE] = Customer(answers={"nps_score": 2}, after=90.0)
        headers = {"Authorization": f"Bearer {pisano.static_token}"}
        assert (await http.post(SHARE, json=SENT, headers=headers)).status_code == 201
        await pisano.webhooks.settled()
        assert [delivery.status for delivery in pisano.deliveries] == [503, 503, 503, 200]
    assert [wait for wait in waits if wait] == [90.0, 7.5, 8.0, 15.5]


async def test_a_template_that_fails_is_remembered_and_the_e_mail_was_sent_all_the_same(
    pisano: PisanoDouble, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    """The caller of email_sharings never learns that a webhook's template fails later. No template runs for ever."""
    pisano.customers[JANE] = Customer(answers={"nps_score": 2})
    for template in ("{{ nps_score | divided_by: 0 }}", "{% for n in (1..999999999) %}{% endfor %}"):
        pisano.webhook = Webhook(url=receiver.url, template=template)
        assert (await http.post(SHARE, json=SENT)).status_code == 201
    assert [(delivery.attempt, bool(delivery.error)) for delivery in pisano.deliveries] == [(0, True)] * 2
    assert len(pisano.emails()) == 2
    assert receiver.bodies == []


@pytest.mark.parametrize("name", ["json", "safe", "sum", "find", "squish", "upcse"])
def test_a_template_has_the_filters_of_rubys_liquid_and_no_others(name: str) -> None:
    """pisano §4: there is no filter that writes JSON."""
    Webhook(url="http://localhost", template="{{ comment | h }}{{ comment | url_encode }}")
    with pytest.raises(ValueError, match="not a Liquid template"):
        Webhook(url="http://localhost", template=f"{{{{ comment | {name} }}}}")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ 2.5 | round }} {{ 1.005 | round: 2 }}", "3 1.01"),
        ('{{ "1.0;1" | split: ";" | uniq | join }}', "1.0 1"),
        ('{{ "a,b,," | split: "," | size }}', "2"),
        ('{{ "it\'s" | escape }}', "it&#39;s"),
        ("{{ nobody | plus: 1 }}{{ nobody.name | upcase }}", "1"),
        ('{{ nobody | default: "-" }}{{ off | default: "-", allow_false: true }}', "-false"),
    ],
)
async def test_a_template_gives_what_rubys_liquid_gives(
    template: str, expected: str, pisano: PisanoDouble, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    pisano.webhook = Webhook(url=receiver.url, template=template)
    pisano.customers[JANE] = Customer(answers={"off": False})
    await http.post(SHARE, json=SENT)
    await pisano.webhooks.settled()
    assert receiver.bodies == [expected.encode()]


async def test_a_template_without_encoding_yields_invalid_json(
    pisano: PisanoDouble, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    """pisano §4: the administrator writes the template by hand, and Liquid escapes nothing."""
    pisano.webhook = Webhook(url=receiver.url, template='{"comment": "{{ comment }}", "empty": "{{ nobody }}"}')
    pisano.customers[JANE] = Customer(answers={"comment": 'quote " here'})
    await http.post(SHARE, json=SENT)
    await pisano.webhooks.settled()
    assert receiver.bodies == [b'{"comment": "quote " here", "empty": ""}']


async def test_re_sent_up_to_20_times_and_4xx_never(pisano: PisanoDouble, receiver: Receiver) -> None:
    """pisano §4: up to 20 automatic re-sends on connection errors; on 5xx as set; none on content errors."""
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
