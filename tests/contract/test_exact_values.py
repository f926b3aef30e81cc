"""A value goes from a webhook's body over the topic and the mapping to Salesforce's double without a changed digit."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import httpx
import pytest
from helpers.change_events import change
from helpers.plans import carry_out
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.config import FeedbackRule, Survey, Webhook
from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.inbound import InRecord
from connector.observe.metrics import Metrics
from connector.pisano.sharings import Recipient, call_body
from connector.records import AnyRecord, ChangeEvent, Feedback, Invitation, Write, read
from connector.salesforce import ClientCredentials, CollectionWriter, RestClient
from connector.salesforce.soql import Source
from connector.sandbox.doubles.pisano import PisanoDouble, Question
from connector.sandbox.doubles.salesforce import SalesforceDouble
from connector.stages._answers import Answers, Sent
from connector.stages.write import WriteBack
from connector.surveys.invitations import SurveyRule
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader

AT = datetime.now(UTC)
RULE = {
    "upsert": "Survey_Response__c",
    "by": {"Pisano_Id__c": "{{ feedback.id }}"},
    "fields": {
        "Score__c": "{{ body.number }}",
        "Comment__c": "{{ body.text }}",
        "Raw__c": "{{ body.phone }} and {{ body.number }}",
        "Whole__c": "{{ body.whole | json }}",
    },
}


SURVEY = {
    "on": "Visit__c",
    "account": "main",
    "campaign": "4711",
    "email": "a@example.com",
    "custom_attributes": {
        "amount": "{{ record.Amount__c }}",
        "phone": "{{ record.Phone__c }}",
        "text": "{{ record.Text__c }}",
    },
    "built_in_responses": {
        "amount": "{{ record.Amount__c }} TL",
        "phone": "+{{ record.Phone__c }}",
        "text": "{{ record.Text__c }}",
        "exact": "{{ record.Amount__c }}",
    },
}
WEBHOOK = {"path": "/p", "secret": "a-secret-of-a-webhook", "identity": ["id"]}


@dataclass
class Way:
    """From a body to the double."""

    runner: asyncio.Runner
    sf: SalesforceDouble
    rest: RestClient
    stage: WriteBack
    http: httpx.AsyncClient
    ids: Iterator[int] = field(default_factory=count)

    def go(self, fields: str) -> dict[str, Any]:
        """The record that the double holds then."""
        body = f'{{"id": {next(self.ids)}, {fields}}}'.encode()
        [feedback] = Answers("main", Webhook.model_validate(WEBHOOK)).read(Sent(body), AT)
        assert isinstance(feedback, Feedback)
        made = to_record("t", "k", feedback, ce_type="t", ce_source="/s", ce_id="1", ce_time=AT)
        self.runner.run(carry_out(self.stage.plan, InRecord("pisano.feedback", 0, 0, b"k", made.value, (), 0.0)))
        return next(row for row in self.sf.records("Survey_Response__c") if row["Pisano_Id__c"] == feedback.id)


@pytest.fixture(scope="module")
def way() -> Iterator[Way]:
    async def publish(_: OutRecord) -> None: ...

    async def none(_: int) -> AsyncIterator[Write]:
        for write in ():
            yield write

    def nothing_is_set_aside(*_: object) -> OutRecord:
        raise AssertionError("a value was left out")

    with asyncio.Runner() as runner:
        sf, http = SalesforceDouble(), httpx.AsyncClient()
        runner.run(sf.__aenter__())
        sf.add_field("Survey_Response__c", "Whole__c long(131072)")
        tokens = ClientCredentials(http, sf.login_url, client_id=sf.client_id, client_secret=sf.client_secret)
        rest = RestClient(tokens, http, client_name="connector", calls_per_second=1000)
        stage = WriteBack(
            {"response": FeedbackRule.model_validate(RULE)},
            CollectionWriter(rest),
            publish,
            "salesforce.writes",
            read_writes=none,
            kept=timedelta(days=60),
            set_aside=nothing_is_set_aside,
            metrics=Metrics(),
        )
        yield Way(runner, sf, rest, stage, http)
        runner.run(http.aclose())
        runner.run(sf.__aexit__(None, None, None))


class Number(str):
    """A number as it is written."""


def written(value: object) -> str:
    """The JSON of a value in which each number is a `Number`."""
    match value:
        case Number():
            return str(value)
        case dict():
            return "{" + ", ".join(f"{json.dumps(name)}: {written(inner)}" for name, inner in value.items()) + "}"
        case list():
            return f"[{', '.join(map(written, value))}]"
        case _:
            return json.dumps(value, ensure_ascii=False)


leaves = (
    st.none()
    | st.booleans()
    | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
    | st.from_regex(r"-?([1-9][0-9]{0,40}|0(?=\.))(\.[0-9]{1,30})?", fullmatch=True).map(Number)
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
objects = st.dictionaries(
    names, st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4))
)


@settings(max_examples=150, deadline=None)
@given(objects)
def test_any_json_object_arrives_without_a_changed_digit_letter_or_null(way: Way, whole: dict[str, Any]) -> None:
    """From a webhook's body over the topic and the mapping to the double. An empty text alone becomes null."""
    row = way.go(f'"whole": {written(whole)}')
    assert json.loads(row["Whole__c"], parse_int=Number, parse_float=Number) == whole


numbers = st.from_regex(r"-?[1-9][0-9]{0,13}(\.[0-9]{1,2})?", fullmatch=True)
long_numbers = st.from_regex(r"[1-9][0-9]{0,40}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(str.strip) | st.none()


@settings(max_examples=60, deadline=None)
@given(numbers, long_numbers, texts)
def test_no_digit_letter_or_null_changes_on_the_way_to_salesforce_and_back(
    way: Way, number: str, phone: str, text: str | None
) -> None:
    row = way.go(f'"number": {number}, "phone": {phone}, "text": {json.dumps(text)}')
    assert str(row["Score__c"]) == number
    assert row["Raw__c"] == f"{phone} and {number}"
    assert row["Comment__c"] == text
    [found] = way.runner.run(way.rest.find(Source("Survey_Response__c"), ["Score__c"], [row["Id"]]))
    assert Decimal(str(found["Score__c"])) == Decimal(number), "a whole number comes back as 5, not as 5.0"


@pytest.fixture(scope="module")
def pisano(way: Way) -> Iterator[PisanoDouble]:
    double = PisanoDouble(windows=())
    double.add_campaign("4711", ["amount", "phone", "text", Question(key="exact", type="float")])
    way.runner.run(double.__aenter__())
    yield double
    way.runner.run(double.__aexit__(None, None, None))


@settings(max_examples=60, deadline=None)
@given(numbers, long_numbers, texts)
def test_no_digit_letter_or_null_changes_on_the_way_to_pisano(
    way: Way, pisano: PisanoDouble, number: str, phone: str, text: str | None
) -> None:
    """From a change event over both topics and the survey's mapping to the double."""

    async def nothing(*_: object) -> list[dict[str, Any]]:
        return []

    fields = {"Amount__c": Decimal(number), "Phone__c": int(phone), "Text__c": text}
    event = _over_a_topic(ChangeEvent, change("a01", fields, entity="Visit__c"))
    rule = SurveyRule("visit", Survey.model_validate(SURVEY), Reader(Lookup(nothing), Lookup(nothing)))
    [invitation] = [_over_a_topic(Invitation, each) for each in way.runner.run(rule.invitations(event))]
    sent = call_body([Recipient("a@example.com", invitation.custom_attributes, invitation.built_in_responses)])
    headers = {"Authorization": f"Bearer {pisano.static_token}", "Content-Type": "application/json"}
    url = f"{pisano.base_url}/v1/email_campaigns/4711/email_sharings"
    answer = way.runner.run(way.http.post(url, content=sent, headers=headers))
    assert answer.status_code == 201, answer.text
    email = pisano.emails()[-1]
    empty = {} if text is None else {"text": text}
    assert {**email.custom_attributes, "amount": str(email.custom_attributes["amount"])} == {
        "amount": number,
        "phone": int(phone),
        **empty,
    }
    said = {name: str(value) for name, value in email.built_in_responses.items()}
    assert said == {"amount": f"{number} TL", "phone": f"+{phone}", "exact": number, **empty}


def _over_a_topic(model: type[AnyRecord], record: AnyRecord) -> AnyRecord:
    return read(model, to_record("t", "k", record, ce_type="t", ce_source="/s", ce_id="1", ce_time=AT).value)
