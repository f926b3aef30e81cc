"""Runs each example unchanged against the doubles, and checks that the topics hold what `topics/` says."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import jsonschema
from aiokafka import ConsumerRecord
from helpers import topics
from helpers.service import running_app
from helpers.waiting import until

from connector.config import Config, catalogue
from connector.config.file import load
from connector.kafka.topics import apply
from connector.sandbox.company import Sandbox, sandbox
from connector.sandbox.doubles import pisano
from connector.wiring.live import compared
from connector.wiring.shared import Shared

ROOT = Path(__file__).parents[2]
BY_HAND = ("connector.actions", "pisano.suppressions")  # topics that only people write
UNUSED = ("connector.deadletters", "connector.parked", "pisano.claims", "pisano.waiting")  # when all goes well at once


@asynccontextmanager
async def example(name: str, bootstrap_servers: str, prefix: str) -> AsyncIterator[tuple[Config, Sandbox]]:
    """Runs the five stages of an example on its own topics, with the doubles that its environment points to."""
    async with sandbox() as both:
        environ = {**both.environment(), "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers}
        config = load(ROOT / "examples" / name, environ)
        own = {"kafka": {"topic_prefix": prefix}, "service": {"port": 0}}  # another process may use 8080
        config = config.model_copy(
            update={name: getattr(config, name).model_copy(update=changes) for name, changes in own.items()}
        )
        await apply(config.kafka, catalogue.topics_for(config))
        async with running_app(config) as app:
            both.expect_webhooks_at(app.address)
            await until(lambda: both.salesforce.streams)
            yield config, both


def test_every_example_is_exercised() -> None:
    """A new example needs a test below."""
    names = {"closed-case.yaml", "retail-visits.yaml", "store-visit.yaml"}
    assert {file.name for file in (ROOT / "examples").iterdir()} == names


async def test_closed_case(bootstrap_servers: str, unique: str) -> None:
    async with example("closed-case.yaml", bootstrap_servers, unique) as (config, both):
        org = both.salesforce
        both.pisano.customers["ada@example.com"] = pisano.Customer(answers={"nps_score": 2, "comment": 'No "reply"'})
        asked = org.create("Contact", {"LastName": "Yilmaz", "Email": "ada@example.com"})
        opted_out = org.create("Contact", {"LastName": "Celik", "Email": "d@example.com", "HasOptedOutOfEmail": True})
        cases = [org.create("Case", {"ContactId": contact, "Branch__c": "17"}) for contact in (asked, opted_out)]
        for case in cases:
            org.update("Case", case, {"Status": "Closed"})

        await until(lambda: org.records("Survey_Response__c"))
        (answer,) = org.records("Survey_Response__c")
        assert (answer["Case__c"], answer["Score__c"], answer["Comment__c"]) == (cases[0], 2, 'No "reply"')
        await until(lambda: org.record("Case", cases[0])["Status"] == "Reopened")
        assert org.record("Case", cases[0])["Priority"] == "High"
        (email,) = both.pisano.emails()
        assert (email.address, email.built_in_responses["branch_id"]) == ("ada@example.com", "17")

        async def complete() -> bool:
            return len(await topics.read(config.kafka, "salesforce.writes")) == 2

        await until(complete)
    await topics_are_as_documented(config, empty={*BY_HAND, *UNUSED})


async def test_store_visit(bootstrap_servers: str, unique: str) -> None:
    async with example("store-visit.yaml", bootstrap_servers, unique) as (config, both):
        both.pisano.add_campaign("4712", ["branch_id", "transaction_type", "sf_ref_id"])
        visit = {"Customer_Name__c": "Bora Kaya", "Store__c": "34"}
        both.salesforce.publish("Store_Visit__e", {**visit, "Email__c": "no@example.com", "Consent__c": False})
        uuid = both.salesforce.publish("Store_Visit__e", {**visit, "Email__c": "bora@example.com", "Consent__c": True})

        (email,) = await until(both.pisano.emails)
        assert email.address == "bora@example.com"
        assert email.custom_attributes == {"name": "Bora Kaya"}
        assert email.built_in_responses == {"branch_id": "34", "transaction_type": "Store_Visit", "sf_ref_id": uuid}

        async def settled() -> bool:
            return any(key.decode().startswith("retail/") and b"/call/" not in key for key in await ledger_keys(config))

        await until(settled)
    await topics_are_as_documented(config, empty={*BY_HAND, *UNUSED, "pisano.feedback", "salesforce.writes"})


async def test_retail_visits(bootstrap_servers: str, unique: str) -> None:
    async with example("retail-visits.yaml", bootstrap_servers, unique) as (config, both):
        async with Shared(config) as shared:
            found = [str(one) async for one in compared(config, shared.http, shared.rest.describe)]
            assert [line for line in found if not line.startswith("✓")] == []
        org = both.salesforce
        ada = org.create("Contact", {"LastName": "Yilmaz"})
        both.pisano.customers["+905331234567"] = pisano.Customer(answers={"nps_score": 9, "comment": "Quick"})
        visit = {"Store__c": "34", "Consent__c": True, "Amount__c": 249.9, "Customer_Name__c": "Ada Yilmaz"}
        uuid = org.publish("Store_Visit__e", {**visit, "Phone__c": "0533 123 45 67"})
        org.publish("Store_Visit__e", {**visit, "Phone__c": "0212 393 00 00"})
        org.publish("Store_Visit__e", {**visit, "Phone__c": "0533 123 45 68", "Consent__c": False})
        case = org.create("Case", {"ContactId": ada, "Subject": "A torn bag"})
        org.update("Case", case, {"Status": "Closed"})

        await until(lambda: org.record("Case", case)["Survey_Link__c"])
        [link] = both.pisano.links()
        assert org.record("Case", case)["Survey_Link__c"] == link.url
        assert (link.custom_attributes, link.built_in_responses) == ({"external_id": ada}, {"sf_ref_id": case})
        [answer] = await until(lambda: org.records("Survey_Response__c"))
        assert (answer["Score__c"], answer["Comment__c"]) == (9, "Quick")
        [text] = both.pisano.texts()
        assert (text.address, text.custom_attributes) == ("+905331234567", {"name": "Ada Yilmaz"})
        responses = {"branch_id": "34", "amount": 249.9, "transaction_type": "Store_Visit", "sf_ref_id": uuid}
        assert text.built_in_responses == responses
        assert both.pisano.emails() == []

        async def complete() -> bool:
            return len(await topics.read(config.kafka, "salesforce.writes")) == 2

        await until(complete)
    await topics_are_as_documented(config, empty={*BY_HAND, *UNUSED})


async def ledger_keys(config: Config) -> list[bytes]:
    return [record.key for record in await topics.read(config.kafka, "pisano.attempts")]


async def topics_are_as_documented(config: Config, empty: set[str]) -> None:
    """Checks each record of each topic: it has one of the topic's schemas, its value fits it, and its id is unique."""
    prefix = config.kafka.topic_prefix
    for topic in catalogue.topics_for(config):
        name = topic.name.removeprefix(prefix)
        found = await topics.read(config.kafka, name)
        assert bool(found) == (name not in empty), name
        kept = [keeps_to_its_schema(record) for record in found]
        assert {schema for schema, _ in kept} <= set(topic.schemas)
        assert len({event for _, event in kept}) == len(kept), f"{name}: two events have the same source and id"


def keeps_to_its_schema(record: ConsumerRecord) -> tuple[str, tuple[bytes, bytes]]:
    """Returns the name of the record's schema, and the event's identity in CloudEvents."""
    headers = dict(record.headers)
    assert headers["ce_specversion"] == b"1.0"
    assert headers["content-type"] == b"application/json"
    assert {"ce_type", "ce_time", "traceparent"} <= headers.keys()
    name = headers["ce_dataschema"].decode().rpartition(":")[2]
    schema = json.loads((ROOT / "topics" / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    assert schema["$id"].encode() == headers["ce_dataschema"]
    jsonschema.Draft202012Validator(schema).validate(json.loads(record.value))
    return name, (headers["ce_source"], headers["ce_id"])
