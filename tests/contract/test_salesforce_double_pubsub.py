"""Checks the Salesforce double's Pub/Sub API against contracts/salesforce.md §A, with only grpc.aio."""

import asyncio

import grpc
import pytest
from helpers.clock import Clock
from helpers.waiting import until
from salesforce_wire import CASES, PubSub, pubsub, refused, trailer

from connector.salesforce.proto import pubsub_api_pb2 as pb
from connector.sandbox.doubles.salesforce import Fault, SalesforceDouble


@pytest.mark.parametrize("missing", ["accesstoken", "instanceurl", "tenantid"])
async def test_each_call_needs_three_headers(api: PubSub, missing: str) -> None:
    """salesforce §A, §A4: without them a call gets UNAUTHENTICATED and the trailer `error-code`."""
    api.metadata = tuple(pair for pair in api.metadata if pair[0] != missing)
    error = await refused(api.subscribe())
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert trailer(error) == "service.auth.headers.invalid"
    assert "rpcId: " in error.details()


async def test_a_token_that_ends_fails_new_calls_and_spares_the_open_stream(
    sf: SalesforceDouble, api: PubSub, clock: Clock
) -> None:
    """salesforce §A2."""
    case = sf.create("Case", {"Subject": "first"})
    feed = api.subscribe()
    await feed.take(1)
    clock.now += sf.settings.token_lifetime + 1
    sf.update("Case", case, {"Subject": "second"})
    (event,) = await feed.take(1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.decode(event)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert trailer(caught.value) == "service.auth.error"


async def test_the_window_is_clamped_to_100_and_responses_are_smaller_than_requests(
    sf: SalesforceDouble, api: PubSub
) -> None:
    """salesforce §0.2, §A2: requests add up to at most 100; a response may hold fewer, and the rest stays pending."""
    sf.configure(keepalive=0.05)
    feed = api.subscribe(requested=90)
    assert (await feed.read()).pending_num_requested == 90
    await feed.request(90)
    while (pending := (await feed.read()).pending_num_requested) == 90:
        pass  # keep-alives from before the second request
    assert pending == 100
    for _ in range(130):
        sf.create("Case", {})
    responses = [await feed.answer() for _ in range(2)]
    assert [(len(each.events), each.pending_num_requested) for each in responses] == [(50, 50), (50, 0)]
    await feed.request(30)
    assert len((await feed.answer()).events) == 30


async def test_more_than_100_may_be_refused_instead_of_clamped(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §A4, §G."""
    sf.configure(clamp=False)
    error = await refused(api.subscribe(requested=101))
    assert trailer(error) == "subscription.fetch.overflow"


async def test_the_delivery_allocation_ends(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §A4, §A5."""
    sf.configure(delivery_limit=2)
    for _ in range(3):
        sf.create("Case", {})
    error = await refused(api.subscribe())
    assert (error.code(), trailer(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "subscription.limit.exceeded")


@pytest.mark.parametrize("requested", [0, -1])
async def test_num_requested_is_positive(api: PubSub, requested: int) -> None:
    """salesforce §A2, §A4."""
    error = await refused(api.subscribe(requested=requested))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert trailer(error) == "subscription.fetch.requested.events.invalid"


async def test_the_topic_of_a_stream_does_not_change(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §A2: a later topic_name may be empty; a different one is INVALID_ARGUMENT."""
    sf.create("Case", {})
    feed = api.subscribe(requested=1)
    await feed.take(1)
    await feed.request(1)
    await feed.request(1, CASES)
    await feed.request(1, "/data/ContactChangeEvent")
    error = await refused(feed)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert trailer(error) == "subscription.fetch.topic.mismatch"


async def test_replay_ids_are_ten_bytes_ordered_with_gaps_and_custom_starts_strictly_after(
    sf: SalesforceDouble, api: PubSub
) -> None:
    """salesforce §A2."""
    for number in range(20):
        sf.create("Case", {"Subject": str(number)})
    events = await api.subscribe().take(20)
    ids = [event.replay_id for event in events]
    assert all(len(replay_id) == 10 and replay_id.endswith(b"\0\0") for replay_id in ids)
    counters = [int.from_bytes(replay_id[:8], "big") for replay_id in ids]
    assert counters == sorted(set(counters))
    assert counters[-1] - counters[0] > 19
    rest = await api.subscribe(preset="CUSTOM", replay_id=ids[11]).take(8)
    assert [event.replay_id for event in rest] == ids[12:]


async def test_latest_sees_only_what_comes_after_it(sf: SalesforceDouble, api: PubSub) -> None:
    sf.create("Case", {"Subject": "before"})
    sf.configure(keepalive=0.05)
    feed = api.subscribe(preset="LATEST")
    assert not (await feed.read()).events
    sf.create("Case", {"Subject": "after"})
    (event,) = await feed.take(1)
    assert (await api.decode(event))["Subject"] == "after"


@pytest.mark.parametrize("change", ["cut", "unknown", "aged", "moved"])
async def test_a_replay_id_that_nobody_may_resume_from(
    sf: SalesforceDouble, api: PubSub, clock: Clock, change: str
) -> None:
    """salesforce §A4: ids that are invalid, older than 72 h, or from before a reset get the same error."""
    sf.configure(token_lifetime=10 * 86400)
    sf.create("Case", {})
    replay_id = (await api.subscribe().take(1))[0].replay_id
    if change == "aged":
        clock.now += 72 * 3600 + 1
        sf.create("Case", {})
    if change == "moved":
        sf.lose_positions()
    wrong = {"cut": replay_id[:7], "unknown": b"\0" * 10}.get(change, replay_id)
    async with pubsub(sf) as fresh:
        error = await refused(fresh.subscribe(preset="CUSTOM", replay_id=wrong))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert trailer(error) == "subscription.fetch.replayid.corrupted"


async def test_custom_needs_a_replay_id(api: PubSub) -> None:
    """salesforce §A4."""
    error = await refused(api.subscribe(preset="CUSTOM"))
    assert trailer(error) == "subscription.fetch.replayid.validation.failed"


async def test_earliest_reaches_back_72_hours(sf: SalesforceDouble, clock: Clock) -> None:
    """salesforce §A5."""
    sf.create("Case", {"Subject": "old"})
    clock.now += 72 * 3600 + 1
    sf.create("Case", {"Subject": "new"})
    async with pubsub(sf) as api:
        assert (await api.events())[0]["Subject"] == "new"


async def test_a_keepalive_carries_a_newer_position_that_can_be_resumed_from(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §A2: the latest_replay_id of an empty response keeps a quiet topic's position within 72 h."""
    sf.configure(keepalive=0.05)
    sf.create("Case", {"Subject": "seen"})
    feed = api.subscribe()
    (seen,) = await feed.take(1)
    keepalive = await feed.read()
    assert not keepalive.events
    assert keepalive.pending_num_requested == 99
    assert keepalive.latest_replay_id > seen.replay_id
    sf.create("Case", {"Subject": "unseen"})
    (event,) = await api.subscribe(preset="CUSTOM", replay_id=keepalive.latest_replay_id).take(1)
    assert (await api.decode(event))["Subject"] == "unseen"


async def test_a_stream_with_nothing_requested_is_closed_without_keepalives(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §0.3."""
    sf.create("Case", {})
    feed = api.subscribe(requested=1)
    assert (await feed.read()).pending_num_requested == 0
    sf.configure(keepalive=0.02, idle=0.15)
    assert await feed.read() is grpc.aio.EOF
    assert await feed.call.code() is grpc.StatusCode.OK


async def test_topics(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §A2, §B5: a topic of one entity has a schema id, a channel of several a blank one; other topics are
    NOT_FOUND.
    """
    single = await api.stub.GetTopic(pb.TopicRequest(topic_name=CASES), metadata=api.metadata)
    assert len(single.schema_id) == 22
    assert (await api.schema(single.schema_id))["name"] == "CaseChangeEvent"
    several = await api.stub.GetTopic(pb.TopicRequest(topic_name="/data/ChangeEvents"), metadata=api.metadata)
    assert not several.schema_id
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.schema("")
    assert (caught.value.code(), "can't be blank" in caught.value.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        True,
    )
    for name in ("/data/caseChangeEvent", "/data/UserChangeEvent", "/data/Nothing__chn", "/event/Nothing__e"):
        error = await refused(api.subscribe(name))
        assert (error.code(), trailer(error)) == (grpc.StatusCode.NOT_FOUND, "topic.not.found")


async def test_a_fault_breaks_a_stream_after_some_events(sf: SalesforceDouble, api: PubSub) -> None:
    for _ in range(5):
        sf.create("Case", {})
    sf.fail(Fault(match="rpc Subscribe", after=3, status="UNAVAILABLE", error_code="service.unavailable"))
    feed = api.subscribe()
    assert len(await feed.take(3)) == 3
    error = await refused(feed)
    assert (error.code(), trailer(error)) == (grpc.StatusCode.UNAVAILABLE, "service.unavailable")
    assert len(await api.subscribe().take(5)) == 5
    assert [call.status for call in sf.calls if call.what == "rpc Subscribe"] == ["UNAVAILABLE", None]


async def test_a_stream_can_fall_silent(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §0.3: no event, no keepalive, no error."""
    sf.configure(keepalive=0.02)
    feed = api.subscribe()
    await feed.read()
    sf.hang_streams(CASES)
    sf.create("Case", {})

    async def is_silent() -> bool:
        try:
            async with asyncio.timeout(0.3):
                await feed.read()
        except TimeoutError:
            return True
        return False

    await until(is_silent)  # after the keep-alives that were already sent
    assert sf.streams[0].hung
    assert sf.streams[0].delivered == 0


async def test_get_schema_can_be_unavailable_while_the_stream_is_well(sf: SalesforceDouble, api: PubSub) -> None:
    sf.create("Case", {})
    sf.fail(Fault(match="rpc GetSchema", status="UNAVAILABLE", error_code="schema.api.unavailable"))
    (event,) = await api.subscribe().take(1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.decode(event)
    assert trailer(caught.value) == "schema.api.unavailable"
    await api.decode(event)
