"""The Pub/Sub API: its six calls (salesforce §A)."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import grpc

from connector.salesforce.proto import pubsub_api_pb2 as pb
from connector.salesforce.proto import pubsub_api_pb2_grpc
from connector.sandbox.doubles.salesforce import ids, publishing
from connector.sandbox.doubles.salesforce.avro_events import event_name
from connector.sandbox.doubles.salesforce.managed import ManagedStream, ManagedSubscriptions
from connector.sandbox.doubles.salesforce.model import Call, Fault
from connector.sandbox.doubles.salesforce.state import State
from connector.sandbox.doubles.salesforce.subscription import RefusedError, Subscription, Topic, invalid

_PREFIX = "sfdc.platform.eventbus.grpc."
_HEADERS = ("accesstoken", "instanceurl", "tenantid")
_UNAUTHENTICATED = "An authentication exception occurred. Provide valid authentication via metadata headers."


class PubSub(pubsub_api_pb2_grpc.PubSubServicer):
    """Every call needs the three headers. An expired token does not end an open stream."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._subscriptions: list[Subscription] = []
        self._managed = ManagedSubscriptions(state)
        self._active: set[str] = set()  # ids of managed subscriptions with a client

    def open(self, topic: str | None) -> list[Subscription]:
        """All open subscriptions, or those of a topic."""
        return [one for one in self._subscriptions if topic in {None, one.stream.topic}]

    async def GetTopic(self, request: pb.TopicRequest, context: Any) -> pb.TopicInfo:  # noqa: N802 - the proto's name
        async with self._call(context, f"GetTopic {request.topic_name}"):
            topic = self._topic(request.topic_name)
            return pb.TopicInfo(
                topic_name=topic.name,
                tenant_guid=self._state.org_id,
                can_publish=topic.name.startswith("/event/"),
                can_subscribe=True,
                schema_id=topic.schema_id,
                rpc_id=str(uuid.uuid4()),
            )

    async def GetSchema(self, request: pb.SchemaRequest, context: Any) -> pb.SchemaInfo:  # noqa: N802 - the proto's name
        async with self._call(context, "GetSchema"):
            if not request.schema_id:
                raise invalid("schema.validation.failed", "The schema ID can't be blank.")
            for versions in self._state.store.schemas.values():
                for schema in versions:
                    if schema.schema_id == request.schema_id:
                        return pb.SchemaInfo(
                            schema_json=schema.json, schema_id=schema.schema_id, rpc_id=str(uuid.uuid4())
                        )
            raise invalid("schema.validation.failed", f"There is no schema {request.schema_id}.")

    async def Subscribe(self, requests: AsyncIterator[pb.FetchRequest], context: Any) -> None:  # noqa: N802 - the proto's name
        first = await self._next(requests)  # before any refusal: grpc.aio may lose its reason if the client is writing
        if first is None:
            return
        async with self._call(context, "Subscribe") as fault:
            subscription = Subscription(self._state, self._topic(first.topic_name), first)
            await self._serve(subscription, requests, context.write, fault)

    async def _serve(
        self, subscription: Subscription, requests: AsyncIterator[pb.FetchRequest], write: Any, fault: Fault | None
    ) -> None:
        if fault is not None:
            subscription.break_after(fault.after, None if fault.kind == "hang" else _refusal(fault))
        self._subscriptions.append(subscription)
        self._state.streams.append(subscription.stream)
        self._state.log.listeners.add(subscription.wake)
        reader = asyncio.create_task(subscription.read(requests))
        try:
            await subscription.deliver(write)
        finally:
            reader.cancel()
            subscription.stream.open = False
            self._subscriptions.remove(subscription)
            self._state.log.listeners.discard(subscription.wake)

    async def ManagedSubscribe(self, requests: AsyncIterator[pb.ManagedFetchRequest], context: Any) -> None:  # noqa: N802 - the proto's name
        first = await self._next(requests)
        if first is None:
            return
        async with self._call(context, "ManagedSubscribe") as fault:
            found = self._managed.find(first)
            if found.id in self._active:
                raise invalid("managed.subscription.already.active", f"{found.developer_name} has a client already.")
            topic, start = self._topic(found.topic), self._managed.start(found, first.num_requested)
            stream = ManagedStream(requests, context.write, lambda asked: self._managed.commit(found, asked))
            self._active.add(found.id)
            try:
                await self._serve(Subscription(self._state, topic, start), stream.fetches(), stream.deliver, fault)
            finally:
                self._active.discard(found.id)

    async def Publish(self, request: pb.PublishRequest, context: Any) -> pb.PublishResponse:  # noqa: N802 - the proto's name
        async with self._call(context, "Publish"):
            return self._published(publishing.topic_of(request.topic_name), request)

    async def PublishStream(self, requests: AsyncIterator[pb.PublishRequest], context: Any) -> None:  # noqa: N802 - the proto's name
        request, topic = await self._next(requests), ""
        if request is None:
            return
        async with self._call(context, "PublishStream"):
            while request is not None:
                topic = publishing.topic_of(request.topic_name, topic)
                await context.write(self._published(topic, request))
                request = await self._next(requests)

    def _published(self, topic: str, request: pb.PublishRequest) -> pb.PublishResponse:
        event = self._topic(topic).entities[0] if topic.startswith("/event/") else ""
        return publishing.publish(self._state, event, request)

    async def _next(self, requests: AsyncIterator[Any]) -> Any:
        """The next request, None when the client ends the stream or sends nothing for too long."""
        try:
            async with asyncio.timeout(self._state.settings.idle):
                return await anext(aiter(requests), None)
        except TimeoutError:
            return None

    @asynccontextmanager
    async def _call(self, context: Any, name: str) -> AsyncIterator[Fault | None]:
        """Remembers the call and answers any error. Yields the fault that must still happen, or None."""
        state, what = self._state, f"rpc {name}"
        call = Call(at=state.clock(), what=what)
        state.calls.append(call)
        try:
            self._authenticate(context)
            fault = await self._suffer(state.faults.take(what))
            yield fault
            call.status = "OK"
        except RefusedError as refusal:
            call.status, rpc_id = refusal.status, str(uuid.uuid4())  # set first: the client may check at once
            trailer = (("error-code", _PREFIX + refusal.code), ("rpc-id", rpc_id)) if refusal.code else ()
            await context.abort(grpc.StatusCode[call.status], f"{refusal.message} rpcId: {rpc_id}", trailer)
        finally:
            call.status = call.status or "CANCELLED"

    def _authenticate(self, context: Any) -> None:
        given = {key: str(value) for key, value in context.invocation_metadata() or ()}
        missing = [name for name in _HEADERS if not given.get(name)]
        if missing:
            raise RefusedError("UNAUTHENTICATED", "service.auth.headers.invalid", _UNAUTHENTICATED)
        token = self._state.valid_token(given["accesstoken"])
        instance = urlsplit(given["instanceurl"]).netloc
        if (
            token is None
            or instance != urlsplit(token.instance_url).netloc
            or ids.normal(given["tenantid"]) != self._state.org_id
        ):
            raise RefusedError("UNAUTHENTICATED", "service.auth.error", _UNAUTHENTICATED)

    async def _suffer(self, fault: Fault | None) -> Fault | None:
        if fault is None:
            return None
        await self._state.sleep(fault.delay)
        if fault.after:
            return fault
        if fault.kind == "hang":
            await self._state.stopping.wait()
        if fault.kind is not None or fault.status is not None:
            raise _refusal(fault)
        return None

    def _topic(self, name: str) -> Topic:
        if not name:
            raise invalid("topic.validation.empty", "The topic name can't be blank.")
        store = self._state.store
        if name == "/data/ChangeEvents":
            return Topic(name, tuple(store.cdc))
        for entity in store.cdc:
            if name == f"/data/{event_name(entity)}":
                return Topic(name, (entity,), store.schemas[entity][-1].schema_id)
        kind, _, rest = name.removeprefix("/").partition("/")
        if kind == "data" and rest in self._state.channels:
            channel = self._state.channels[rest]
            return Topic(name, channel.entities, "", channel.enriched)
        if kind == "event" and rest.endswith("__e") and rest in store.objects:
            return Topic(name, (rest,), store.schemas[rest][-1].schema_id)
        raise RefusedError(
            "NOT_FOUND",
            "topic.not.found",
            f"The topic information for org CORE/prod/{self._state.org_id} and topic {name} not found."
            " Ensure the topic name is correct and that the topic exists.",
        )


def _refusal(fault: Fault) -> RefusedError:
    if fault.kind == "reset":
        return RefusedError("UNAVAILABLE", "", "RST_STREAM closed stream. HTTP/2 error code: NO_ERROR")
    return RefusedError(
        str(fault.status or "UNAVAILABLE"), fault.error_code, str(fault.body or "a fault that was asked for")
    )
