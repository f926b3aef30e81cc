"""The Pub/Sub stream against a scripted server: flow control, silence, endings and cancellation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from helpers.certificates import Authority
from helpers.waiting import PATIENCE

from connector.errors import Fatal, Rejected, Retryable
from connector.salesforce import PubSubClient, Token
from connector.salesforce.proto import pubsub_api_pb2 as pb
from connector.salesforce.proto import pubsub_api_pb2_grpc as pb_grpc

TOPIC = "/data/CaseChangeEvent"
SCHEMA = '{"type": "record", "name": "CaseChangeEvent", "fields": []}'
Script = Callable[["Server", Any], Awaitable[None]]


class Tokens:
    """Numbers its tokens; the current token ends when it is invalidated."""

    def __init__(self) -> None:
        self.number = 1

    async def token(self) -> Token:
        return Token(f"t{self.number}", "https://acme.example", "00D000000000001EAA")

    def invalidate(self, token: Token) -> None:
        if token.access_token == f"t{self.number}":
            self.number += 1


class Server(pb_grpc.PubSubServicer):
    """Runs `script` for every stream. Counts owed events like Salesforce, and remembers the most."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[pb.FetchRequest] = []
        self.metadata: dict[str, str] = {}
        self.owed = self.most_owed = self.sent = self.schema_calls = 0
        self.asked = asyncio.Event()
        self.ended = asyncio.Event()
        self.tokens_refused: set[str] = set()

    async def Subscribe(self, request_iterator: Any, context: Any) -> None:  # noqa: N802
        self.metadata = dict(context.invocation_metadata())
        reader = asyncio.create_task(self._count(request_iterator))
        try:
            await self.script(self, context)
        finally:
            reader.cancel()
            self.ended.set()

    async def _count(self, requests: Any) -> None:
        async for request in requests:
            self.requests.append(request)
            self.owed += request.num_requested
            self.most_owed = max(self.most_owed, self.owed)
            self.asked.set()

    async def send(self, context: Any, count: int) -> None:
        """Sends one answer of up to `count` events, as soon as events are owed."""
        while not self.owed:
            self.asked.clear()
            await self.asked.wait()
        count = min(count, self.owed)
        numbers = range(self.sent, self.sent + count)
        self.owed -= count
        self.sent += count
        events = [
            pb.ConsumerEvent(event=pb.ProducerEvent(id=f"e{n}", schema_id="s", payload=b"p"), replay_id=n.to_bytes(10))
            for n in numbers
        ]
        answer = pb.FetchResponse(events=events, latest_replay_id=b"last", pending_num_requested=self.owed)
        await context.write(answer)

    async def GetSchema(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.schema_calls += 1
        if dict(context.invocation_metadata())["accesstoken"] in self.tokens_refused:
            context.set_trailing_metadata((("error-code", "sfdc.platform.eventbus.grpc.service.auth.error"),))
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "An authentication exception occurred.")
        return pb.SchemaInfo(schema_json=SCHEMA, schema_id=request.schema_id)


@asynccontextmanager
async def connected(script: Script, **options: Any) -> AsyncIterator[tuple[Server, PubSubClient]]:
    server, handler = grpc.aio.server(), Server(script)
    pb_grpc.add_PubSubServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = PubSubClient(f"127.0.0.1:{port}", False, Tokens(), **options)  # type: ignore[arg-type]
    try:
        yield handler, client
    finally:
        await client.aclose()
        await server.stop(None)


async def for_ever(server: Server, context: Any) -> None:
    await asyncio.Event().wait()


async def in_uneven_parts(server: Server, context: Any) -> None:
    while True:
        for count in (1, 60, 3, 100, 36):
            await server.send(context, count)


async def test_stream_is_topped_up_and_never_owed_more_than_a_hundred() -> None:
    """salesforce §0.2, §A2: at most 100 events are owed, whatever the size of the answers."""
    async with connected(in_uneven_parts) as (server, client):
        numbers: list[int] = []
        async with aclosing(client.subscribe(TOPIC, replay_id=None)) as stream:
            async for batch in stream:
                numbers += [int.from_bytes(event.replay_id) for event in batch.events]
                if len(numbers) > 3000:
                    break
        assert numbers == list(range(len(numbers)))
        assert server.most_owed == 100


async def test_slow_reader_holds_the_stream_back() -> None:
    """While the reader works on a batch, at most one more window is on its way."""
    async with connected(in_uneven_parts) as (server, client):
        stream = client.subscribe(TOPIC, replay_id=None)
        first = await anext(stream)
        await asyncio.sleep(0.2)
        assert server.sent <= len(first.events) + 100
        await stream.aclose()


async def test_stream_that_fell_behind_catches_up_in_large_answers() -> None:
    """After 100 answers of one event each, a client that requested one event at a time would go on getting one."""

    async def backlog(server: Server, context: Any) -> None:
        for _ in range(100):
            await server.send(context, 1)
        while True:
            await server.send(context, 100)

    async with connected(backlog) as (_, client):
        sizes: list[int] = []
        async with aclosing(client.subscribe(TOPIC, replay_id=None)) as stream:
            async for batch in stream:
                sizes.append(len(batch.events))
                if sum(sizes) >= 1100:
                    break
        assert len(sizes) < 130


async def test_batch_always_names_a_position() -> None:
    """A keep-alive without a position would be stored as an empty position, and the last one would be lost."""

    async def blank_keepalive(server: Server, context: Any) -> None:
        await context.write(pb.FetchResponse(pending_num_requested=100))
        await server.send(context, 1)
        await asyncio.Event().wait()

    async with (
        connected(blank_keepalive) as (_, client),
        aclosing(client.subscribe(TOPIC, replay_id=None)) as stream,
    ):
        assert (await anext(stream)).latest_replay_id == b"last"


async def test_first_request_says_where_to_begin_and_who_asks() -> None:
    """salesforce §A, §A2: three metadata keys; CUSTOM with a replay id, the preset without one."""
    async with connected(in_uneven_parts) as (server, client):
        for replay_id in (b"\0\0\0\0\0\x5a\x94\xf0\0\0", None):
            async with aclosing(client.subscribe(TOPIC, replay_id=replay_id, preset="earliest")) as stream:
                await anext(stream)
        firsts = [request for request in server.requests if request.topic_name]
        assert [first.replay_preset for first in firsts] == [pb.CUSTOM, pb.EARLIEST]
        assert firsts[0].replay_id == b"\0\0\0\0\0\x5a\x94\xf0\0\0"
        assert server.metadata["accesstoken"] == "t1"
        assert server.metadata["instanceurl"] == "https://acme.example"
        assert server.metadata["tenantid"] == "00D000000000001EAA"


async def test_silent_stream_is_given_up() -> None:
    """salesforce §0.3: streams die silently; a healthy stream sends something at least every 270 s."""
    async with connected(for_ever, idle_timeout=1.0) as (server, client):
        with pytest.raises(Retryable, match="nothing came"):
            await anext(client.subscribe(TOPIC, replay_id=None))
        async with asyncio.timeout(PATIENCE):
            await server.ended.wait()


async def test_stream_that_ends_without_an_error_is_retryable() -> None:
    """Also when it ends before the reader could request more: the reader first gets the events that came."""

    async def one_and_out(server: Server, context: Any) -> None:
        await server.send(context, 1)

    async with connected(one_and_out) as (_, client):
        stream = client.subscribe(TOPIC, replay_id=None)
        assert len((await anext(stream)).events) == 1
        with pytest.raises(Retryable):
            await anext(stream)


async def test_error_in_mid_stream_is_told_by_its_code() -> None:
    async def one_and_limit(server: Server, context: Any) -> None:
        await server.send(context, 1)
        context.set_trailing_metadata((("error-code", "sfdc.platform.eventbus.grpc.subscription.limit.exceeded"),))
        await context.abort(
            grpc.StatusCode.PERMISSION_DENIED, "You have exceeded the event delivery limit for your org."
        )

    async with connected(one_and_limit) as (_, client):
        stream = client.subscribe(TOPIC, replay_id=None)
        await anext(stream)
        with pytest.raises(Retryable, match="delivery limit") as caught:
            await anext(stream)
        assert caught.value.retry_after


async def test_closing_the_iterator_ends_the_stream_at_the_server() -> None:
    async with connected(in_uneven_parts) as (server, client):
        stream = client.subscribe(TOPIC, replay_id=None)
        await anext(stream)
        await stream.aclose()
        async with asyncio.timeout(PATIENCE):
            await server.ended.wait()


async def test_cancelled_reader_is_cancelled_and_ends_the_stream() -> None:
    async with connected(for_ever) as (server, client):
        task = asyncio.ensure_future(anext(client.subscribe(TOPIC, replay_id=None)))
        async with asyncio.timeout(PATIENCE):
            await server.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(PATIENCE):
            await server.ended.wait()


async def test_unreachable_endpoint_is_retryable() -> None:
    client = PubSubClient("127.0.0.1:1", False, Tokens())  # type: ignore[arg-type]
    with pytest.raises(Retryable, match="UNAVAILABLE"):
        await anext(client.subscribe(TOPIC, replay_id=None))
    await client.aclose()


async def test_schema_is_asked_for_once_and_again_only_with_a_new_token() -> None:
    """salesforce §A2: a schema id never changes its meaning; GetSchema fails with an old token while streams go on."""
    async with connected(for_ever) as (server, client):
        server.tokens_refused = {"t1"}
        schema = await client.schema("KxC1P8xW4-iTJxZQ6PlZpw")
        assert (schema.name, server.schema_calls) == ("CaseChangeEvent", 2)
        assert await client.schema("KxC1P8xW4-iTJxZQ6PlZpw") is schema
        assert server.schema_calls == 2
        with pytest.raises(Rejected):
            await client.schema("")


async def test_calls_trust_an_authority_that_was_put_into_the_file(tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old-authority"), Authority(tmp_path, "new-authority")
    roots = tmp_path / "roots.pem"
    roots.write_bytes(old.file.read_bytes())
    server, handler = grpc.aio.server(), Server(for_ever)
    pb_grpc.add_PubSubServicer_to_server(handler, server)
    pem = new.certify("server").read_bytes()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)]))
    await server.start()
    client = PubSubClient(f"127.0.0.1:{port}", True, Tokens(), ca_file=str(roots))  # type: ignore[arg-type]
    try:
        with pytest.raises(Retryable):
            await client.schema("s")
        roots.write_bytes(new.file.read_bytes())
        assert await client.schema("s")
        roots.unlink()
        assert await client.schema("another")
    finally:
        await client.aclose()
        await server.stop(None)


async def test_a_missing_file_of_authorities_is_one_sentence() -> None:
    client = PubSubClient("127.0.0.1:1", True, Tokens(), ca_file="none.pem")  # type: ignore[arg-type]
    with pytest.raises(Fatal, match=r"salesforce\.pubsub\.ca_file: none\.pem cannot be read"):
        await client.schema("s")
