"""Checks Publish, PublishStream and ManagedSubscribe against contracts/salesforce.md §A, with only grpc.aio."""

import io
from typing import Any

import fastavro
import grpc
import pytest
from salesforce_wire import CASES, START, PubSub, trailer

from connector.salesforce.proto import pubsub_api_pb2 as pb
from connector.sandbox.doubles.salesforce import SalesforceDouble

VISITS = "/event/Store_Visit__e"


async def visit(api: PubSub, store: str | None, event_id: str = "e") -> pb.ProducerEvent:
    topic = await api.stub.GetTopic(pb.TopicRequest(topic_name=VISITS), metadata=api.metadata)
    out = io.BytesIO()
    record = {"CreatedDate": 0, "CreatedById": "x", "Store__c": store, "Visited_At__c": 1_795_500_000_000}
    fastavro.schemaless_writer(out, fastavro.parse_schema(await api.schema(topic.schema_id)), record)
    return pb.ProducerEvent(id=event_id, schema_id=topic.schema_id, payload=out.getvalue())


async def publish(api: PubSub, topic: str, *events: pb.ProducerEvent) -> Any:
    return await api.stub.Publish(pb.PublishRequest(topic_name=topic, events=events), metadata=api.metadata)


async def test_each_published_event_has_its_own_result(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §A1: a bad event fails alone. The org sets who created it, and when."""
    good, bad = await visit(api, "Izmir", "one"), await visit(api, None, "two")
    foreign = pb.ProducerEvent(id="three", schema_id="x" * 22, payload=good.payload)
    broken = pb.ProducerEvent(id="four", schema_id=good.schema_id, payload=b"\xff")
    results = (await publish(api, VISITS, good, bad, foreign, broken)).results
    assert [(each.correlation_key, each.HasField("error")) for each in results] == [
        ("one", False),
        ("two", True),
        ("three", True),
        ("four", True),
    ]
    (event,) = await api.subscribe(VISITS).take(1)
    assert (event.event.id, event.replay_id) == ("one", results[0].replay_id)
    found = await api.decode(event)
    assert (found["Store__c"], found["Visited_At__c"]) == ("Izmir", 1_795_500_000_000)
    assert (found["CreatedById"], found["CreatedDate"]) == (sf.user_id, int(START) * 1000)


@pytest.mark.parametrize(
    ("topic", "count", "code"),
    [
        ("", 1, "publish.topic.validation.empty"),
        (VISITS, 0, "publish.event.count.invalid"),
        (VISITS, 201, "publish.event.count.invalid"),
        (CASES, 1, "topic.meta.permission"),
        ("/event/Nothing__e", 1, "topic.not.found"),
    ],
)
async def test_a_wrong_request_publishes_nothing(
    sf: SalesforceDouble, api: PubSub, topic: str, count: int, code: str
) -> None:
    """salesforce §A4, §A5: change events are the org's own, and a request has at most 200 events."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await publish(api, topic, *[await visit(api, "x")] * count)
    assert trailer(caught.value) == code
    assert sf.events("Store_Visit__e") == []


async def test_a_publish_stream_keeps_its_topic(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §A4: later requests may leave the topic out, but not change it."""
    call, event = api.stub.PublishStream(metadata=api.metadata), await visit(api, "x")
    for topic in (VISITS, ""):
        await call.write(pb.PublishRequest(topic_name=topic, events=[event]))
        assert len((await call.read()).results) == 1
    await call.write(pb.PublishRequest(topic_name=CASES, events=[event]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert trailer(caught.value) == "publish.topic.mismatch"
    assert len(sf.events("Store_Visit__e")) == 2


class Managed:
    """A stream of a managed subscription."""

    def __init__(self, api: PubSub) -> None:
        self.call = api.stub.ManagedSubscribe(metadata=api.metadata)

    async def ask(self, **request: Any) -> Any:
        await self.call.write(pb.ManagedFetchRequest(**request))
        return await self.call.read()

    async def commit(self, replay_id: bytes) -> Any:
        asked = pb.CommitReplayRequest(commit_request_id="c", replay_id=replay_id)
        return (await self.ask(commit_replay_id_request=asked)).commit_response


async def test_a_managed_subscription_goes_on_behind_its_last_commit(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §A3: a wrong commit does not end the stream, and only one client has it at a time."""
    key = sf.add_managed_subscription("Visits", VISITS, "EARLIEST")
    for store in ("one", "two", "three"):
        sf.publish("Store_Visit__e", {"Store__c": store})
    first = Managed(api)
    events = (await first.ask(developer_name="Visits", num_requested=2)).events
    assert (await first.commit(b"\0" * 10)).HasField("error")
    assert not (await first.commit(events[1].replay_id)).HasField("error")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await Managed(api).ask(subscription_id=key, num_requested=1)
    assert trailer(caught.value) == "managed.subscription.already.active"
    sf.break_streams()
    with pytest.raises(grpc.aio.AioRpcError):
        await first.call.read()
    (event,) = (await Managed(api).ask(subscription_id=key, num_requested=1)).events
    assert (await api.decode(event))["Store__c"] == "three"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({}, "id.or.developer.name.empty"),
        ({"subscription_id": "x"}, "subscription.id.invalid"),
        ({"developer_name": "Nothing"}, "developer.name.not.found"),
        ({"developer_name": "V", "commit_replay_id_request": {}}, "fetch.request.commit.request.restricted"),
    ],
)
async def test_a_wrong_first_request_of_a_managed_subscription(
    sf: SalesforceDouble, api: PubSub, request_: dict[str, Any], code: str
) -> None:
    """salesforce §A3, §A4."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await Managed(api).ask(num_requested=1, **request_)
    assert trailer(caught.value) == f"managed.subscription.{code}"
