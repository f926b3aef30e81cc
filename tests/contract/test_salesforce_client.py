"""Our Salesforce client against the double, over real sockets; each test names the fact that it holds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from connector.doubles.salesforce import Channel, Fault, SalesforceDouble, Settings
from connector.errors import Fatal, Rejected, Retryable
from connector.salesforce import (
    Batch,
    ClientCredentials,
    DecodedChange,
    JwtBearer,
    PositionLost,
    PubSubClient,
    RawEvent,
    RestClient,
    TokenSource,
    client_of,
    decode,
    decode_platform_event,
)

CASES = "/data/CaseChangeEvent"


@dataclass
class Client:
    """Everything that the connector uses of our client, connected to one double."""

    sf: SalesforceDouble
    tokens: TokenSource
    rest: RestClient
    pubsub: PubSubClient

    async def batches(self, channel: str, *, replay_id: bytes | None = None, count: int = 1) -> list[Batch]:
        """The first answers of a new stream, from the earliest event on, until they hold `count` events."""
        found: list[Batch] = []
        async with asyncio.timeout(10):
            stream = self.pubsub.subscribe(channel, replay_id=replay_id, preset="earliest")
            async with aclosing(stream):
                async for batch in stream:
                    found.append(batch)
                    if sum(len(one.events) for one in found) >= count:
                        break
        return found

    async def events(self, channel: str, *, replay_id: bytes | None = None, count: int = 1) -> list[RawEvent]:
        return [event for one in await self.batches(channel, replay_id=replay_id, count=count) for event in one.events]

    async def changes(self, channel: str, *, count: int = 1) -> list[DecodedChange]:
        found: list[DecodedChange] = []
        for event in await self.events(channel, count=count):
            found += decode(event.payload, await self.pubsub.schema(event.schema_id))
        return found


@asynccontextmanager
async def connected(**settings: object) -> AsyncIterator[Client]:
    async with SalesforceDouble(settings=Settings.model_validate(settings)) as sf, httpx.AsyncClient() as http:
        tokens = ClientCredentials(http, sf.login_url, client_id=sf.client_id, client_secret=sf.client_secret)
        pubsub = PubSubClient(sf.pubsub_endpoint, False, tokens, idle_timeout=5.0)
        rest = RestClient(tokens, http, client_name="pisano-connector", calls_per_second=1000)
        try:
            yield Client(sf, tokens, rest, pubsub)
        finally:
            await pubsub.aclose()


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
    """salesforce §B2: after flattening, an event and a query speak of the same names and values."""
    case = client.sf.create("Case", {"Subject": "Broken", "Purchase_Date__c": "2026-11-01", "Order_Total__c": 12.5})
    [change] = await client.changes(CASES)
    [row] = await client.rest.select("Case", change.fields, [case])
    assert {name: row[name] for name in change.fields} == dict(change.fields)


async def test_merged_event_is_exploded(client: Client) -> None:
    """salesforce §0.5: one event for all records that the same thing happened to."""
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
    """salesforce §B5: field positions shift, so bitmaps count by each event's own schema."""
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
    """salesforce §A5: the EventUuid tells duplicates."""
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
    """salesforce §A2: with a server that refuses more than 100 events owed, in small answers."""
    async with connected(clamp=False, batch=7) as client:
        cases = [client.sf.create("Case", {}) for _ in range(450)]
        changes = await client.changes(CASES, count=450)
        assert [change.record_id for change in changes] == cases


async def test_keepalive_carries_a_position_to_resume_from() -> None:
    """salesforce §A2: an empty answer's latest_replay_id keeps a quiet channel inside the 72 h."""
    async with connected(keepalive=0.1) as client:
        [keepalive] = await client.batches(CASES, count=0)
        assert keepalive.events == ()
        case = client.sf.create("Case", {})
        [event] = await client.events(CASES, replay_id=keepalive.latest_replay_id)
        assert decode(event.payload, await client.pubsub.schema(event.schema_id))[0].record_id == case


async def test_enriched_channel_shares_one_replay_id_among_several_events(client: Client) -> None:
    """salesforce §0.7: enrichment takes merged events apart."""
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
    """salesforce §0.3: a stream can die without a word."""
    async with connected(keepalive=0.1) as client:
        impatient = PubSubClient(client.sf.pubsub_endpoint, False, client.tokens, idle_timeout=0.4)
        stream = impatient.subscribe(CASES, replay_id=None)
        position = (await anext(stream)).latest_replay_id
        client.sf.hang_streams()
        client.sf.create("Case", {})
        with pytest.raises(Retryable, match="nothing came"):
            await anext(stream)
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
    """salesforce §A2: an open stream outlives its token; new calls do not, so the token is renewed once."""
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
    async with asyncio.timeout(5):
        while any(stream.open for stream in client.sf.streams):  # noqa: ASYNC110 - the double has no event for it
            await asyncio.sleep(0.01)


async def test_our_write_comes_back_with_our_name(client: Client) -> None:
    """salesforce §0.9: Sforce-Call-Options comes back in changeOrigin."""
    case = client.sf.create("Case", {})
    [result] = await client.rest.update("Case", [{"Id": case, "Status": "Reopened"}])
    assert (result.success, result.id) == (True, case)
    by_a_user, by_us = await client.changes(CASES, count=2)
    assert client_of(by_a_user.change_origin) is None
    assert client_of(by_us.change_origin) == "pisano-connector"


async def test_upsert_creates_once_and_updates_after(client: Client) -> None:
    """salesforce §D2: results in order, one bad record leaves its neighbours alone."""
    records = [
        {"External_Key__c": "k1", "Subject": "one"},
        {"External_Key__c": "k2", "Status": "No such status"},
        {"External_Key__c": "k3", "Subject": "three"},
    ]
    first = await client.rest.upsert("Case", "External_Key__c", records)
    again = await client.rest.upsert("Case", "External_Key__c", records)
    assert [result.created for result in first] == [True, None, True]
    assert [result.created for result in again] == [False, None, False]
    assert isinstance(first[1].error, Rejected)
    assert first[1].error.code == "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
    assert first[0].id == again[0].id
    assert len(client.sf.records("Case")) == 2


async def test_locked_record_alone_is_retryable(client: Client) -> None:
    """salesforce §D4: UNABLE_TO_LOCK_ROW."""
    cases = [client.sf.create("Case", {}) for _ in range(2)]
    client.sf.lock(cases[0])
    locked, free = await client.rest.update("Case", [{"Id": case, "Priority": "High"} for case in cases])
    assert isinstance(locked.error, Retryable)
    assert free.success


async def test_query_reads_all_pages_of_many_ids() -> None:
    """salesforce §D2, §D3: pages are followed, and hundreds of ids fit into the URIs."""
    async with connected(page=50) as client:
        cases = [client.sf.create("Case", {"Subject": str(number)}) for number in range(450)]
        rows = await client.rest.select("Case", ["Subject"], cases)
        assert {row["Id"]: row["Subject"] for row in rows} == {case: str(n) for n, case in enumerate(cases)}


async def test_text_in_a_query_stays_a_text(client: Client) -> None:
    """An id that tries to widen the query is one wrong id, whole."""
    client.sf.create("Case", {})
    with pytest.raises(Rejected, match="invalid ID field: x'"):
        await client.rest.select("Case", ["Id"], ["x') OR (Id != '"])


async def test_query_for_a_field_that_is_not_there_is_fatal(client: Client) -> None:
    """salesforce §D4: the configuration names it, no record does."""
    with pytest.raises(Fatal, match="INVALID_FIELD"):
        await client.rest.select("Case", ["Nowhere__c"], ["500000000000000AAA"])


async def test_token_that_ended_is_renewed_under_a_rest_call(client: Client) -> None:
    """salesforce §D4: 401 INVALID_SESSION_ID."""
    assert "DailyApiRequests" in await client.rest.limits()
    client.sf.revoke_tokens()
    assert (await client.rest.describe("Case"))["name"] == "Case"
    assert len(client.sf.tokens) == 2


async def test_exhausted_org_asks_for_a_long_pause() -> None:
    """salesforce §D4: 403 REQUEST_LIMIT_EXCEEDED is an outage, not a refusal."""
    async with connected(api_limit=0) as client:
        with pytest.raises(Retryable) as caught:
            await client.rest.limits()
        assert caught.value.retry_after == 300


async def test_answer_that_never_comes_is_retryable_and_the_repeat_is_harmless(client: Client) -> None:
    """A write whose answer was lost is made again: upserts and updates are keyed."""
    client.sf.fail(Fault(match="PATCH", kind="reset", done=True))
    record = {"External_Key__c": "k1", "Subject": "one"}
    with pytest.raises(Retryable):
        await client.rest.upsert("Case", "External_Key__c", [record])
    [result] = await client.rest.upsert("Case", "External_Key__c", [record])
    assert (result.success, result.created) == (True, False)


async def test_wrong_secret_is_fatal_and_jwt_bearer_logs_in() -> None:
    """salesforce §D1."""
    async with SalesforceDouble() as sf, httpx.AsyncClient() as http:
        wrong = ClientCredentials(http, sf.login_url, client_id=sf.client_id, client_secret="wrong")
        with pytest.raises(Fatal, match="invalid_client"):
            await wrong.token()
        bearer = JwtBearer(
            http, sf.login_url, client_id=sf.client_id, username=sf.username, private_key=sf.jwt_private_key
        )
        assert (await bearer.token()).org_id == sf.org_id
