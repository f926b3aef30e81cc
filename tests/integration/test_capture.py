"""capture on a real broker: each event that Salesforce publishes is on its topic once, followed by the position."""

from datetime import datetime
from typing import Any

from helpers import topics
from helpers.captured import CASE_TOPIC, CASES, Garbage, captured, events, failure, position, subjects
from helpers.service import metric, running_app
from helpers.waiting import until

from connector.config import Kafka
from connector.sandbox.doubles.salesforce import SalesforceDouble

ONLY = ["capture"]


async def test_change_lies_on_its_topic_with_key_headers_and_names_of_what_changed(
    sf: SalesforceDouble, capture_setup: Any
) -> None:
    """salesforce §0.8: the record distinguishes a field set to null from a field that did not change."""
    setup = await capture_setup()
    case = sf.create("Case", {"Subject": "Broken", "Description": "It fell.", "Priority": "Low"})
    sf.update("Case", case, {"Priority": "High", "Description": None}, origin="com/salesforce/api/rest/66.0;client=x")
    async with running_app(setup.config, ONLY):
        await until(lambda: topics.read(setup.kafka, CASE_TOPIC))
    created, updated = await topics.read(setup.kafka, CASE_TOPIC)
    assert created.key == updated.key == case.encode()
    first, second = await events(setup.kafka)
    assert (first.change_type, first.fields["Subject"], first.fields["Description"]) == ("CREATE", "Broken", "It fell.")
    assert second.change_type == "UPDATE"
    assert second.fields.keys() == {"Priority", "Description", "LastModifiedDate"} == set(second.changed_fields)
    assert (second.fields["Priority"], second.fields["Description"]) == ("High", None)
    assert second.nulled_fields == ("Description",)
    assert second.change_origin.endswith("client=x")
    headers = dict(updated.headers)
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_id"] == second.id.encode()
    assert headers["ce_type"] == b"salesforce.change.Case"
    assert headers["ce_source"] == CASES.encode()
    assert datetime.fromisoformat(headers["ce_time"].decode()) == second.committed_at
    assert headers["ce_dataschema"].endswith(b":ChangeEvent")
    assert headers["content-type"] == b"application/json"
    assert headers["traceparent"].startswith(b"00-")


async def test_channel_of_several_entities_feeds_the_topic_of_each(sf: SalesforceDouble, capture_setup: Any) -> None:
    """An entity that no survey uses has no topic: capture counts its event and moves the position past it."""
    surveys = {on.lower(): {"on": on, "account": "main", "campaign": "1", "email": "x"} for on in ("Case", "Contact")}
    setup = await capture_setup(channels=["/data/ChangeEvents"], surveys=surveys)
    case = sf.create("Case", {})
    account = sf.create("Account", {"Name": "Acme"})
    contact = sf.create("Contact", {"LastName": "Doe"})
    sf.update("Account", account, {"Name": "Acme & Sons"})
    async with running_app(setup.config, ONLY) as app:
        await until(lambda: topics.read(setup.kafka, "salesforce.cdc.Contact"))
        unwanted = 'connector_unwanted_events_total{channel="/data/ChangeEvents",entity="Account"}'
        assert await metric(app, unwanted) == 2
    assert [event.record_id for event in await events(setup.kafka)] == [case]
    assert [event.record_id for event in await events(setup.kafka, "salesforce.cdc.Contact")] == [contact]
    reached = await position(setup.kafka, "/data/ChangeEvents")
    assert reached
    assert reached.replay_id == sf.log.entries[-1].replay_id.hex()


async def test_merged_event_becomes_a_record_for_each_of_its_changes(sf: SalesforceDouble, capture_setup: Any) -> None:
    """salesforce §0.5."""
    setup = await capture_setup()
    cases = [sf.create("Case", {"Subject": str(number)}) for number in range(5)]
    sf.update("Case", cases, {"Status": "Closed"})
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 10))
    records = [record for record in await topics.read(setup.kafka, CASE_TOPIC) if b'"UPDATE"' in record.value]
    assert sorted(record.key.decode() for record in records) == sorted(cases)
    assert len({dict(record.headers)["ce_id"] for record in records}) == 5


async def test_platform_event_lies_on_a_topic_of_its_kind(sf: SalesforceDouble, capture_setup: Any) -> None:
    """salesforce §A5: the EventUuid identifies duplicates, so it is the key and the id."""
    visit = {"Store__c": "Üsküdar", "Email__c": "jane@example.com", "Consent__c": True}
    setup = await capture_setup(channels=[CASES, "/event/Store_Visit__e"])
    uuid = sf.publish("Store_Visit__e", visit)
    async with running_app(setup.config, ONLY):
        await until(lambda: topics.read(setup.kafka, "salesforce.events.Store_Visit__e"))
    (record,) = await topics.read(setup.kafka, "salesforce.events.Store_Visit__e")
    (event,) = await events(setup.kafka, "salesforce.events.Store_Visit__e")
    assert record.key == uuid.encode() == dict(record.headers)["ce_id"]
    assert dict(record.headers)["ce_type"] == b"salesforce.event.Store_Visit__e"
    assert (event.change_type, event.entity) == ("EVENT", "Store_Visit__e")
    assert visit.items() <= event.fields.items()


async def test_schema_that_changes_in_mid_stream_is_read_by_each_event(
    sf: SalesforceDouble, capture_setup: Any
) -> None:
    """salesforce §B5: when an administrator adds a field, every bit position in the bitmaps shifts."""
    setup = await capture_setup()
    case = sf.create("Case", {"Subject": "before"})
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 1))
        sf.add_field("Case", "Floor__c text(20)", 3)
        sf.configure(interleave_schemas=True)
        for number in range(10):
            sf.update("Case", case, {"Priority": ("High", "Low")[number % 2], "Floor__c": str(number)})
        await until(lambda: captured(setup.kafka, 11))
    updates = (await events(setup.kafka))[1:]
    assert len({event.schema_id for event in updates}) == 2
    for event in updates:
        assert (
            {"Priority", "LastModifiedDate"}
            <= set(event.changed_fields)
            <= {
                "Priority",
                "LastModifiedDate",
                "Floor__c",
            }
        )


class Headless(Garbage):
    """A schema whose header lacks the usual fields; the event matches the schema."""

    json = """{"type": "record", "name": "CaseChangeEvent", "fields": [{"name": "ChangeEventHeader", "type":
        {"type": "record", "name": "H", "fields": [{"name": "recordIds", "type": "string"}]}}]}"""

    def __init__(self) -> None:
        super().__init__("headless")

    def encode(self, *_: object) -> bytes:
        return b"\x04id"


async def test_event_that_nobody_can_read_is_a_dead_letter_and_the_next_is_captured(
    sf: SalesforceDouble, capture_setup: Any
) -> None:
    """Garbage, a wrong bitmap, an invalid time, half a header: kept byte for byte, with stage, reason and source."""
    setup = await capture_setup()
    sf.create("Case", {"Subject": "first"})
    good = sf.log.entries[-1]
    assert good.schema
    assert good.header
    sf.store.schemas["Case"].insert(0, headless := Headless())
    wrong = [
        sf.log.publish("Case", headless, {}, {}),
        sf.log.publish("Case", Garbage(good.schema.schema_id), {}, {}),
        sf.log.publish("Case", good.schema, {**good.header, "changedFields": ["0xZZ"], "changeType": "UPDATE"}, {}),
        sf.log.publish("Case", good.schema, {**good.header, "commitTimestamp": 2**62}, {}),
        sf.log.publish("Case", good.schema, {**good.header, "recordIds": []}, {}),
    ]
    sf.create("Case", {"Subject": "second"})
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 2))
    assert subjects(await events(setup.kafka)) == ["first", "second"]
    letters = {letter.value: dict(letter.headers) for letter in await topics.read(setup.kafka, "connector.deadletters")}
    assert letters.keys() == {entry.payload for entry in wrong}
    for entry in wrong:
        headers = letters[entry.payload]
        assert (headers["dl_stage"], headers["dl_reason"]) == (b"capture", b"undecodable")
        assert headers["dl_source"] == f"{CASES} {entry.replay_id.hex()}".encode()
        assert headers["dl_error"]
        assert headers["dl_cell"] == f"capture/{CASES.strip('/').replace('/', '.')}".encode()


async def test_event_of_a_megabyte_is_captured(sf: SalesforceDouble, capture_setup: Any) -> None:
    """salesforce §A5: events can be 1 MB large; as JSON they exceed the default limits of Kafka and its clients."""
    setup = await capture_setup()
    sf.add_field("Case", "Letter__c long(999999)")
    sf.create("Case", {"Letter__c": "\n" * 990_000})
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 1))
    (event,) = await events(setup.kafka)
    assert len(event.fields["Letter__c"]) == 990_000


async def test_event_larger_than_its_topic_takes_is_a_dead_letter(sf: SalesforceDouble, capture_setup: Any) -> None:
    setup = await capture_setup()
    sf.add_field("Case", "Letter__c long(999999)")
    sf.create("Case", {"Letter__c": "€" * 800_000})
    large = sf.log.entries[-1].payload
    sf.create("Case", {"Subject": "next"})
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 1))
    (letter,) = await topics.read(setup.kafka, "connector.deadletters")
    assert (letter.value, dict(letter.headers)["dl_reason"]) == (large, b"too_large")


async def test_topic_that_takes_less_than_it_should_is_told_to_a_person(
    sf: SalesforceDouble, bootstrap_servers: str, unique: str, capture_setup: Any
) -> None:
    """The event is not at fault, so it does not become a dead letter, and the position stays before it."""
    kafka = Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)
    await topics.create(kafka, CASE_TOPIC, max_message_bytes="10000")
    setup = await capture_setup()
    sf.create("Case", {"Description": "x" * 20_000})
    said = await failure(setup)
    assert CASES in said
    assert "connector topics apply" in said
    assert await topics.read(kafka, "connector.deadletters") == []
    assert await position(kafka) is None


async def test_schema_that_salesforce_does_not_have_makes_dead_letters_and_no_stop(
    sf: SalesforceDouble, capture_setup: Any
) -> None:
    setup = await capture_setup()
    sf.create("Case", {"Subject": "first"})
    good = sf.log.entries[-1]
    unknown = sf.log.publish("Case", Garbage("no-such-schema"), {}, {})
    blank = sf.log.publish("Case", Garbage(""), {}, {})
    sf.create("Case", {"Subject": "second"})
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 2))
    assert good.payload
    letters = await topics.read(setup.kafka, "connector.deadletters")
    sources = {dict(letter.headers)["dl_source"].decode().split()[-1] for letter in letters}
    assert sources == {unknown.replay_id.hex(), blank.replay_id.hex()}
