"""The Salesforce double under load and with faults: many streams, broken streams, an outage; with only grpc.aio."""

import asyncio
import time

import grpc
import pytest
from helpers.waiting import until
from salesforce_wire import CASES, Feed, PubSub, pubsub, refused, request, rest, trailer

from connector.salesforce.proto import pubsub_api_pb2 as pb
from connector.sandbox.doubles.salesforce import Fault, SalesforceDouble

# salesforce §A4: the codes of Subscribe, GetSchema and GetTopic
CODES = [
    "service.unavailable",
    "service.auth.error",
    "service.auth.headers.invalid",
    "service.auth.refresh.invalid",
    "service.protection.triggered",
    "service.protection.stream.limit.triggered",
    "service.tenant.license",
    "concurrent.client.limit.exceeded",
    "topic.not.found",
    "topic.meta.permission",
    "schema.meta.permission",
    "topic.api.unavailable",
    "schema.api.unavailable",
    "topic.validation.empty",
    "schema.validation.failed",
    "subscription.fetch.replayid.corrupted",
    "subscription.fetch.replayid.validation.failed",
    "subscription.fetch.replay.repeated",
    "subscription.limit.exceeded",
    "subscription.fetch.overflow",
    "subscription.fetch.requested.events.invalid",
    "subscription.fetch.topic.mismatch",
    "subscription.fetch.request.invalid",
    "subscription.topic.cannot.subscribe",
    "subscription.internal.error",
]


async def read(feed: Feed, count: int) -> list[bytes]:
    """The replay ids of `count` events. Requests as many new events as arrive."""
    found: list[bytes] = []
    while len(found) < count:
        events = (await feed.read()).events
        found += [event.replay_id for event in events]
        await feed.request(len(events))
    return found


async def test_every_error_code_can_be_made_to_happen(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §A4: one status has several causes, and the trailer says which."""
    for code in CODES:
        sf.fail(Fault(match="rpc", status="INVALID_ARGUMENT", error_code=code))
        error = await refused(api.subscribe())
        assert (error.code(), trailer(error)) == (grpc.StatusCode.INVALID_ARGUMENT, code)


async def test_a_stream_is_reset_in_the_middle(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §A4: gRPC shows a RST_STREAM as UNAVAILABLE, without an error-code."""
    for _ in range(5):
        sf.create("Case", {})
    sf.fail(Fault(match="rpc Subscribe", kind="reset", after=3))
    feed = api.subscribe()
    assert len(await feed.take(3)) == 3
    error = await refused(feed)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "RST_STREAM" in error.details()
    assert "error-code" not in dict(error.trailing_metadata())


async def test_an_http_fault_spares_the_streams_and_a_grpc_fault_the_rest(sf: SalesforceDouble, api: PubSub) -> None:
    """A status belongs to one of the two protocols, no matter what `match` says."""
    sf.create("Case", {})
    sf.fail(Fault(match=".", status=503))
    assert len(await api.subscribe().take(1)) == 1
    sf.faults.clear()
    sf.fail(Fault(match=".", status="UNAVAILABLE"))
    async with rest(sf) as http:
        assert (await http.get("/services/data/v68.0/limits")).status_code == 200
    assert len(sf.faults.waiting) == 1


@pytest.mark.parametrize("wrong", ["accesstoken", "instanceurl", "tenantid"])
async def test_every_call_checks_what_its_headers_say(api: PubSub, wrong: str) -> None:
    """salesforce §A: token, instance and org belong together, on every RPC."""
    api.metadata = tuple((name, "wrong" if name == wrong else value) for name, value in api.metadata)
    topic, schema = pb.TopicRequest(topic_name=CASES), pb.SchemaRequest(schema_id="x")
    for call in (api.stub.GetTopic(topic, metadata=api.metadata), api.stub.GetSchema(schema, metadata=api.metadata)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert trailer(caught.value) == "service.auth.error"
    assert trailer(await refused(api.subscribe())) == "service.auth.error"


async def test_later_presets_are_ignored(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §A2: the first request decides where a stream begins."""
    for _ in range(3):
        sf.create("Case", {})
    feed = api.subscribe(requested=1)
    (first,) = await feed.take(1)
    await feed.call.write(pb.FetchRequest(num_requested=1, replay_preset=pb.ReplayPreset.Value("EARLIEST")))
    (second,) = await feed.take(1)
    assert second.replay_id > first.replay_id


async def test_a_response_stays_below_3_mb(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §A2: this holds for any request, so that a response never reaches gRPC's default limit of 4 MB."""
    sf.configure(batch=100)
    for number in range(40):
        sf.create("Survey_Response__c", {"Pisano_Id__c": str(number), "Raw__c": "x" * 131_072})
    feed = api.subscribe("/data/Survey_Response__ChangeEvent")
    sizes = [response.ByteSize() for response in (await feed.read(), await feed.read())]
    assert 2_500_000 < max(sizes) < 3_000_000


async def test_the_allocation_is_not_overdrawn_by_reconnecting(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §A4, §A5: the org delivers no event beyond it, no matter how often a client asks."""
    sf.configure(delivery_limit=2)
    for _ in range(5):
        sf.create("Case", {})
    assert len(await api.subscribe().take(2)) == 2
    for _ in range(2):
        error = await refused(api.subscribe())
        assert trailer(error) == "subscription.limit.exceeded"
    assert sf.delivered == 2


def block(seconds: float) -> None:
    """Blocks the whole loop, so that two timers become due at once."""
    time.sleep(seconds)


async def test_a_keepalive_never_passes_over_an_event(sf: SalesforceDouble, api: PubSub) -> None:
    """The position in a keepalive covers only delivered events. Here an event and a keepalive are due at once."""
    sf.configure(keepalive=0.1)
    feed = api.subscribe(preset="LATEST")
    await feed.read()
    loop = asyncio.get_running_loop()
    loop.call_later(0.11, sf.create, "Case", {})
    loop.call_soon(block, 0.15)
    response = await feed.read()
    while not response.events:
        assert int.from_bytes(response.latest_replay_id[:8], "big") < sf.log.entries[-1].number
        response = await feed.read()
    assert len(sf.events()) == 1


async def test_thousands_of_events_reach_each_of_several_subscribers_in_order(
    sf: SalesforceDouble, api: PubSub
) -> None:
    """On streams that begin before the events, and on one that begins after them."""
    count = 2000
    early = [asyncio.create_task(read(api.subscribe(), count)) for _ in range(3)]
    await until(lambda: len(sf.streams) == 3)
    for number in range(count):
        sf.create("Case", {"Subject": str(number)})
        if number % 100 == 0:
            await asyncio.sleep(0)
    published = [event.replay_id for event in sf.events()]
    for found in [*await asyncio.gather(*early), await read(api.subscribe(), count)]:
        assert [replay_id.hex() for replay_id in found] == published


async def test_streams_that_are_cancelled_leave_nothing_behind(sf: SalesforceDouble, api: PubSub) -> None:
    """A client may cancel at any time: before a request, during delivery, in silence. The other streams go on."""
    for _ in range(50):
        sf.create("Case", {})
    witness = api.subscribe(requested=20)
    await witness.take(20)
    sf.fail(Fault(match="rpc Subscribe", kind="hang", after=1, times=10))
    feeds = [api.subscribe() for _ in range(20)]
    await asyncio.gather(*(feed.take(1) for feed in feeds))
    unasked = [api.stub.Subscribe(metadata=api.metadata) for _ in range(5)]
    for call in [*unasked, *(feed.call for feed in feeds)]:
        call.cancel()
    await until(lambda: sum(stream.open for stream in sf.streams) == len(sf.log.listeners) == 1)
    await witness.request(30)
    assert len(await witness.take(30)) == 30


async def test_after_an_outage_it_is_back_on_the_same_ports_with_all_that_it_knew() -> None:
    """Positions, records and tokens stay valid; streams break; during the outage nothing listens on the ports."""
    sf = SalesforceDouble()
    async with sf:
        addresses = sf.login_url, sf.pubsub_endpoint
        sf.create("Case", {"Subject": "before"})
        async with pubsub(sf) as api:
            feed = api.subscribe()
            (before,) = await feed.take(1)
            broken = asyncio.create_task(refused(feed))
            await sf.__aexit__()
            assert (await broken).code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
            assert (await refused(api.subscribe())).code() is grpc.StatusCode.UNAVAILABLE
            sf.create("Case", {"Subject": "meanwhile"})
            await sf.__aenter__()
            assert (sf.login_url, sf.pubsub_endpoint) == addresses
        async with pubsub(sf) as api:
            again = api.stub.Subscribe(
                metadata=api.metadata, wait_for_ready=True
            )  # gRPC waits a little between its tries
            (meanwhile,) = await Feed(again, request(CASES, 1, "CUSTOM", before.replay_id)).take(1)
            assert (await api.decode(meanwhile))["Subject"] == "meanwhile"


@pytest.mark.parametrize("taken", ["rest_port", "pubsub_port"])
async def test_a_port_that_is_taken_is_an_oserror_and_frees_the_other(sf: SalesforceDouble, taken: str) -> None:
    ports = {
        "rest_port": int(sf.login_url.rpartition(":")[2]),
        "pubsub_port": int(sf.pubsub_endpoint.rpartition(":")[2]),
    }
    with pytest.raises(OSError, match=str(ports[taken])):
        await SalesforceDouble(**{taken: ports[taken]}).__aenter__()
