"""Calls the Salesforce double with plain httpx and grpc.aio, without our own client."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import fastavro
import grpc
import httpx
import orjson
import pytest
from helpers.plain_http import plain_http
from helpers.waiting import PATIENCE

from connector.salesforce.proto import pubsub_api_pb2 as pb
from connector.salesforce.proto import pubsub_api_pb2_grpc
from connector.sandbox.doubles.salesforce import SalesforceDouble

API = "/services/data/v68.0"
CASES = "/data/CaseChangeEvent"
START = 1_795_500_000.25  # seconds; not a whole number


async def log_in(sf: SalesforceDouble) -> dict[str, str]:
    form = {"grant_type": "client_credentials", "client_id": sf.client_id, "client_secret": sf.client_secret}
    async with plain_http() as http:
        return (await http.post(f"{sf.login_url}/services/oauth2/token", data=form)).json()


@asynccontextmanager
async def rest(sf: SalesforceDouble, client: str = "") -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {(await log_in(sf))['access_token']}"}
    headers |= {"Sforce-Call-Options": f"client={client}"} if client else {}
    async with plain_http(base_url=sf.login_url, headers=headers) as http:
        yield http


class PubSub:
    """The stub, with the metadata of a fresh token."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self.stub = pubsub_api_pb2_grpc.PubSubStub(channel)
        self.metadata = metadata
        self._schemas: dict[str, Any] = {}

    def subscribe(
        self, topic: str = CASES, requested: int = 100, preset: str = "EARLIEST", replay_id: bytes = b""
    ) -> "Feed":
        return Feed(self.stub.Subscribe(metadata=self.metadata), request(topic, requested, preset, replay_id))

    async def schema(self, schema_id: str) -> Any:
        if schema_id not in self._schemas:
            info = await self.stub.GetSchema(pb.SchemaRequest(schema_id=schema_id), metadata=self.metadata)
            self._schemas[schema_id] = orjson.loads(info.schema_json)
        return self._schemas[schema_id]

    async def decode(self, event: pb.ConsumerEvent) -> dict[str, Any]:
        schema = fastavro.parse_schema(await self.schema(event.event.schema_id))
        return fastavro.schemaless_reader(io.BytesIO(event.event.payload), schema, None)

    async def events(self, topic: str = CASES, count: int = 1) -> list[dict[str, Any]]:
        """The first `count` events of a topic, decoded."""
        feed = self.subscribe(topic)
        found = [await self.decode(event) for event in await feed.take(count)]
        feed.call.cancel()
        return found


class Feed:
    def __init__(self, call: Any, first: pb.FetchRequest) -> None:
        self.call, self._first = call, first

    async def read(self) -> Any:
        """The next response, or grpc.aio.EOF."""
        async with asyncio.timeout(PATIENCE):
            if self._first is not None:
                await self.call.write(self._first)
                self._first = None
            return await self.call.read()

    async def request(self, count: int, topic: str = "") -> None:
        await self.call.write(pb.FetchRequest(topic_name=topic, num_requested=count))

    async def answer(self) -> Any:
        """The next response with events; keep-alives may come before it."""
        while not (response := await self.read()).events:
            pass
        return response

    async def take(self, count: int) -> list[Any]:
        events: list[Any] = []
        while len(events) < count:
            events += (await self.answer()).events
        return events

    async def drain(self) -> None:
        while await self.read() is not grpc.aio.EOF:
            pass


def request(topic: str, requested: int, preset: str = "EARLIEST", replay_id: bytes = b"") -> pb.FetchRequest:
    return pb.FetchRequest(
        topic_name=topic, num_requested=requested, replay_preset=pb.ReplayPreset.Value(preset), replay_id=replay_id
    )


@asynccontextmanager
async def pubsub(sf: SalesforceDouble) -> AsyncIterator[PubSub]:
    token = await log_in(sf)
    metadata = (
        ("accesstoken", token["access_token"]),
        ("instanceurl", token["instance_url"]),
        ("tenantid", token["id"].split("/")[-2]),
    )
    async with grpc.aio.insecure_channel(sf.pubsub_endpoint) as channel:
        yield PubSub(channel, metadata)


async def refused(feed: Feed) -> grpc.aio.AioRpcError:
    """The error that ends the stream, after its last events."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await feed.drain()
    return caught.value


def trailer(error: grpc.aio.AioRpcError) -> str:
    """The `error-code` without its prefix."""
    return dict(error.trailing_metadata())["error-code"].removeprefix("sfdc.platform.eventbus.grpc.")


def named(schema: dict[str, Any], bitmaps: list[str]) -> set[str]:
    """A third implementation of salesforce §B2, independent of the double and the client."""
    names = set()
    declared = {}
    for field in schema["fields"]:
        branches = field["type"] if isinstance(field["type"], list) else []
        for branch in branches:
            if isinstance(branch, dict):
                declared[branch["name"]] = [part["name"] for part in branch["fields"]]
    for bitmap in bitmaps:
        position, _, digits = bitmap.rpartition("-")
        assert len(digits) % 2 == 0
        bits = [index for index, bit in enumerate(reversed(f"{int(digits, 16):b}")) if bit == "1"]
        if position:
            field = schema["fields"][int(position)]
            parts = next(declared[b if isinstance(b, str) else b["name"]] for b in field["type"][::-1] if b != "null")
            names |= {f"{field['name']}.{parts[bit]}" for bit in bits}
        else:
            names |= {schema["fields"][bit]["name"] for bit in bits}
    return names


def error(answer: httpx.Response) -> tuple[int, str]:
    """Status and errorCode: the body is an array (salesforce §D4)."""
    (problem,) = answer.json()
    assert problem["message"]
    return answer.status_code, problem["errorCode"]
