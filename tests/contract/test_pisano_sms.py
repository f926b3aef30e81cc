"""SMS sharings: the double against contracts/pisano.md §3.1, and our client against the double."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from connector.errors import Fatal, Rejected
from connector.pisano import AnswerRules, Recipient, Results, Sharings, StaticToken, Unclear
from connector.sandbox.doubles.pisano import Campaign, Fault, PisanoDouble
from connector.templates import Condition

ADA, BORA = "+905331234567", "+905331234568"
SHARE = "/v1/sms_campaigns/55/sms_sharings"
SENT = {"phone_numbers": [ADA], "custom_attributes": {ADA: {"name": "Ada"}}, "built_in_responses": {ADA: {"ref": "5"}}}


@pytest.fixture
async def pisano() -> AsyncIterator[PisanoDouble]:
    async with PisanoDouble() as double:
        double.add_campaign("55", ["ref"], "sms")
        double.add_campaign("4711", ["ref"])
        yield double


@pytest.fixture
async def http(pisano: PisanoDouble) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {pisano.static_token}"}
    async with httpx.AsyncClient(base_url=pisano.base_url, headers=headers) as client:
        yield client


def to(number: str) -> Recipient:
    return Recipient(number, {"name": "Ada"}, {"ref": "5"}, "sms")


@pytest.mark.parametrize("path", [SHARE, SHARE + "/"])
async def test_the_double_takes_the_documented_body(pisano: PisanoDouble, http: httpx.AsyncClient, path: str) -> None:
    assert (await http.post(path, json=SENT)).status_code == 201
    [text] = pisano.texts(ADA)
    assert (text.campaign, text.custom_attributes, text.built_in_responses) == ("55", {"name": "Ada"}, {"ref": "5"})
    assert pisano.emails() == []


@pytest.mark.parametrize(
    "body",
    [
        {"emails": ["ada@example.com"]},
        {"phone_numbers": []},
        {"phone_numbers": [ADA, ADA]},
        {"phone_numbers": ["5331234567"]},
        {"phone_numbers": ["ada@example.com"]},
        {"phone_numbers": [ADA], "built_in_responses": {"5331234567": {}}},
        {"phone_numbers": [ADA], "built_in_responses": {ADA: {"unknown": "5"}}},
    ],
)
async def test_the_double_refuses_any_other_body_as_a_whole(
    pisano: PisanoDouble, http: httpx.AsyncClient, body: object
) -> None:
    assert (await http.post(SHARE, json=body)).status_code == 422
    assert pisano.texts() == []


async def test_a_campaign_has_one_channel(pisano: PisanoDouble, http: httpx.AsyncClient) -> None:
    assert (await http.post("/v1/sms_campaigns/4711/sms_sharings", json=SENT)).status_code == 404
    assert (await http.post("/v1/email_campaigns/55/email_sharings", json={"emails": ["a@b.co"]})).status_code == 404


@pytest.mark.parametrize("form", ["e164", "local"])
async def test_the_client_sends_to_many_numbers_in_the_form_that_is_set(
    pisano: PisanoDouble, http: httpx.AsyncClient, form: str
) -> None:
    pisano.configure(phone_form=form)
    sharings = Sharings(http, pisano.base_url, StaticToken(pisano.static_token), phone_form=form)  # type: ignore[arg-type]
    await sharings.send("55", [to(ADA), to(BORA)])
    cut = 0 if form == "e164" else 3
    assert [text.address for text in pisano.texts()] == [ADA[cut:], BORA[cut:]]
    assert [call.path for call in pisano.calls] == [SHARE]


@pytest.mark.parametrize("form", ["e164", "local"])
@pytest.mark.parametrize("listed", ["+90 533 123 45 67", 905331234567, "5331234567"])
async def test_a_number_that_the_answer_refuses_got_nothing(
    pisano: PisanoDouble, http: httpx.AsyncClient, form: str, listed: object
) -> None:
    """Report 19, for SMS. An answer in another form of the number is in doubt, and never sent."""
    body = json.dumps({"rejected": [{"phone_number": listed}]})
    pisano.fail(Fault(status=200, body=body, times=2))
    rules = AnswerRules(results=Results("rejected", "phone_number"))
    token = StaticToken(pisano.static_token)
    sharings = Sharings(http, pisano.base_url, token, rules=rules, phone_form=form)  # type: ignore[arg-type]
    if (form == "local") == (listed == "5331234567"):
        assert (await sharings.send("55", [to(ADA), to(BORA)])).refused == {ADA}
    else:
        with pytest.raises(Unclear):
            await sharings.send("55", [to(ADA), to(BORA)])


async def test_no_message_holds_a_number(pisano: PisanoDouble, http: httpx.AsyncClient) -> None:
    """Rule 9: a number is masked as an address is."""
    sharings = Sharings(http, pisano.base_url, StaticToken(pisano.static_token))
    for fault in (Fault(status=422, body=f"{ADA} is bad"), Fault(status=201, body=f'{{"to": "{ADA}"}}')):
        pisano.fail(fault)
        try:
            said = (await sharings.send("55", [to(ADA)])).text or ""
        except Rejected as error:
            said = str(error)
        assert "***" in said
        assert ADA.removeprefix("+") not in said


async def test_a_number_of_another_writer_that_cannot_be_written_locally_is_refused_alone(
    pisano: PisanoDouble, http: httpx.AsyncClient
) -> None:
    """pisano.invitations is a public topic, so anything may be in a phone number."""
    sharings = Sharings(http, pisano.base_url, StaticToken(pisano.static_token), phone_form="local")
    with pytest.raises(Rejected, match="nothing was sent"):
        await sharings.send("55", [to("0533 123 45 67")])
    assert pisano.calls == []


async def test_a_campaign_that_cannot_send_sms_is_held(pisano: PisanoDouble, http: httpx.AsyncClient) -> None:
    rules = AnswerRules(campaign_off_when=Condition('answer.text contains "provider"'))
    sharings = Sharings(http, pisano.base_url, StaticToken(pisano.static_token), rules=rules)
    pisano.campaigns["55"] = Campaign(flow="55", channel="sms", provider=False)
    with pytest.raises(Fatal, match="campaign 55 sends nothing"):
        await sharings.send("55", [to(ADA)])
    with pytest.raises(Fatal, match="the campaign 56 for the channel sms"):
        await sharings.send("56", [to(ADA)])
