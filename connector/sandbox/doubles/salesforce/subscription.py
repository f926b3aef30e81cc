"""One Subscribe call: its window of requested events, its position in the log, its keepalives (salesforce §A2)."""

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from connector.salesforce.proto import pubsub_api_pb2 as pb
from connector.sandbox.doubles.salesforce.event_log import RETENTION, Entry, ReplayIdCorruptedError
from connector.sandbox.doubles.salesforce.model import Stream
from connector.sandbox.doubles.salesforce.state import State

_WINDOW = 100  # most events that may be requested and not yet delivered
_LARGEST_RESPONSE = 3_000_000  # bytes
_NEVER = float("inf")


class RefusedError(Exception):
    """Ends a call of the Pub/Sub API with a gRPC status, an `error-code` without its prefix, and a message."""

    def __init__(self, status: str, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message


def invalid(code: str, message: str) -> RefusedError:
    return RefusedError("INVALID_ARGUMENT", code, message)


@dataclass(frozen=True)
class Topic:
    """What a topic carries. `schema_id` is blank when several entities share the topic."""

    name: str
    entities: tuple[str, ...]
    schema_id: str = ""
    enriched: dict[str, tuple[str, ...]] = field(default_factory=dict)


class Subscription:
    """One subscription. `read` takes the client's requests while `deliver` sends."""

    def __init__(self, state: State, topic: Topic, first: pb.FetchRequest) -> None:
        self._state, self._topic, self._log = state, topic, state.log
        self._position = self._start(first)
        self._ready: deque[tuple[bytes, pb.ProducerEvent]] = deque()
        self._ended = False
        self._refusal: RefusedError | None = None
        self._breaks: tuple[float, RefusedError | None] = (_NEVER, None)
        self._last_response = self._empty_since = asyncio.get_running_loop().time()
        self.wake = asyncio.Event()
        self.stream = Stream(
            opened_at=state.clock(),
            topic=topic.name,
            preset=pb.ReplayPreset.Name(first.replay_preset),
            replay_id=first.replay_id.hex(),
        )
        self._request(first)

    def _start(self, first: pb.FetchRequest) -> int:
        if first.replay_preset == pb.ReplayPreset.Value("LATEST"):
            return len(self._log.entries)
        if first.replay_preset == pb.ReplayPreset.Value("EARLIEST"):
            return self._log.earliest()
        if not first.replay_id:
            raise invalid("subscription.fetch.replayid.validation.failed", "CUSTOM needs a replay ID.")
        try:
            return self._log.after(first.replay_id)
        except ReplayIdCorruptedError:
            raise invalid(
                "subscription.fetch.replayid.corrupted",
                "The Replay ID validation failed. Ensure that the Replay ID is valid.",
            ) from None

    def break_after(self, events: int, refusal: RefusedError | None) -> None:
        """After `events` more events, end with `refusal`, or go silent if it is None."""
        self._breaks = (self.stream.delivered + events, refusal)
        self.wake.set()

    async def read(self, requests: AsyncIterator[pb.FetchRequest]) -> None:
        try:
            async for request in requests:
                if request.topic_name and request.topic_name != self._topic.name:
                    raise invalid("subscription.fetch.topic.mismatch", "The topic of a subscription can't change.")
                self._request(request)
        except RefusedError as refusal:
            self._refusal = refusal
        finally:
            self._ended = True
            self.wake.set()

    def _request(self, request: pb.FetchRequest) -> None:
        if request.auth_refresh:
            raise invalid("service.auth.refresh.invalid", "auth_refresh is reserved.")
        if request.num_requested <= 0:
            raise invalid("subscription.fetch.requested.events.invalid", "num_requested must be greater than 0.")
        pending = self.stream.pending + request.num_requested
        if pending > _WINDOW and not self._state.settings.clamp:
            raise invalid("subscription.fetch.overflow", f"{pending} events requested, at most {_WINDOW} may be.")
        self.stream.pending = min(_WINDOW, pending)
        self.stream.requests += 1
        self.wake.set()

    async def deliver(self, write: Callable[[pb.FetchResponse], Awaitable[None]]) -> None:
        """Sends events until the client ends the stream, or requests nothing for too long.

        Raises:
            RefusedError: When the stream breaks.
        """
        while True:
            self.wake.clear()
            await self._maybe_break()
            if self._ended:
                return
            response = self._next_response() if self.stream.pending else None
            if response is not None:
                await self._send(write, response)
            elif not await self._wait():
                if not self.stream.pending:
                    self._give_up()
                    return
                await self._send(write, self._keepalive())

    def _give_up(self) -> None:
        status = self._state.settings.idle_status
        if status != "OK":
            raise RefusedError(status, "", "The stream was idle.")

    async def _maybe_break(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        events, refusal = self._breaks
        if self.stream.delivered >= events and refusal is not None:
            raise refusal
        self.stream.hung = self.stream.hung or self.stream.delivered >= events
        if self.stream.hung:
            await self._state.stopping.wait()

    async def _wait(self) -> bool:
        """Whether anything happened before the next keepalive, or before the idle stream must end."""
        settings = self._state.settings
        pending = self.stream.pending
        deadline = self._last_response + settings.keepalive if pending else self._empty_since + settings.idle
        try:
            async with asyncio.timeout_at(deadline):
                return await self.wake.wait()
        except TimeoutError:
            return self.wake.is_set()  # an event at the same moment goes first: a keepalive would skip it

    async def _send(self, write: Callable[[pb.FetchResponse], Awaitable[None]], response: pb.FetchResponse) -> None:
        await write(response)
        self._last_response = self._empty_since = asyncio.get_running_loop().time()

    def _keepalive(self) -> pb.FetchResponse:
        replay_id = self._log.mark()
        self._position = len(self._log.entries)
        return pb.FetchResponse(
            latest_replay_id=replay_id, rpc_id=str(uuid.uuid4()), pending_num_requested=self.stream.pending
        )

    def _next_response(self) -> pb.FetchResponse | None:
        settings, stream = self._state.settings, self.stream
        until = min(settings.batch, stream.pending, self._breaks[0] - stream.delivered)
        self._fill(until)
        allowed = settings.delivery_limit - self._state.delivered
        if self._ready and allowed <= 0:
            message = "You have exceeded the event delivery limit for your org."
            raise RefusedError("RESOURCE_EXHAUSTED", "subscription.limit.exceeded", message)
        until = min(until, allowed)
        events: list[pb.ConsumerEvent] = []
        size = 0
        while self._ready and len(events) < until:
            replay_id, event = self._ready[0]
            size += len(event.payload) + 200
            if events and size > _LARGEST_RESPONSE:
                break
            self._ready.popleft()
            events.append(pb.ConsumerEvent(event=event, replay_id=replay_id))
        if not events:
            return None
        self.stream.pending -= len(events)
        self.stream.delivered += len(events)
        self._state.delivered += len(events)
        return pb.FetchResponse(
            events=events,
            latest_replay_id=events[-1].replay_id if settings.latest_with_events else b"",
            rpc_id=str(uuid.uuid4()),
            pending_num_requested=self.stream.pending,
        )

    def _fill(self, until: float) -> None:
        oldest = self._state.clock() - RETENTION
        while len(self._ready) < until and self._position < len(self._log.entries):
            entry = self._log.entries[self._position]
            self._position += 1
            if entry.entity in self._topic.entities and entry.at >= oldest:
                self._ready.extend(self._events(entry))

    def _events(self, entry: Entry) -> Iterator[tuple[bytes, pb.ProducerEvent]]:
        """The entry as this topic delivers it. Enrichment splits a merged event; its parts share one replay id."""
        if entry.schema is None:
            return
        schema_id, header = entry.schema.schema_id, entry.header
        enriched = self._topic.enriched.get(entry.entity, ())
        if not enriched or header is None or header["changeType"].startswith("GAP_"):
            yield entry.replay_id, pb.ProducerEvent(id=entry.event_id, schema_id=schema_id, payload=entry.payload)
            return
        for record_id in header["recordIds"]:
            record: dict[str, Any] = self._state.store.records[entry.entity].get(record_id, {})
            values = {**entry.schema.values(record, enriched), **_held(entry.values)}
            payload = entry.schema.encode({**header, "recordIds": [record_id]}, values)
            event_id = str(uuid.uuid5(uuid.UUID(entry.event_id), record_id))
            yield entry.replay_id, pb.ProducerEvent(id=event_id, schema_id=schema_id, payload=payload)


def _held(values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
