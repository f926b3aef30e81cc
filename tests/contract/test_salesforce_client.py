"""Our Salesforce client's events against the double, over real sockets; each test names the fact that it checks."""

from collections.abc import AsyncIterator

import pytest
from helpers.waiting import until
from salesforce_client import CASES, Client, connected

from connector.errors import Fatal, Retryable
from connector.salesforce import PositionLost, PubSubClient, decode, decode_platform_event
from connector.salesforce.soql import Source
from connector.sandbox.doubles.salesforce import Channel, Fault


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with connected() as connection:
        yield connection


async def test_update_gives_rest_names_and_only_what_changed(client: Client) -> None:
    """salesforce §0.8, §B2: the event's own schema and bitmaps, with the values that REST shows."""
    contact = client.sf.create("Contact", {"FirstName": "Ada", "LastName": "Byron", "MailingCity": "Izmir"})
    client.sf.update("Contact", contact, {"MailingCity": "Ankara", "FirstName": None, "Birthdate": "1815-12-10"})
    created, updated = await client.changes("/data/ContactChangeEvent", count=2)
    shown = client.sf.record("Contact", contact)
    assert (created.change_type, created.record_id) == ("CREATE", contact)
    assert (created.fields["FirstName"], created.fields["LastName"]) == ("Ada", "Byron")
    assert created.fields["MailingCity"] == "Izmir"
    assert set(updated.changed_fields) == {"MailingCity", "FirstName", "Birthdate", "LastModifiedDate"}
    assert updated.nulled_fields == ("FirstName",)
    assert updated.fields == {name: shown[name] for name in updated.changed_fields}


async def test_every_field_of_a_create_is_what_soql_gives(client: Client) -> None:
    """salesforce §B2: after flattening, an event and a query have the same names and values."""
    fields = {"Purchase_Date__c": "2026-11-01", "Order_Total__c": 12.5, "Branch_Location__Latitude__s": 41.0}
    case = client.sf.create("Case", {"Subject": "Broken", **fields})
    [change] = await client.changes(CASES)
    [row] = await client.rest.find(Source("Case"), change.fields, [case])
    assert {name: row[name] for name in change.fields} == dict(change.fields)


async def test_merged_event_is_exploded(client: Client) -> None:
    """salesforce §0.5: one event for all records with the same change."""
    cases = [client.sf.create("Case", {"Subject": str(number)}) for number in range(3)]
    before = (await client.events(CASES, count=3))[-1].replay_id
    client.sf.update("Case", cases, {"Status": "Closed"})
    [merged] = await client.events(CASES, replay_id=before)
    changes = decode(merged.payload, await client.pubsub.schema(merged.schema_id))
    assert [change.record_id for change in changes] == cases
    assert {change.fields["Status"] for change in changes} == {"Closed"}


async def test_long_text_arrives_as_a_diff_and_is_no_value(client: Client) -> None:
    """salesforce §0.6."""
    long = "\n".join(f"line {number} of a long description" for number in range(60))
    case = client.sf.create("Case", {"Description": long})
    client.sf.update("Case", case, {"Description": long.replace("line 7 ", "LINE 7 ")})
    change = (await client.changes(CASES, count=2))[-1]
    assert "Description" not in change.fields
    assert "Description" in change.changed_fields
    assert "+LINE 7" in change.diff_fields["Description"]


async def test_schema_that_changes_in_mid_stream_is_read_by_its_own_id(client: Client) -> None:
    """salesforce §B5: field positions shift, so bitmaps use the positions of each event's own schema."""
    case = client.sf.create("Case", {})
    client.sf.update("Case", case, {"Priority": "High"})
    client.sf.add_field("Case", "Floor__c text(20)", 1)
    client.sf.update("Case", case, {"Priority": "Low", "Floor__c": "3"})
    changes = await client.changes(CASES, count=3)
    assert changes[1].fields["Priority"] == "High"
    assert (changes[2].fields["Priority"], changes[2].fields["Floor__c"]) == ("Low", "3")
    assert set(changes[2].changed_fields) == {"Priority", "Floor__c", "LastModifiedDate"}


async def test_gap_event_has_ids_and_no_fields(client: Client) -> None:
    """salesforce §B4."""
    case = client.sf.create("Case", {})
    client.sf.gap("Case", [case])
    change = (await client.changes(CASES, count=2))[-1]
    assert (change.change_type, change.record_id, change.fields) == ("GAP_UPDATE", case, {})


async def test_platform_event_is_read(client: Client) -> None:
    """salesforce §A5: the EventUuid identifies duplicates."""
    uuid = client.sf.publish("Store_Visit__e", {"Store__c": "17", "Visited_At__c": "2026-11-24T01:02:03.000+0000"})
    [event] = await client.events("/event/Store_Visit__e")
    visit = decode_platform_event(event.payload, await client.pubsub.schema(event.schema_id))
    assert (visit.entity, visit.event_uuid or event.id) == ("Store_Visit__e", uuid)
    assert (visit.fields["Store__c"], visit.fields["Customer_Name__c"]) == ("17", None)
    assert visit.fields["Visited_At__c"] == "2026-11-24T01:02:03.000+0000"


async def test_stream_resumes_strictly_after_the_replay_id(client: Client) -> None:
    """salesforce §A2: CUSTOM starts strictly after the replay id."""
    for number in range(5):
        client.sf.create("Case", {"Subject": str(number)})
    events = await client.events(CASES, count=5)
    rest = await client.events(CASES, replay_id=events[2].replay_id, count=2)
    assert [event.replay_id for event in rest] == [event.replay_id for event in events[3:]]


async def test_many_events_come_complete_in_order_and_within_the_window() -> None:
    """salesforce §A2: with a server that sends small answers and refuses more than 100 requested events."""
    async with connected(clamp=False, batch=7) as client:
        cases = [client.sf.create("Case", {}) for _ in range(450)]
        changes = await client.changes(CASES, count=450)
        assert [change.record_id for change in changes] == cases


async def test_keepalive_carries_a_position_to_resume_from() -> None:
    """salesforce §A2: the latest_replay_id of an empty answer keeps a quiet channel within the 72 h."""
    async with connected(keepalive=0.1) as client:
        [keepalive] = await client.batches(CASES, count=0)
        assert keepalive.events == ()
        case = client.sf.create("Case", {})
        [event] = await client.events(CASES, replay_id=keepalive.latest_replay_id)
        assert decode(event.payload, await client.pubsub.schema(event.schema_id))[0].record_id == case


async def test_enriched_channel_shares_one_replay_id_among_several_events(client: Client) -> None:
    """salesforce §0.7: enrichment splits merged events."""
    client.sf.add_channel("Closed__chn", Channel(entities=("Case",), enriched={"Case": ("Subject",)}))
    cases = [client.sf.create("Case", {"Subject": "Same"}) for _ in range(3)]
    client.sf.update("Case", cases, {"Status": "Closed"})
    events = await client.events("/data/Closed__chn", count=6)
    assert len({event.replay_id for event in events[3:]}) == 1


async def test_lost_position_is_told_from_other_refusals(client: Client) -> None:
    """salesforce §0.4, §A4: one status, several causes; only a replay error loses the position."""
    client.sf.create("Case", {})
    [event] = await client.events(CASES)
    client.sf.lose_positions()
    with pytest.raises(PositionLost):
        await client.events(CASES, replay_id=event.replay_id)
    with pytest.raises(Fatal) as caught:
        await client.events("/data/NoSuchChangeEvent")
    assert not isinstance(caught.value, PositionLost)


async def test_silent_stream_is_given_up_and_the_next_one_goes_on() -> None:
    """salesforce §0.3: a stream can die without an error."""
    async with connected(keepalive=0.1) as client:
        impatient = PubSubClient(client.sf.pubsub_endpoint, False, client.tokens, idle_timeout=1.0)
        stream = impatient.subscribe(CASES, replay_id=None)
        position = (await anext(stream)).latest_replay_id
        client.sf.hang_streams()
        client.sf.create("Case", {})

        async def pass_over_keepalives() -> None:
            async for batch in stream:
                assert batch.events == ()

        with pytest.raises(Retryable, match="nothing came"):
            await pass_over_keepalives()
        await impatient.aclose()
        assert len(await client.events(CASES, replay_id=position)) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [("UNAVAILABLE", "service.unavailable", None), ("INTERNAL", "", None), ("UNAVAILABLE", "", "reset")],
)
async def test_outage_of_the_stream_is_retryable(client: Client, status: str, code: str, kind: str | None) -> None:
    """salesforce §A4."""
    fault = {"match": "rpc Subscribe", "status": status, "error_code": code, "kind": kind}
    client.sf.fail(Fault.model_validate(fault))
    with pytest.raises(Retryable):
        await client.events(CASES)
    client.sf.create("Case", {})
    assert await client.events(CASES)


async def test_old_token_ends_neither_the_stream_nor_the_schemas(client: Client) -> None:
    """salesforce §A2: an open stream outlives its token; new calls do not, so the client renews the token once."""
    client.sf.create("Case", {})
    stream = client.pubsub.subscribe(CASES, replay_id=None, preset="earliest")
    await anext(stream)
    client.sf.revoke_tokens()
    client.sf.create("Case", {})
    [event] = (await anext(stream)).events
    assert (await client.pubsub.schema(event.schema_id)).name == "CaseChangeEvent"
    await stream.aclose()
    client.sf.revoke_tokens()
    with pytest.raises(Retryable):
        await client.events(CASES)
    assert await client.events(CASES)
    assert len(client.sf.tokens) == 3


async def test_closed_stream_ends_at_salesforce(client: Client) -> None:
    client.sf.create("Case", {})
    await client.events(CASES)
    await until(lambda: not any(stream.open for stream in client.sf.streams))
