"""Link sharings: the double against contracts/pisano.md §3.2, and our client against the double."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from connector.errors import Fatal, Unknown
from connector.pisano import Accepted, AnswerRules, Recipient, Results, Sharings, StaticToken
from connector.sandbox.doubles.pisano import Fault, PisanoDouble
from connector.templates import Condition

MAKE = "/external/v1/link_sharings/77/generate_link"
ADA = Recipient("ada@example.com", {"name": "Ada", "external_id": "0035g"}, {"ref": "5", "empty": None}, "link")
NOBODY = Recipient("", {}, {"ref": "6"}, "link")


@pytest.fixture
async def pisano() -> AsyncIterator[PisanoDouble]:
    async with PisanoDouble() as double:
        double.add_campaign("77", ["ref"], "link")
        double.add_campaign("4711", ["ref"])
        yield double


@pytest.fixture
async def http(pisano: PisanoDouble) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {pisano.static_token}"}
    async with httpx.AsyncClient(base_url=pisano.base_url, headers=headers) as client:
        yield client


async def made(pisano: PisanoDouble, http: httpx.AsyncClient, recipient: Recipient, at: str | None = None) -> Accepted:
    rules = AnswerRules(link_at=at)
    sharings = Sharings(http, pisano.base_url, StaticToken(pisano.static_token), rules=rules, timeout=1.0)
    return await sharings.send("77", [recipient])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"customer": "ada@example.com"},
        {"customer": {"email": "ada@"}},
        {"customer": {"phone_number": "5331234567"}},
        {"customer": {"segment": "gold"}},
        {"customer": {"name": ""}},
        {"customer": {}, "emails": ["ada@example.com"]},
        {"customer": {}, "built_in_responses": {"unknown": "5"}},
        {"customer": {}, "built_in_responses": {"ada@example.com": {"ref": "5"}}},
        {"customer": {}, "options": {"short": "yes"}},
    ],
)
async def test_the_double_refuses_what_is_not_documented(
    pisano: PisanoDouble, http: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    assert (await http.post(MAKE, json=body)).status_code == 422
    assert pisano.links() == []


async def test_a_customer_may_be_empty_and_options_are_true_or_false(
    pisano: PisanoDouble, http: httpx.AsyncClient
) -> None:
    assert (await http.post(MAKE, json={"customer": {}, "options": {"short": True}})).status_code == 201
    assert (await http.post(MAKE.replace("77", "4711"), json={"customer": {}})).status_code == 404
    assert len(pisano.links()) == 1


async def test_the_client_gets_the_link_of_one_customer_and_nothing_is_sent(
    pisano: PisanoDouble, http: httpx.AsyncClient
) -> None:
    first, second = await made(pisano, http, ADA), await made(pisano, http, NOBODY)
    ada, nobody = pisano.links()
    assert (first.link, second.link) == (ada.url, nobody.url)
    assert ada.custom_attributes == {"email": "ada@example.com", "name": "Ada", "external_id": "0035g"}
    assert (ada.built_in_responses, nobody.custom_attributes) == ({"ref": "5"}, {})
    assert pisano.emails() == pisano.texts() == []
    assert first.text == '{"link":"***"}', "whoever has the link can answer, so the ledger does not hold it"
    assert str(ada.url) not in repr(first)


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({"data": {"url": "LINK", "id": 5, "note": "no link"}}, None),
        ({"link": "LINK", "again": "LINK"}, None),
        ({"link": "LINK", "qr": "https://psn.example/qr.png"}, "link"),
        ({"links": [{"short": "LINK"}, {"short": "https://psn.example/b"}]}, "links.0.short"),
        ("LINK", None),
    ],
)
async def test_the_link_is_found_wherever_it_is(
    pisano: PisanoDouble, http: httpx.AsyncClient, body: Any, at: str | None
) -> None:
    """pisano §3.2 does not say where."""
    pisano.configure(link_body=body)
    assert (await made(pisano, http, ADA, at)).link == pisano.links()[0].url


@pytest.mark.parametrize("recipient", [ADA, NOBODY])
@pytest.mark.parametrize(
    "listed", ['[{"link": "https://pisano.example/l/1"}]', '{"link": "https://pisano.example/l/1"}']
)
async def test_where_answers_list_addresses_says_nothing_about_a_link(
    pisano: PisanoDouble, http: httpx.AsyncClient, recipient: Recipient, listed: str
) -> None:
    pisano.fail(Fault(status=200, body=f'{{"data": {listed}}}'))
    rules = AnswerRules(results=Results("data"))
    sharings = Sharings(http, pisano.base_url, StaticToken(pisano.static_token), rules=rules, timeout=1.0)
    assert (await sharings.send("77", [recipient])).link == "https://pisano.example/l/1"


@pytest.mark.parametrize("written", ["https://psn.example/a?b=1", r"https:\/\/psn.example\/a?b=1"])
async def test_no_message_holds_the_link(pisano: PisanoDouble, http: httpx.AsyncClient, written: str) -> None:
    """However the JSON of the answer writes it."""
    body = '{"link": "' + written + '"}'
    pisano.fail(Fault(status=200, body=body, times=2))
    accepted = await made(pisano, http, ADA)
    assert accepted.link == "https://psn.example/a?b=1"
    rules = AnswerRules(sent_when=Condition('answer.body.link == "never"'))
    sharings = Sharings(http, pisano.base_url, StaticToken(pisano.static_token), rules=rules)
    with pytest.raises(Unknown) as caught:
        await sharings.send("77", [ADA])
    for said in (accepted.text, str(caught.value)):
        assert said is not None
        assert "***" in said
        assert "psn.example" not in said


@pytest.mark.parametrize(
    ("body", "at"), [({"ok": True}, None), ({"a": "LINK", "b": "https://psn.example/b"}, None), ({"a": "LINK"}, "b")]
)
async def test_an_answer_without_exactly_one_link_holds_the_survey(
    pisano: PisanoDouble, http: httpx.AsyncClient, body: Any, at: str | None
) -> None:
    """Nobody was sent anything, so it waits for a person and is made again."""
    pisano.configure(link_body=body)
    with pytest.raises(Fatal, match=r"Name the link's place in the account's `answers.link`"):
        await made(pisano, http, ADA, at)


@pytest.mark.parametrize("fault", [Fault(kind="drop"), Fault(status=200, body='{"link": '), Fault(status=502)])
async def test_a_call_without_a_clear_end_is_in_doubt(
    pisano: PisanoDouble, http: httpx.AsyncClient, fault: Fault
) -> None:
    pisano.fail(fault)
    with pytest.raises(Unknown):
        await made(pisano, http, ADA)


async def test_a_call_makes_one_link(pisano: PisanoDouble, http: httpx.AsyncClient) -> None:
    with pytest.raises(ValueError, match="one link"):
        await Sharings(http, pisano.base_url, StaticToken("t")).send("77", [ADA, NOBODY])
