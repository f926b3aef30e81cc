"""The Pub/Sub API: a stream of raw events with flow control, and schemas by id (contract: salesforce §A)."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import grpc

from connector.errors import ConnectorError, Rejected, Retryable
from connector.salesforce import errors
from connector.salesforce._connection import Connection
from connector.salesforce.auth import Token, TokenSource
from connector.salesforce.proto.pubsub_api_pb2 import FetchRequest, FetchResponse, SchemaRequest, TopicRequest
from connector.salesforce.schemas import EventSchema, parse_schema

_WINDOW = 100  # events owed to us (requested, not yet received); Salesforce allows no more (salesforce §A2)
_REFILL = 50  # smallest request: a server with a backlog sends single events if we ask for them one by one
_CALL_TIMEOUT = 30.0  # seconds; GetSchema takes about one
_SCHEMAS_KEPT = 1000  # a schema never changes, but an org's objects do; a few kB each


@dataclass(frozen=True)
class RawEvent:
    """One event as it came. `replay_id` is opaque; `id` is the publisher's id, the EventUuid of a platform event."""

    replay_id: bytes
    schema_id: str
    payload: bytes = field(repr=False)
    id: str


@dataclass(frozen=True)
class Batch:
    """One answer of the stream. A keep-alive has no events, but always a position. `pending` events are still owed."""

    events: tuple[RawEvent, ...]
    latest_replay_id: bytes
    pending: int


class PubSubClient:
    """A connection to the Pub/Sub API. Close it after use.

    `idle_timeout` is in seconds: a healthy stream sends something at least every 270 s (salesforce §0.3), and a stream
    that died without an error sends nothing, for ever.
    """

    def __init__(
        self,
        endpoint: str,
        tls: bool,
        tokens: TokenSource,
        *,
        ca_file: str | None = None,
        idle_timeout: float = 300.0,
    ) -> None:
        self._tokens = tokens
        self._idle_timeout = idle_timeout
        self._connection = Connection(endpoint, tls, ca_file)
        self._schemas: dict[str, EventSchema] = {}

    async def aclose(self) -> None:
        """Closes the connection. End the streams first, with `aclose` of what `subscribe` returned."""
        await self._connection.close()

    async def schema(self, schema_id: str) -> EventSchema:
        """The schema with this id. We ask Salesforce once, then keep it.

        Raises:
            Rejected: There is no such schema, or it is not an Avro schema: no event with it can be read.
            Retryable, Fatal: as for every call.
        """
        if schema_id not in self._schemas:
            if not schema_id:
                raise Rejected("an event without a schema id", code="undecodable")
            try:
                schema_json = await self._schema_json(schema_id)
            except errors.TokenRefused:  # an open stream outlives its token, a new call does not (salesforce §A2)
                schema_json = await self._schema_json(schema_id)
            if len(self._schemas) >= _SCHEMAS_KEPT:
                self._schemas.pop(next(iter(self._schemas)))
            self._schemas[schema_id] = parse_schema(schema_json)
        return self._schemas[schema_id]

    async def may_follow(self, topic: str) -> bool:
        """Whether the user may subscribe to this channel.

        Raises:
            Retryable, Fatal: as for every call. Fatal when there is no such channel, or it is not enabled.
        """
        token = await self._tokens.token()
        try:
            answer = await self._connection.stub().GetTopic(
                TopicRequest(topic_name=topic), metadata=_metadata(token), timeout=_CALL_TIMEOUT
            )
        except grpc.aio.AioRpcError as error:
            raise self._translated(error, token, f"channel {topic}") from error
        return bool(answer.can_subscribe)

    async def subscribe(
        self,
        topic: str,
        *,
        replay_id: bytes | None,
        preset: Literal["latest", "earliest"] = "latest",
    ) -> AsyncGenerator[Batch, None]:
        """Gives a channel's events without end: strictly after `replay_id`, or from `preset` on if that is None.

        We ask for more events only when the reader asks for the next batch, so a slow reader slows the stream. At most
        100 events are owed, including those that the reader has not taken yet. A reader that takes longer than a minute
        for a batch may lose the stream (salesforce §0.3).

        Raises:
            Retryable: The stream ended or fell silent; subscribe again after the last position.
            PositionLost: Salesforce does not know `replay_id` any more.
            Fatal: The channel or its permissions are wrong.
        """
        what = f"subscribe {topic}"
        token = await self._tokens.token()
        stream = self._connection.stub().Subscribe(metadata=_metadata(token))
        start = "CUSTOM" if replay_id else preset.upper()
        ask = FetchRequest(topic_name=topic, replay_preset=start, replay_id=replay_id or b"", num_requested=_WINDOW)
        owed = _WINDOW  # we count ourselves: the answer's count does not include requests on their way
        try:
            await self._ask(stream, ask)
            while True:
                response = await self._read(stream, what)
                owed = max(0, owed - len(response.events))
                if owed <= _WINDOW - _REFILL:
                    await self._ask(stream, FetchRequest(num_requested=_WINDOW - owed))
                    owed = _WINDOW
                if response.events or response.latest_replay_id:
                    yield _batch(response)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error, token, what) from error
        except TimeoutError as error:
            raise Retryable(f"{what}: nothing came for {self._idle_timeout:g} s") from error
        finally:
            stream.cancel()

    async def _ask(self, stream: Any, request: FetchRequest) -> None:
        try:
            async with asyncio.timeout(self._idle_timeout):
                await stream.write(request)
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
            pass  # the stream has ended: we still read what came before, and the next read says why

    async def _read(self, stream: Any, what: str) -> FetchResponse:
        async with asyncio.timeout(self._idle_timeout):
            response = await stream.read()
        if response is grpc.aio.EOF:
            raise Retryable(f"{what}: Salesforce ended the stream")
        return cast(FetchResponse, response)

    async def _schema_json(self, schema_id: str) -> str:
        token = await self._tokens.token()
        request = SchemaRequest(schema_id=schema_id)
        try:
            answer = await self._connection.stub().GetSchema(request, metadata=_metadata(token), timeout=_CALL_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error, token, f"schema {schema_id}") from error
        return str(answer.schema_json)

    def _translated(self, error: grpc.aio.AioRpcError, token: Token, what: str) -> ConnectorError:
        translated = errors.from_rpc(error, what)
        if isinstance(translated, errors.TokenRefused):
            self._tokens.invalidate(token)
        return translated


def _metadata(token: Token) -> tuple[tuple[str, str], ...]:
    return ("accesstoken", token.access_token), ("instanceurl", token.instance_url), ("tenantid", token.org_id)


def _batch(response: FetchResponse) -> Batch:
    events = tuple(
        RawEvent(consumed.replay_id, event.schema_id, event.payload, event.id)
        for consumed in response.events
        for event in (consumed.event,)
    )
    return Batch(events, response.latest_replay_id, response.pending_num_requested)
