"""The org's event stream: published events in order, with the replay ids that clients resume from."""

import asyncio
import random
import uuid
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from connector.sandbox.doubles.salesforce.avro_events import EventSchema

RETENTION = 72 * 3600.0  # seconds (salesforce §A5)
_FIRST = 0x5A94F0
_LARGEST_STEP = 7  # replay ids are ordered, not contiguous (salesforce §A2)


class ReplayIdCorruptedError(Exception):
    """No client may resume from this replay id: never given out, too old, or from before a reset."""


@dataclass(frozen=True)
class Entry:
    """One event. Without a `schema` it is a mark: a position that a keepalive named."""

    number: int
    at: float
    entity: str = ""
    schema: EventSchema | None = None
    payload: bytes = b""
    header: Mapping[str, Any] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    event_id: str = ""

    @property
    def replay_id(self) -> bytes:
        return self.number.to_bytes(8, "big") + b"\0\0"


class EventLog:
    """All topics share one log and its replay ids. Positions in it are indexes into `entries`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._random = random.Random()  # noqa: S311 - not a secret
        self._last = _FIRST + self._random.getrandbits(40)  # so that ids of an earlier run are not valid by chance
        self.entries: list[Entry] = []
        self.listeners: set[asyncio.Event] = set()

    def publish(
        self,
        entity: str,
        schema: EventSchema,
        header: Mapping[str, Any] | None,
        values: Mapping[str, Any],
        event_id: str = "",
    ) -> Entry:
        event_id = event_id or str(uuid.uuid4())
        entry = self._append(entity, schema, schema.encode(header, values), header, values, event_id)
        for listener in self.listeners:
            listener.set()
        return entry

    def mark(self) -> bytes:
        """A replay id that stands for everything up to now."""
        return self._append().replay_id

    def _append(self, *event: Any) -> Entry:
        self._last += self._random.randint(1, _LARGEST_STEP)
        entry = Entry(self._last, self._clock(), *event)
        self.entries.append(entry)
        return entry

    def earliest(self) -> int:
        """The index of the first entry that is still kept."""
        return bisect_left(self.entries, self._clock() - RETENTION, key=lambda entry: entry.at)

    def after(self, replay_id: bytes) -> int:
        """The index of the first entry strictly after `replay_id`, in its full form or cut to its first 8 bytes.

        Some clients keep a replay id as a number of 8 bytes, and orgs take it back (salesforce §A2, public reports).

        Raises:
            ReplayIdCorruptedError: See there.
        """
        number = int.from_bytes(replay_id[:8], "big")
        index = bisect_left(self.entries, number, key=lambda entry: entry.number)
        full = self.entries[index].replay_id if index < len(self.entries) else b""
        known = replay_id in {full, full[:8]} - {b""}
        if not known or index < self.earliest():
            raise ReplayIdCorruptedError(replay_id.hex())
        return index + 1

    def reset(self) -> None:
        """The org moved: forget all events, so that all replay ids given out so far become unknown."""
        self.entries.clear()
