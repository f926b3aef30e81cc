"""The double itself: its servers, its settings, what users do in it, and its memory."""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import grpc
from aiohttp import web

from connector.doubles.salesforce import control, ids
from connector.doubles.salesforce.event_log import EventLog
from connector.doubles.salesforce.faults import Faults
from connector.doubles.salesforce.front import Front
from connector.doubles.salesforce.model import Call, Channel, Fault, Settings, Stream, Token, Write
from connector.doubles.salesforce.oauth import OAuth, make_key, public_half
from connector.doubles.salesforce.pubsub import PubSub
from connector.doubles.salesforce.rest import Rest
from connector.doubles.salesforce.store import Record, Store
from connector.doubles.salesforce.subscription import RefusedError
from connector.doubles.salesforce.transactions import Transaction, transaction
from connector.doubles.salesforce.values import composed
from connector.salesforce.proto import pubsub_api_pb2_grpc

_CDC = ("Case", "Contact", "Account", "Survey_Response__c")  # an org may choose five (salesforce §A5)
_LONGEST_LINE = 65_536  # bytes that the server reads of a request line or header, to be able to refuse it properly


class SalesforceDouble:
    """One org on two ports: `async with SalesforceDouble() as sf`. Everything it holds is made up.

    `login_url` (also the instance) and `pubsub_endpoint` (plain text) are known once it is entered. `clock`, in seconds
    since the epoch, decides about tokens, retention and all time stamps; keepalives and idle streams are in real
    seconds, so that a test makes them short. Users change records by `create`, `update`, `delete`, `undelete` and
    `publish`, several at once in one `transaction`. `/_control/` offers the same as JSON.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        rest_port: int = 0,
        pubsub_port: int = 0,
        *,
        clock: Callable[[], float] = time.time,
        client_id: str | None = None,
        client_secret: str | None = None,
        username: str = "connector@example.com",
        jwt_public_key: str | None = None,
        cdc: Sequence[str] = _CDC,
        settings: Settings | None = None,
    ) -> None:
        self.clock = clock
        self.client_id = client_id or f"3MVG9{secrets.token_urlsafe(24)}"
        self.client_secret = client_secret or secrets.token_hex(32).upper()
        self.username = username
        self.org_id = ids.make("00D", 4711)
        self.settings = settings or Settings()
        self.channels: dict[str, Channel] = {}
        self.calls: list[Call] = []
        self.writes: list[Write] = []
        self.api_usage = self.delivered = 0
        self.faults = Faults()
        self.log = EventLog(clock)
        self.store = Store(clock, self.log, cdc)
        self.oauth = OAuth(self)
        self.stopping = asyncio.Event()
        self.login_url = self.pubsub_endpoint = ""
        self._host, self._rest_port, self._pubsub_port = host, rest_port, pubsub_port
        self._pubsub = PubSub(self)
        self._jwt_private_key = ""
        self._jwt_public_key = jwt_public_key
        self._runner: web.AppRunner
        self._server: Any
        self.user_id = self._add_user("Connector", username)
        self.agent_id = self._add_user("Agent", "agent@example.com")

    def _add_user(self, last_name: str, username: str) -> str:
        with transaction(self.store, ids.make("005", 1)) as changes:
            fields = {"FirstName": "Sam", "LastName": last_name, "Username": username, "Email": username}
            return changes.create("User", fields)

    async def __aenter__(self) -> "SalesforceDouble":
        app = web.Application(middlewares=[Front(self).around], client_max_size=8 * 1024 * 1024)
        Rest(self).add_to(app)
        control.add_to(app, self)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=1.0,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._rest_port).start()
        self.login_url = f"http://{self._host}:{self._runner.addresses[0][1]}"
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        pubsub_api_pb2_grpc.add_PubSubServicer_to_server(self._pubsub, self._server)  # type: ignore[no-untyped-call]
        port = self._server.add_insecure_port(f"{self._host}:{self._pubsub_port}")
        await self._server.start()
        self.pubsub_endpoint = f"{self._host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopping.set()
        await self._server.stop(None)
        await self._runner.cleanup()

    @property
    def jwt_private_key(self) -> str:
        """PEM of a key made for this double, where no public key was given."""
        if not self._jwt_private_key:
            self._jwt_private_key = make_key()
        return self._jwt_private_key

    @property
    def jwt_public_key(self) -> str:
        return self._jwt_public_key or public_half(self.jwt_private_key)

    # What users and administrators do. `origin` is the changeOrigin of the event: empty unless a program did it.

    def transaction(self, *, origin: str = "", user: str | None = None) -> AbstractContextManager[Transaction]:
        return transaction(self.store, user or self.agent_id, origin)

    def create(self, entity: str, fields: Mapping[str, Any], *, origin: str = "", user: str | None = None) -> str:
        with self.transaction(origin=origin, user=user) as changes:
            return changes.create(entity, fields)

    def update(
        self,
        entity: str,
        record_ids: str | Sequence[str],
        fields: Mapping[str, Any],
        *,
        origin: str = "",
        user: str | None = None,
    ) -> None:
        """The same change to one record or several: several become one merged event."""
        with self.transaction(origin=origin, user=user) as changes:
            for record_id in _listed(record_ids):
                changes.update(entity, record_id, fields)

    def delete(
        self, entity: str, record_ids: str | Sequence[str], *, origin: str = "", user: str | None = None
    ) -> None:
        with self.transaction(origin=origin, user=user) as changes:
            for record_id in _listed(record_ids):
                changes.delete(entity, record_id)

    def undelete(
        self, entity: str, record_ids: str | Sequence[str], *, origin: str = "", user: str | None = None
    ) -> None:
        with self.transaction(origin=origin, user=user) as changes:
            for record_id in _listed(record_ids):
                changes.undelete(entity, record_id)

    def publish(self, event: str, fields: Mapping[str, Any]) -> str:
        """Publish a platform event. Returns its EventUuid."""
        return self.store.publish(event, fields, self.agent_id)

    def gap(
        self,
        entity: str,
        record_ids: Sequence[str] = (),
        change_type: str = "GAP_UPDATE",
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """A GAP_… event, after an update with `fields` that no other event tells of. `001*` is a wildcard."""
        if fields:
            with self.store.silence(entity):
                self.update(entity, record_ids, fields)
        self.store.gap(entity, record_ids, change_type, self.agent_id)

    def add_field(self, entity: str, line: str, position: int = 5) -> str:
        """A new field, as in `schema`: "Floor__c text(20)". Returns the schema id of the events from now on."""
        return self.store.add_field(entity, line, position)

    def add_channel(self, name: str, channel: Channel) -> None:
        """A custom channel; its topic is `/data/NAME`, and its name ends in `__chn`."""
        if not name.endswith("__chn"):
            raise ValueError(f"a custom channel's name ends in __chn, not {name!r}")
        self.channels[name] = channel

    def configure(self, *, interleave_schemas: bool | None = None, **changes: object) -> None:
        """Change single settings, as `configure(batch=1)`; or let events alternate between two schema versions."""
        if interleave_schemas is not None:
            self.store.interleave = interleave_schemas
        self.settings = Settings.model_validate({**self.settings.model_dump(), **changes})

    # What goes wrong.

    def fail(self, fault: Fault) -> None:
        if isinstance(fault.status, str):
            grpc.StatusCode[fault.status]
        self.faults.waiting.append(fault)

    def lock(self, record: str, times: int = 1) -> None:
        """The next `times` writes over REST of the record, named by id or external id, find it locked."""
        self.faults.lock(record, times)

    def revoke_tokens(self) -> None:
        self.oauth.revoke()

    def hang_streams(self, topic: str | None = None) -> None:
        """The open streams, or those of a topic, say nothing more: no event, no keepalive, no error."""
        for subscription in self._open(topic):
            subscription.break_after(0, None)

    def break_streams(self, status: str = "UNAVAILABLE", error_code: str = "", topic: str | None = None) -> None:
        """The open streams end with this gRPC status, and this `error-code` without its prefix."""
        grpc.StatusCode[status]
        for subscription in self._open(topic):
            subscription.break_after(0, RefusedError(status, error_code, "a fault that was asked for"))

    def lose_positions(self) -> None:
        """The org moves: streams break, and no replay id that was given out is known any more (salesforce §A4)."""
        self.break_streams("INVALID_ARGUMENT", "subscription.fetch.replayid.corrupted")
        self.log.reset()

    def _open(self, topic: str | None) -> list[Any]:
        return [s for s in self._pubsub.subscriptions if s.stream.open and topic in {None, s.stream.topic}]

    # What is remembered.

    @property
    def streams(self) -> list[Stream]:
        """Every Subscribe call that was accepted, open or not."""
        return [subscription.stream for subscription in self._pubsub.subscriptions]

    @property
    def tokens(self) -> list[Token]:
        return self.oauth.given

    def history(self, record: str | None = None) -> list[Write]:
        """Writes over REST: all, or those to one record, named by its id or external id."""
        return [write for write in self.writes if record is None or record in {write.record_id, write.key}]

    def records(self, entity: str) -> list[Record]:
        """The object's records that are not deleted, as REST shows them."""
        kept = self.store.records[self.store.entity(entity).name].values()
        return [self.record(entity, record["Id"]) for record in kept if not record["IsDeleted"]]

    def record(self, entity: str, record_id: str) -> Record:
        found = self.store.get(entity, record_id)
        return {name: composed(found, field) for name, field in self.store.entity(entity).rest.items()}

    def begin(self, call: Call) -> int:
        self.calls.append(call)
        return len(self.calls) - 1

    def end(self, number: int, status: int | str) -> None:
        self.calls[number] = self.calls[number].model_copy(update={"status": status})

    def remember(self, write: Write) -> None:
        self.writes.append(write)


def _listed(record_ids: str | Sequence[str]) -> Sequence[str]:
    return [record_ids] if isinstance(record_ids, str) else record_ids
