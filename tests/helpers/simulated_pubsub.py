"""Salesforce's Pub/Sub API and its login in simulated time, with the faults of its streams (contract: salesforce §A).

It stands in for the gRPC stub of `PubSubClient`. Only the client's first request of a stream names a channel.
"""

import asyncio
import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from random import Random
from types import SimpleNamespace
from typing import Any

import fastavro
import grpc
import httpx
import orjson

from connector.salesforce.proto.pubsub_api_pb2 import (
    ConsumerEvent,
    FetchRequest,
    FetchResponse,
    ProducerEvent,
    ReplayPreset,
    SchemaInfo,
    SchemaRequest,
)
from helpers.processes import outside
from helpers.simulated_workers import clock

_KEEPALIVE = 60.0  # seconds; salesforce §A2
_OWED = 100  # events at most
_SCHEMA_TAKES = 1.2  # seconds; salesforce §A2
_PREFIX = "sfdc.platform.eventbus.grpc."
ENDED = ("INTERNAL", "subscription.internal.error")
BREAKS = (  # salesforce §A4: what a stream may end with and pass by itself
    ("UNAVAILABLE", "service.unavailable"),
    ("INTERNAL", ""),
    ("RESOURCE_EXHAUSTED", "service.protection.triggered"),
    ("PERMISSION_DENIED", "subscription.limit.exceeded"),
    ENDED,
    ("UNAUTHENTICATED", "service.auth.error"),
)
OUTAGE = ("UNAVAILABLE", "service.unavailable")
NO_RIGHT = ("PERMISSION_DENIED", "subscription.topic.cannot.subscribe")
_LOST = ("INVALID_ARGUMENT", "subscription.fetch.replayid.corrupted")
_NO_SCHEMA = ("INVALID_ARGUMENT", "schema.validation.failed")
_SCHEMA_AWAY = ("UNAVAILABLE", "schema.api.unavailable")
_TOKEN = ("UNAUTHENTICATED", "service.auth.error")

Code = tuple[str, str]  # gRPC's status, and the error code in the trailer


@dataclass(frozen=True)
class Event:
    """`wanted` are the ids of the change events that capture must write; for a dead letter the hex of its bytes."""

    replay_id: bytes
    schema_id: str
    payload: bytes = field(repr=False)
    wanted: tuple[str, ...]
    at: float


@dataclass
class Channel:
    """`trouble` is what every new stream fails with. A channel that is `lost` knows no replay id any more."""

    name: str
    entity: str
    events: list[Event] = field(default_factory=list)
    streams: list["_Stream"] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    version: int = 1  # of the schema
    trouble: Code | None = None
    lost: bool = False
    no_schemas: bool = False

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def break_streams(self, code: Code) -> None:
        for stream in self.streams:
            stream.broken = code
        self.wake()

    def end_streams(self) -> None:
        """Ends the streams that have delivered something, as Salesforce does now and then."""
        for stream in self.streams:
            stream.broken = ENDED if stream.delivers else stream.broken
        self.wake()

    def mend(self) -> None:
        self.trouble, self.lost, self.no_schemas = None, False, False


class SimulatedSalesforce:
    """`entities` names the object of each channel's events. While Salesforce `refuses`, nobody can log in."""

    def __init__(self, random: Random, entities: dict[str, str], say: Callable[[str], None]) -> None:
        self.random = random
        self.channels = {name: Channel(name, entity) for name, entity in entities.items()}
        self.refuses = False
        self._say = say
        self._token = 1
        self._replay_id = 0

    def revoke_tokens(self) -> None:
        self._token += 1

    def publish(self, channel: Channel, count: int) -> None:
        """Publishes transactions with `count` changes. On a custom channel a transaction's events share a replay id."""
        replay_id = b""
        for number in range(count):
            if not replay_id or not channel.name.endswith("__chn") or self.random.random() < 0.3:
                replay_id = self.next_replay_id()
            entity = "Lead" if channel.name.endswith("__chn") and number % 5 == 2 else channel.entity
            records = tuple(f"{len(channel.events)}-{each}" for each in range(self.random.choice((1, 1, 3))))
            wanted = tuple(f"{replay_id.hex()}-{number}-{each}" for each in records) if entity == channel.entity else ()
            payload = _payload(entity, channel.version, replay_id.hex(), number, records)
            event = Event(replay_id, f"{entity}-{channel.version}", payload, wanted, clock())
            channel.events.append(event)
        channel.wake()

    def publish_unreadable(self, channel: Channel) -> None:
        """Publishes an event whose schema is missing, or whose bytes do not fit its schema."""
        schema_id = self.random.choice(("", "missing", f"{channel.entity}-{channel.version}"))
        replay_id = self.next_replay_id()
        payload = b"\xff" + replay_id
        channel.events.append(Event(replay_id, schema_id, payload, (payload.hex(),), clock()))
        channel.wake()

    def next_replay_id(self) -> bytes:
        self._replay_id += self.random.choice((1, 7))
        return self._replay_id.to_bytes(8) + b"\0\0"

    def stub(self, _: object) -> SimpleNamespace:
        """Stands in for `PubSubStub`."""
        return SimpleNamespace(Subscribe=lambda metadata: _Stream(self, metadata), GetSchema=self._get_schema)

    async def log_in(self, _: httpx.Request) -> httpx.Response:
        await outside(asyncio.sleep, self.random.uniform(0, 0.3))
        if self.refuses:
            return httpx.Response(400, json={"error": "invalid_client"})
        answer = {"access_token": f"{self._token}", "instance_url": "https://acme", "id": "https://acme/id/00D/005"}
        return httpx.Response(200, json=answer)

    def must_be_logged_in(self, metadata: Any) -> None:
        if dict(metadata)["accesstoken"] != f"{self._token}":
            raise _error(_TOKEN)

    async def _get_schema(self, request: SchemaRequest, metadata: Any, timeout: float) -> SchemaInfo:
        return await outside(self._schema, request.schema_id, metadata, timeout)

    async def _schema(self, schema_id: str, metadata: Any, timeout: float) -> SchemaInfo:
        await asyncio.sleep(self.random.uniform(0, _SCHEMA_TAKES))
        self.must_be_logged_in(metadata)
        entity, _, version = schema_id.partition("-")
        if not version:
            raise _error(_NO_SCHEMA)
        if any(channel.no_schemas for channel in self.channels.values() if channel.entity == entity):
            await asyncio.sleep(self.random.choice((0, timeout)))
            raise _error(_SCHEMA_AWAY)
        return SchemaInfo(schema_json=orjson.dumps(_schema(entity, int(version))).decode(), schema_id=schema_id)


class _Stream:
    """One stream. It is `silent` when it has died without an error, and `broken` with the error that ends it.

    `delivers`: it has brought events or a keep-alive.
    """

    def __init__(self, salesforce: SimulatedSalesforce, metadata: Any) -> None:
        self.silent = False
        self.broken: Code | None = None
        self.delivers = False
        self._salesforce, self._metadata = salesforce, metadata
        self._channel: Channel | None = None
        self._owed = 0
        self._next = 0  # the place of the next event among those of the channel

    async def write(self, request: FetchRequest) -> None:
        await outside(self._take, request)

    async def read(self) -> FetchResponse:
        return await outside(self._answer)

    def cancel(self) -> None:
        self.broken = ("CANCELLED", "")
        if self._channel:
            self._channel.wake()

    async def _take(self, request: FetchRequest) -> None:
        await self._way()
        self._owed = min(_OWED, self._owed + request.num_requested)
        if not self._channel:
            self._open(request)

    def _open(self, request: FetchRequest) -> None:
        channel = self._channel = self._salesforce.channels[request.topic_name]
        channel.streams.append(self)
        try:
            self._salesforce.must_be_logged_in(self._metadata)
        except grpc.aio.AioRpcError:
            self.broken = _TOKEN
            return
        self.broken = self.broken or channel.trouble or (_LOST if request.replay_id and channel.lost else None)
        begins_after = b"\xff" if request.replay_preset == ReplayPreset.LATEST else request.replay_id
        self._next = sum(event.replay_id <= begins_after for event in channel.events)

    async def _answer(self) -> FetchResponse:
        assert self._channel is not None
        await self._way()
        until = clock() + _KEEPALIVE
        while True:
            if self.silent:
                await asyncio.Event().wait()
            if self.broken:
                raise _error(self.broken)
            most = min(self._owed, self._salesforce.random.choice((1, 3, _OWED)))
            events = self._channel.events[self._next : self._next + most]
            if events or clock() >= until:
                return self._response(events)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._channel.changed.wait()

    def _response(self, events: list[Event]) -> FetchResponse:
        self.delivers = True
        self._next += len(events)
        self._owed -= len(events)
        return FetchResponse(
            events=[
                ConsumerEvent(
                    event=ProducerEvent(schema_id=each.schema_id, payload=each.payload), replay_id=each.replay_id
                )
                for each in events
            ],
            latest_replay_id=events[-1].replay_id if events else self._salesforce.next_replay_id(),
            pending_num_requested=self._owed,
        )

    async def _way(self) -> None:
        await asyncio.sleep(self._salesforce.random.uniform(0, 0.05))


def _error(code: Code) -> grpc.aio.AioRpcError:
    status, said = code
    trailer = grpc.aio.Metadata(*([("error-code", _PREFIX + said)] if said else []))
    return grpc.aio.AioRpcError(grpc.StatusCode[status], grpc.aio.Metadata(), trailer)


@cache
def _schema(entity: str, version: int) -> dict[str, Any]:
    """What capture needs of a change event's schema (salesforce §B1). A new version has another field."""
    types: dict[str, Any] = {
        "entityName": "string",
        "recordIds": {"type": "array", "items": "string"},
        "changeType": "string",
        "transactionKey": "string",
        "sequenceNumber": "int",
        "commitTimestamp": "long",
    }
    header = {
        "type": "record",
        "name": "ChangeEventHeader",
        "fields": [{"name": name, "type": of} for name, of in types.items()],
    }
    fields = [
        {"name": "ChangeEventHeader", "type": header},
        {"name": f"V{version}__c", "type": ["null", "string"], "default": None},
    ]
    return {"type": "record", "name": f"{entity}ChangeEvent", "fields": fields}


@cache
def _parsed(entity: str, version: int) -> Any:
    return fastavro.parse_schema(_schema(entity, version))


def _payload(entity: str, version: int, transaction: str, number: int, records: tuple[str, ...]) -> bytes:
    header = {
        "entityName": entity,
        "recordIds": records,
        "changeType": "CREATE",
        "transactionKey": transaction,
        "sequenceNumber": number,
        "commitTimestamp": 1_767_225_600_000,
    }
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _parsed(entity, version), {"ChangeEventHeader": header})
    return out.getvalue()
