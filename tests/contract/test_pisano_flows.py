"""Flows, read from the double and compared with a survey's mapping; and campaigns that cannot send (pisano §3, §5)."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from connector.config import Survey
from connector.errors import ConnectorError, Fatal, Rejected, Retryable
from connector.pisano import AnswerRules, Flow, Recipient, Sharings, StaticToken, mistakes, read_flow
from connector.sandbox.doubles.pisano import Campaign, Fault, PisanoDouble, Question
from connector.surveys.kinds import constants, kinds
from connector.templates import Condition

QUESTIONS = [
    "sf_ref_id",
    Question(key="visits", type="integer"),
    Question(key="amount", type="float"),
    Question(key="vip", type="boolean"),
    Question(key="visit_day", type="date"),
    Question(key="visited_at", type="datetime"),
    Question(key="kind", type="list", options=("Store_Visit", "Support_Ticket")),
]
FIELDS = {
    "Case": {
        "Subject": {"type": "string"},
        "Vip__c": {"type": "boolean"},
        "Visits__c": {"type": "double", "scale": 0},
        "Amount__c": {"type": "currency", "scale": 2},
        "Day__c": {"type": "date"},
        "ClosedDate": {"type": "datetime"},
    }
}
OFF = AnswerRules(campaign_off_when=Condition('answer.text contains "provider" or answer.text contains "channel"'))


@pytest.fixture
async def pisano() -> AsyncIterator[PisanoDouble]:
    async with PisanoDouble() as double:
        double.add_campaign("4711", QUESTIONS)
        yield double


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


async def read(pisano: PisanoDouble, http: httpx.AsyncClient, flow: str = "4711") -> Flow:
    return await read_flow(http, pisano.base_url, flow, f"Bearer {pisano.static_token}", timeout=1.0)


def wrong(flow: Flow, **built_in_responses: Any) -> dict[str, str]:
    """The keys of a survey on Case that do not fit, with the reason."""
    survey = Survey.model_validate(
        {"on": "Case", "account": "main", "campaign": "1", "email": "x", "built_in_responses": built_in_responses}
    )
    return dict(mistakes(flow, constants(survey.built_in_responses), kinds(survey, FIELDS)))


async def test_an_unknown_key_is_named_with_the_nearest_question(pisano: PisanoDouble, http: httpx.AsyncClient) -> None:
    flow = await read(pisano, http)
    found = wrong(flow, sf_refid="{{ record.Id }}", sf_ref_id="{{ record.Id }}", unlike="1")
    assert found["sf_refid"] == "the flow has no question sf_refid; did you mean sf_ref_id?"
    assert found["unlike"].endswith("there is amount, kind, sf_ref_id, vip, visit_day, visited_at, visits")
    assert found.keys() == {"sf_refid", "unlike"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("visits", "5"),
        ("visits", 5.5),
        ("visits", "{{ record.Amount__c }}"),
        ("visits", "{{ record.Subject }}"),
        ("amount", True),
        ("vip", "true"),
        ("vip", "{{ record.Visits__c }}"),
        ("visit_day", "17.09.2024"),
        ("visit_day", "{{ record.ClosedDate }}"),
        ("visited_at", "2024-09-17"),
        ("visited_at", "{{ record.ClosedDate }}"),
        ("visited_at", "{{ record.Day__c }}"),
        ("sf_ref_id", 5),
        ("sf_ref_id", "{{ record.Visits__c }}"),
        ("kind", "Store_visit"),
    ],
)
async def test_a_value_of_another_type_does_not_fit(
    pisano: PisanoDouble, http: httpx.AsyncClient, key: str, value: Any
) -> None:
    """pisano §3: the data type must match (S4); a wrong date format breaks the integration (S8)."""
    assert wrong(await read(pisano, http), **{key: value}).keys() == {key}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("visits", 5),
        ("visits", "{{ record.Visits__c }}"),
        ("amount", "{{ record.Visits__c }}"),
        ("amount", 9.5),
        ("vip", "{{ record.Vip__c }}"),
        ("visit_day", "2024-09-17"),
        ("visit_day", "{{ record.Day__c }}"),
        ("visit_day", "{{ record.Subject }}"),
        ("visited_at", "2024-09-17 04:59:35"),
        ("visited_at", '{{ record.ClosedDate | date: "%Y-%m-%d %H:%M:%S" }}'),
        ("sf_ref_id", "Case {{ record.Visits__c }}"),
        ("sf_ref_id", "{{ record.Unknown__c }}"),
        ("kind", "Store_Visit"),
        ("kind", "{{ record.Subject }}"),
    ],
)
async def test_a_value_that_fits_or_is_not_known_is_no_mistake(
    pisano: PisanoDouble, http: httpx.AsyncClient, key: str, value: Any
) -> None:
    assert wrong(await read(pisano, http), **{key: value}) == {}


async def test_a_flow_that_names_no_types_has_only_its_keys_compared(
    pisano: PisanoDouble, http: httpx.AsyncClient
) -> None:
    """pisano §5 documents keys and options only."""
    pisano.configure(flow_types=False)
    flow = await read(pisano, http)
    assert wrong(flow, visits="five", nothing="5").keys() == {"nothing"}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=403), Fatal),
        (Fault(status=404), Rejected),
        (Fault(status=429), Retryable),
        (Fault(status=500), Retryable),
        (Fault(kind="drop"), Retryable),
        (Fault(kind="hang"), Retryable),
        (Fault(status=200, body="<html>"), Rejected),
        (Fault(status=200, body='{"questions": 5}'), Rejected),
    ],
)
async def test_a_flow_that_cannot_be_read_says_why(
    pisano: PisanoDouble, http: httpx.AsyncClient, fault: Fault, error: type[ConnectorError]
) -> None:
    pisano.fail(fault)
    with pytest.raises(error, match="reading flow 4711") as caught:
        await read(pisano, http)
    assert pisano.static_token not in str(caught.value)


@pytest.mark.parametrize("lacks", ["provider", "channel_active"])
async def test_a_campaign_that_cannot_send_is_one_plain_sentence_and_no_invitation_is_at_fault(
    pisano: PisanoDouble, http: httpx.AsyncClient, lacks: str
) -> None:
    """pisano §3: the preconditions of S1."""
    sharings = Sharings(http, pisano.base_url, StaticToken(pisano.static_token), rules=OFF)
    pisano.campaigns["4711"] = Campaign(flow="4711").model_copy(update={lacks: False})
    with pytest.raises(Fatal, match=r"campaign 4711 sends nothing: .* no provider or that its") as caught:
        await sharings.send("4711", [Recipient("jane@example.com")])
    assert not caught.value.whole


async def test_a_refusal_that_repeats_the_customers_own_words_is_not_about_the_campaign(
    pisano: PisanoDouble, http: httpx.AsyncClient
) -> None:
    """Otherwise one customer's text could hold a survey."""
    pisano.configure(names_culprit=True)
    sharings = Sharings(http, pisano.base_url, StaticToken(pisano.static_token), rules=OFF)
    for culprit in (
        Recipient("no-provider-channel"),
        Recipient("jane@example.com", {}, {"channel": "5"}),
    ):
        with pytest.raises(Rejected):
            await sharings.send("4711", [culprit])
