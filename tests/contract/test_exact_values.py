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
from helpers.plans import carry_out
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.config import FeedbackRule, Webhook
from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.inbound import InRecord
from connector.observe.metrics import Metrics
from connector.pisano.sharings import Recipient, call_body
from connector.records import Feedback, Write
from connector.salesforce import ClientCredentials, CollectionWriter, RestClient
from connector.salesforce.soql import Source
from connector.sandbox.doubles.salesforce import SalesforceDouble
from connector.stages._answers import Answers, Sent
from connector.stages.write import WriteBack

AT = datetime.now(UTC)
RULE = {
    "upsert": "Survey_Response__c",
    "by": {"Pisano_Id__c": "{{ feedback.id }}"},
    "fields": {
        "Score__c": "{{ body.number }}",
        "Comment__c": "{{ body.text }}",
        "Raw__c": "{{ body.phone }} and {{ body.number }}",
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
        yield Way(runner, sf, rest, stage)
        runner.run(http.aclose())
        runner.run(sf.__aexit__(None, None, None))


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
    [read] = way.runner.run(way.rest.find(Source("Survey_Response__c"), ["Score__c"], [row["Id"]]))
    assert Decimal(str(read["Score__c"])) == Decimal(number), "a whole number comes back as 5, not as 5.0"


@settings(max_examples=60, deadline=None)
@given(numbers, long_numbers, texts)
def test_no_digit_changes_on_the_way_to_pisano(number: str, phone: str, text: str | None) -> None:
    values = {"amount": Decimal(number), "phone": int(phone), "text": text}
    sent = json.loads(call_body([Recipient("a@b.co", values, {})]), parse_float=str)
    kept = {"amount": number, "phone": int(phone), "text": text} if text else {"amount": number, "phone": int(phone)}
    found = sent["custom_attributes"]["a@b.co"]
    assert {**found, "amount": str(found["amount"])} == kept
