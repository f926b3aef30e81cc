"""The double's state: an org's records, events, tokens, settings and memory; and the actions of its users."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

from connector.sandbox.doubles.salesforce import ids
from connector.sandbox.doubles.salesforce.event_log import EventLog
from connector.sandbox.doubles.salesforce.faults import Faults
from connector.sandbox.doubles.salesforce.model import (
    Approval,
    Call,
    Channel,
    Event,
    Fault,
    GapType,
    Managed,
    Settings,
    Stream,
    Token,
    Write,
)
from connector.sandbox.doubles.salesforce.org_rules import Lock
from connector.sandbox.doubles.salesforce.store import Record, Store
from connector.sandbox.doubles.salesforce.transactions import Transaction, transaction
from connector.sandbox.doubles.salesforce.values import composed

_A_YEAR = 366 * 86400.0  # seconds
_CDC = ("Case", "Contact", "Account", "Survey_Response__c")  # an org may choose five (salesforce §A5)


class State:
    """One made-up org: the data behind the servers, and the methods that `SalesforceDouble` offers to tests."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        client_id: str | None = None,
        client_secret: str | None = None,
        username: str = "connector@example.com",
        cdc: Sequence[str] = _CDC,
        settings: Settings | None = None,
    ) -> None:
        self._ahead = 0.0  # seconds
        self.clock: Callable[[], float] = lambda: clock() + self._ahead
        self.sleep = sleep
        self.client_id = client_id or f"3MVG9{secrets.token_urlsafe(24)}"
        self.client_secret = client_secret or secrets.token_hex(32).upper()
        self.username = username
        self.org_id = ids.make("00D", 4711)
        self.settings = settings or Settings()
        self.channels: dict[str, Channel] = {}
        self.managed: dict[str, Managed] = {}  # by id
        self.committed: dict[str, bytes] = {}  # by id of a managed subscription: the replay id of its last commit
        self.approvals: dict[str, Approval] = {}  # by authorization code
        self.refresh_tokens: set[str] = set()
        self.calls: list[Call] = []
        self.writes: list[Write] = []
        self.tokens: list[Token] = []
        self.streams: list[Stream] = []  # all accepted Subscribe calls, open or closed
        self.api_usage = self.delivered = 0
        self.faults = Faults()
        self.log = EventLog(self.clock)
        self.store = Store(self.clock, self.log, cdc, self.settings)
        self.stopping = asyncio.Event()
        self._valid: dict[str, Token] = {}  # by access token
        self.user_id = self._add_user("Connector", username)
        self.agent_id = self._add_user("Agent", "agent@example.com")

    def _add_user(self, last_name: str, username: str) -> str:
        with transaction(self.store, ids.make("005", 1)) as changes:
            fields = {"FirstName": "Sam", "LastName": last_name, "Username": username, "Email": username}
            return changes.create("User", fields)

    # Actions of users and administrators. `origin` is the event's changeOrigin: empty unless a program made the change.

    def transaction(self, *, origin: str = "", user: str | None = None) -> AbstractContextManager[Transaction]:
        return transaction(self.store, user or self.agent_id, origin)

    def create(self, entity: str, fields: Mapping[str, Any], *, origin: str = "", user: str | None = None) -> str:
        """Create a record; returns its id."""
        with self.transaction(origin=origin, user=user) as changes:
            return changes.create(entity, fields)

    def update(
        self,
        entity: str,
        record_ids: str | list[str],
        fields: Mapping[str, Any],
        *,
        origin: str = "",
        user: str | None = None,
    ) -> None:
        """Make the same change to one or several records. Several records give one merged event."""
        with self.transaction(origin=origin, user=user) as changes:
            for record_id in _listed(record_ids):
                changes.update(entity, record_id, fields)

    def delete(self, entity: str, record_ids: str | list[str], *, origin: str = "", user: str | None = None) -> None:
        """Move the records into the recycle bin."""
        with self.transaction(origin=origin, user=user) as changes:
            for record_id in _listed(record_ids):
                changes.delete(entity, record_id)

    def undelete(self, entity: str, record_ids: str | list[str], *, origin: str = "", user: str | None = None) -> None:
        """Move the records out of the recycle bin."""
        with self.transaction(origin=origin, user=user) as changes:
            for record_id in _listed(record_ids):
                changes.undelete(entity, record_id)

    def merge(self, entity: str, survivor: str, record_ids: str | list[str]) -> None:
        """Merge records into one that survives. They are deleted, and their MasterRecordId names it."""
        with self.transaction() as changes:
            for record_id in _listed(record_ids):
                changes.merge(entity, survivor, record_id)

    def publish(self, event: str, fields: Mapping[str, Any]) -> str:
        """Publish a platform event. Returns its EventUuid."""
        return self.store.publish(event, fields, self.agent_id)

    def gap(
        self,
        entity: str,
        record_ids: Sequence[str] = (),
        change_type: GapType = "GAP_UPDATE",
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Publish a GAP_… event. Before it, update `fields` without any other event. `001*` is a wildcard."""
        if fields:
            with self.store.silence(entity):
                self.update(entity, list(record_ids), fields)
        self.store.gap(entity, record_ids, change_type, self.agent_id)

    def add_field(self, entity: str, line: str, position: int = 5) -> str:
        """Add a field, written as in `schema`: "Floor__c text(20)". Returns the schema id of new events."""
        return self.store.add_field(entity, line, position)

    def add_channel(self, name: str, channel: Channel) -> None:
        """Add a custom channel. Its topic is `/data/NAME`, and its name ends in `__chn`."""
        if not name.endswith("__chn"):
            raise ValueError(f"a custom channel's name ends in __chn, not {name!r}")
        for entity in channel.entities:
            self.store.entity(entity)
        self.channels[name] = channel

    def add_managed_subscription(
        self, developer_name: str, topic: str, default_replay: Literal["LATEST", "EARLIEST"] = "LATEST"
    ) -> str:
        """Add a managed subscription. Returns its id."""
        found = Managed(
            id=ids.make("18x", len(self.managed) + 1),
            developer_name=developer_name,
            topic=topic,
            default_replay=default_replay,
        )
        self.managed[found.id] = found
        return found.id

    def configure(self, **changes: object) -> None:
        """Change single settings, such as `configure(batch=1)`."""
        self.settings = self.store.settings = Settings.model_validate({**self.settings.model_dump(), **changes})

    def advance(self, seconds: float) -> None:
        """Set the clock forward, by a year at most: tokens and events grow old."""
        if not 0 <= seconds <= _A_YEAR:
            raise ValueError(f"{seconds:g} s is not between 0 and {_A_YEAR:g}")
        self._ahead += seconds

    # Faults.

    def fail(self, fault: Fault) -> None:
        """Let the next calls of a kind fail, hang or be late."""
        self.faults.waiting.append(fault)

    def lock(self, record: str, times: int = 1, kind: Lock = "row") -> None:
        """Lock a record, named by id or external id, for its next `times` writes over REST, in one of five wordings."""
        self.faults.lock(record, times, kind)

    # Tokens.

    def add_token(self, token: Token) -> None:
        """Make the token valid until it expires."""
        self.tokens.append(token)
        self._valid[token.token] = token

    def valid_token(self, access_token: str) -> Token | None:
        """The token, if it is still valid."""
        token = self._valid.get(access_token)
        return token if token and token.expires_at > self.clock() else None

    def bearer(self, headers: Mapping[str, str]) -> Token | None:
        """The valid token in the Authorization header."""
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        return self.valid_token(token) if scheme in {"Bearer", "OAuth"} else None

    def revoke_token(self, access_token: str) -> bool:
        """Make this token invalid. Whether it was one."""
        return self._valid.pop(access_token, None) is not None

    def revoke_tokens(self) -> None:
        """Make all tokens given so far invalid."""
        self._valid.clear()

    # Memory.

    def reset(self) -> None:
        """Forget calls, writes, tokens, usage, closed streams and faults; records, events and settings stay."""
        self.calls.clear()
        self.writes.clear()
        self.tokens.clear()
        self.faults.clear()
        self.api_usage = self.delivered = 0
        self.streams = [stream for stream in self.streams if stream.open]

    def history(self, record: str | None = None) -> list[Write]:
        """All writes over REST, or those to one record, named by its id or external id."""
        return [write for write in self.writes if record is None or record in {write.record_id, write.key}]

    def records(self, entity: str) -> list[Record]:
        """The object's records that are not deleted, as REST shows them."""
        kept = self.store.records[self.store.entity(entity).name].values()
        return [self.record(entity, record["Id"]) for record in kept if not record["IsDeleted"]]

    def record(self, entity: str, record_id: str) -> Record:
        found = self.store.get(entity, record_id)
        return {name: composed(found, field) for name, field in self.store.entity(entity).rest.items()}

    def events(self, entity: str | None = None) -> list[Event]:
        """The published events in order: all, or those of one object or platform event."""
        return [
            Event(
                at=entry.at,
                entity=entry.entity,
                replay_id=entry.replay_id.hex(),
                schema_id=entry.schema.schema_id,
                header=None if entry.header is None else dict(entry.header),
                values=dict(entry.values),
            )
            for entry in self.log.entries
            if entry.schema is not None and entity in {None, entry.entity}
        ]


def _listed(record_ids: str | list[str]) -> list[str]:
    return [record_ids] if isinstance(record_ids, str) else record_ids
