"""What capture makes of an answer of the stream: a record for each change, and the position after them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from connector.errors import Rejected
from connector.kafka.cloud_events import OutRecord, to_record
from connector.observe.metrics import Metrics
from connector.observe.tracing import tracing
from connector.records import ChangeEvent, Position
from connector.salesforce import (
    Batch,
    DecodedChange,
    DecodedPlatformEvent,
    EventSchema,
    PubSubClient,
    RawEvent,
    decode,
    decode_platform_event,
)

log = structlog.get_logger(__name__)

_LARGEST = 2_000_000  # bytes of JSON: its topic takes 2 MiB with key and headers, and Salesforce's Avro is 1 MB at most

DeadLetter = Callable[[str, bytes, str, Exception, Mapping[str, str]], OutRecord]


def cell_of(channel: str) -> str:
    """The name of the channel's cell."""
    return "capture/" + channel.strip("/").replace("/", ".")


@dataclass(frozen=True)
class Events:
    """Makes records of the events that are wanted: `topics` gives the topic of each entity.

    `dead_letter(source, payload, reason, error, more)` makes the record for an event that cannot be read.
    """

    pubsub: PubSubClient
    topics: Mapping[str, str]
    dead_letter: DeadLetter
    metrics: Metrics

    async def captured(
        self, batch: Batch, channel: str, before: Position | None, preset: str
    ) -> tuple[list[OutRecord], Position]:
        """The records of a batch that are not written yet, and the position after it.

        Raises:
            Retryable, Fatal: Salesforce does not give a schema now.
        """
        ahead = frozenset(before.written_ahead if before else ())
        records: list[OutRecord] = []
        ids: dict[bytes, list[str]] = {}
        for raw in batch.events:
            found = await self._records(raw, channel)
            ids.setdefault(raw.replay_id, []).extend(found)
            records += [record for id_, record in found.items() if id_ not in ahead]
        return records, _position(channel, before, batch, ids, preset)

    async def _records(self, raw: RawEvent, channel: str) -> dict[str, OutRecord]:
        """The records that an event becomes, by id. The ids are the same at every delivery of the event."""
        try:
            return self._readable(raw, channel, await self.pubsub.schema(raw.schema_id))
        except Rejected as error:
            log.warning("event_refused", channel=channel, replay_id=raw.replay_id.hex(), error=str(error))
            source, reason = f"{channel} {raw.replay_id.hex()}", error.code or "undecodable"
            letter = self.dead_letter(source, raw.payload, reason, error, {"cell": cell_of(channel)})
            return {hashlib.sha256(raw.payload).hexdigest(): letter}

    def _readable(self, raw: RawEvent, channel: str, schema: EventSchema) -> dict[str, OutRecord]:
        try:
            if channel.startswith("/event/"):
                events = [_platform_event(channel, raw, decode_platform_event(raw.payload, schema))]
            else:
                events = [_change_event(channel, raw, change) for change in decode(raw.payload, schema)]
            return {event.id: self._to_record(event) for event in events if self._is_wanted(event)}
        except Rejected:
            raise
        except Exception as error:  # whatever the error, this event is at fault and the next one is not
            raise Rejected(f"not a readable event: {type(error).__name__}", code="undecodable") from error

    def _is_wanted(self, event: ChangeEvent) -> bool:
        wanted = event.entity in self.topics
        if not wanted:
            self.metrics.unwanted_events.labels(event.channel, event.entity).inc()
        return wanted

    def _to_record(self, event: ChangeEvent) -> OutRecord:
        with tracing.span(
            f"receive {event.channel}", "consumer", {"connector.record_id": event.record_id}, start=event.committed_at
        ):
            record = to_record(
                self.topics[event.entity],
                event.record_id,
                event,
                ce_type=f"salesforce.{'event' if event.change_type == 'EVENT' else 'change'}.{event.entity}",
                ce_source=event.channel,
                ce_id=event.id,
                ce_time=event.committed_at,
            )
        if len(record.value or b"") > _LARGEST:
            raise Rejected(f"the event has more than {_LARGEST} bytes as JSON", code="too_large")
        return record


def _position(
    channel: str, before: Position | None, batch: Batch, ids: Mapping[bytes, Sequence[str]], preset: str
) -> Position:
    """The position after a batch; `ids` are the ids of its change events, by replay id, in order.

    On custom channels several events may share a replay id (salesforce §0.7), and the rest of them may come with the
    next batch. So there the position stays before the last replay id, and notes what was written beyond it. An empty
    one means the earliest event: there is none before, and the stream did not begin with the latest.
    """
    *earlier, newest = ids or [batch.latest_replay_id]
    last = newest.hex()
    complete, ahead_replay_id, ahead = last, None, tuple[str, ...]()
    if ids and channel.endswith("__chn") and (earlier or before or preset == "earliest"):
        ahead_replay_id, ahead = last, tuple(ids[newest])
        if earlier:
            complete = earlier[-1].hex()
        elif before and before.ahead_replay_id == last:
            complete, ahead = before.replay_id, before.written_ahead + ahead
        else:
            complete = (before.ahead_replay_id or before.replay_id) if before else ""
    return Position(
        channel=channel,
        replay_id=complete,
        ahead_replay_id=ahead_replay_id,
        written_ahead=tuple(dict.fromkeys(ahead)),
        at=datetime.now(UTC),
    )


def _change_event(channel: str, raw: RawEvent, change: DecodedChange) -> ChangeEvent:
    return ChangeEvent(
        id=f"{change.transaction_key}-{change.sequence_number}-{change.record_id}",
        channel=channel,
        replay_id=raw.replay_id.hex(),
        schema_id=raw.schema_id,
        entity=change.entity,
        record_id=change.record_id,
        change_type=change.change_type,
        changed_fields=change.changed_fields,
        nulled_fields=change.nulled_fields,
        diff_fields=dict(change.diff_fields),
        fields=dict(change.fields),
        change_origin=change.change_origin,
        transaction_key=change.transaction_key,
        sequence_number=change.sequence_number,
        commit_number=change.commit_number,
        commit_user=change.commit_user,
        committed_at=datetime.fromtimestamp(change.commit_timestamp / 1000, UTC),
    )


def _platform_event(channel: str, raw: RawEvent, event: DecodedPlatformEvent) -> ChangeEvent:
    """If an event is published again, it has the same EventUuid and another replay id (salesforce §A5)."""
    uuid = event.event_uuid or raw.id or raw.replay_id.hex()
    return ChangeEvent(
        id=uuid,
        channel=channel,
        replay_id=raw.replay_id.hex(),
        schema_id=raw.schema_id,
        entity=event.entity,
        record_id=uuid,
        change_type="EVENT",
        changed_fields=tuple(event.fields),
        fields=dict(event.fields),
        commit_user=event.created_by_id,
        committed_at=datetime.fromtimestamp(event.created_date / 1000, UTC),
    )
