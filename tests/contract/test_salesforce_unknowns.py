"""Undocumented behaviour of Salesforce (salesforce §G): the double can do either, and our client handles both."""

from collections.abc import AsyncIterator

import grpc
import jwt
import pytest
from helpers.plain_http import plain_http
from helpers.waiting import PATIENCE
from salesforce_wire import CASES, PubSub, named, pubsub, refused

from connector.salesforce import ClientCredentials, PubSubClient, decode
from connector.sandbox.doubles.salesforce import SalesforceDouble


@pytest.fixture
async def sf() -> AsyncIterator[SalesforceDouble]:
    async with SalesforceDouble() as double:
        yield double


@pytest.fixture
async def api(sf: SalesforceDouble) -> AsyncIterator[PubSub]:
    async with pubsub(sf) as api:
        yield api


@pytest.fixture
async def client(sf: SalesforceDouble) -> AsyncIterator[PubSubClient]:
    async with plain_http() as http:
        tokens = ClientCredentials(http, sf.login_url, client_id=sf.client_id, client_secret=sf.client_secret)
        client = PubSubClient(sf.pubsub_endpoint, False, tokens, idle_timeout=PATIENCE)
        yield client
        await client.aclose()


@pytest.mark.parametrize("events", [True, False])
async def test_an_update_that_changes_nothing(sf: SalesforceDouble, api: PubSub, events: bool) -> None:
    """Such an update makes an event with only its time stamp, or no event."""
    case = sf.create("Case", {"Subject": "Late"})
    sf.configure(noop_events=events)
    sf.update("Case", case, {"Subject": "Late"})
    sf.update("Case", case, {"Subject": "Found"})
    _, *updates = await api.subscribe().take(2 + events)
    schema = await api.schema(updates[0].event.schema_id)
    headers = [(await api.decode(update))["ChangeEventHeader"] for update in updates]
    names = [named(schema, header["changedFields"]) for header in headers]
    assert names == [{"LastModifiedDate"}] * events + [{"Subject", "LastModifiedDate"}]


@pytest.mark.parametrize("all_of_them", [True, False])
async def test_nulled_and_diffed_fields_in_changed_fields(
    sf: SalesforceDouble, api: PubSub, client: PubSubClient, all_of_them: bool
) -> None:
    sf.configure(changed_holds_all=all_of_them)
    text = "\n".join(f"line {number} of a long description" for number in range(60))
    case = sf.create("Case", {"Subject": "Late", "Reason": "Other", "Description": text})
    sf.update("Case", case, {"Subject": "Found", "Reason": None, "Description": text + "\nthe end"})
    _, update = await api.subscribe().take(2)
    header = (await api.decode(update))["ChangeEventHeader"]
    schema = await api.schema(update.event.schema_id)
    names = [named(schema, header[bitmaps]) for bitmaps in ("changedFields", "nulledFields", "diffFields")]
    also = {"Reason", "Description"} if all_of_them else set()
    assert names == [{"Subject", "LastModifiedDate"} | also, {"Reason"}, {"Description"}]
    (change,) = decode(update.event.payload, await client.schema(update.event.schema_id))
    assert set(change.changed_fields) == {"Subject", "LastModifiedDate", "Reason", "Description"}
    assert (change.nulled_fields, change.diff_fields.keys()) == (("Reason",), {"Description"})


@pytest.mark.parametrize("named_there", [True, False])
async def test_the_latest_replay_id_of_a_response_with_events(
    sf: SalesforceDouble, client: PubSubClient, named_there: bool
) -> None:
    sf.configure(latest_with_events=named_there, batch=2)
    cases = [sf.create("Case", {"Subject": str(number)}) for number in range(4)]
    events = []
    stream = client.subscribe(CASES, replay_id=None, preset="earliest")
    async for batch in stream:
        assert batch.latest_replay_id == (batch.events[-1].replay_id if named_there else b"")
        events += batch.events
        if len(events) == len(cases):
            break
    await stream.aclose()
    schema = await client.schema(events[0].schema_id)
    assert [decode(event.payload, schema)[0].record_id for event in events] == cases


@pytest.mark.parametrize("status", ["OK", "INVALID_ARGUMENT"])
async def test_how_an_idle_stream_is_closed(sf: SalesforceDouble, api: PubSub, status: str) -> None:
    sf.create("Case", {})
    feed = api.subscribe(requested=1)
    await feed.answer()
    sf.configure(idle=0.05, idle_status=status)
    if status == "OK":
        assert await feed.read() is grpc.aio.EOF
    else:
        assert (await refused(feed)).code() is grpc.StatusCode[status]


@pytest.mark.parametrize("accepted", [True, False])
async def test_the_my_domain_as_audience_of_a_jwt(sf: SalesforceDouble, accepted: bool) -> None:
    sf.configure(my_domain_audience=accepted)
    claims = {"iss": sf.client_id, "sub": sf.username, "aud": sf.login_url, "exp": int(sf.clock()) + 180}
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": jwt.encode(claims, sf.jwt_private_key, algorithm="RS256"),
    }
    async with plain_http() as http:
        answer = await http.post(f"{sf.login_url}/services/oauth2/token", data=form)
    assert answer.status_code == (200 if accepted else 400)
