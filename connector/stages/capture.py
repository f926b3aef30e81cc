"""capture: Salesforce's Pub/Sub API → salesforce.cdc.*, salesforce.events.* and salesforce.positions.

One stream per channel. Capture writes change events and the position after them in one transaction, so a restart goes
on exactly where the topics end. Workers share the channels; a worker that takes one over fences the worker that had it.
Each channel is a cell: capture tries a failing channel again at growing intervals, and it stops no other channel.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Literal

import structlog

from connector.cells import Cell, Cells
from connector.config import PubSub
from connector.errors import Fatal, Rejected, Retryable
from connector.kafka.channel_log import ChannelLog
from connector.kafka.cloud_events import OutRecord, to_record
from connector.observe.metrics import Metrics
from connector.records import ChangeEvent, Position
from connector.retry import PATIENCE, Lasts, patiently
from connector.salesforce import (
    Batch,
    DecodedChange,
    DecodedPlatformEvent,
    EventSchema,
    PositionLost,
    PubSubClient,
    RawEvent,
    decode,
    decode_platform_event,
)

log = structlog.get_logger(__name__)

_LARGEST = 2_000_000  # bytes of JSON: its topic takes 2 MiB with key and headers, and Salesforce's Avro is 1 MB at most

NewLog = Callable[[str, int], ChannelLog]
DeadLetter = Callable[[str, bytes, str, Exception, Mapping[str, str]], OutRecord]


class Capture:
    """The stage. `topics` gives the topic of each entity that is wanted.

    `channel_log(channel, partition)` makes a log that is not open yet. `dead_letter(source, payload, reason, error)`
    makes the record for an event that cannot be read.
    """

    def __init__(
        self,
        pubsub: PubSubClient,
        settings: PubSub,
        topics: Mapping[str, str],
        *,
        channel_log: NewLog,
        dead_letter: DeadLetter,
        metrics: Metrics,
        cells: Cells,
    ) -> None:
        self._cells = cells
        self._pubsub = pubsub
        self._settings = settings
        self._topics = topics
        self._channel_log = channel_log
        self._dead_letter = dead_letter
        self._metrics = metrics
        self._without_position: set[str] = set()  # the channels for which we have logged this

    async def follow(self, channel: str, partition: int) -> None:
        """Captures a channel until it is cancelled.

        Raises:
            Fenced: Another worker has the channel now.
        """
        channel_log = self._channel_log(channel, partition)
        cell = self._cell(channel)
        try:
            while True:
                await self._try_to_follow(channel_log, cell)
        finally:
            await channel_log.close()

    def _cell(self, channel: str) -> Cell:
        return self._cells.at("capture/" + channel.strip("/").replace("/", "."))

    async def _try_to_follow(self, channel_log: ChannelLog, cell: Cell) -> None:
        """Follows the channel until its stream ends. An error that prevents this holds the channel's cell."""
        async with cell.turn():
            try:
                await patiently(partial(self._follow_once, channel_log), 0.0 if cell.holder else PATIENCE)
            except Lasts as error:
                cell.hold(error, "outage", at_least=error.at_least)
            except Fatal as error:
                (cell.parent if error.whole and cell.parent else cell).hold(error, "configuration")

    async def _follow_once(self, channel_log: ChannelLog) -> None:
        """Follows the channel from its position until Salesforce or Kafka fail."""
        await channel_log.open()
        position = channel_log.position
        if position is None and channel_log.channel not in self._without_position:
            # The first event or keep-alive brings a position. What we miss before then stays missed.
            log.warning("no_position_yet", channel=channel_log.channel, begins_with=self._settings.start)
            self._without_position.add(channel_log.channel)
        try:
            await self._copy(channel_log, position, "earliest" if position else self._settings.start)
        except PositionLost as error:
            if position is None:
                raise
            if self._settings.lost_position == "stop":
                raise Fatal(
                    f"channel {channel_log.channel}: Salesforce no longer knows the position of {position.at}: {error}."
                    " Changes since then may be lost. Set salesforce.pubsub.lost_position to earliest to go on with"
                    " what Salesforce still has (72 h)."
                ) from error
            log.warning("position_lost", channel=channel_log.channel, last=str(position.at), going_on_from="earliest")
            await self._copy(channel_log, None, "earliest")

    async def _copy(
        self, channel_log: ChannelLog, after: Position | None, preset: Literal["latest", "earliest"]
    ) -> None:
        """Copies one stream to its end. An error after progress counts as a normal end: the next pause is short."""
        progress, before = False, after
        self._metrics.stream_restarts.labels(channel_log.channel).inc()
        stream = self._pubsub.subscribe(
            channel_log.channel, replay_id=bytes.fromhex(after.replay_id) if after else None, preset=preset
        )
        try:
            async with aclosing(stream) as batches:
                async for batch in batches:
                    await self._store(batch, channel_log, before, preset)
                    progress, before = True, channel_log.position
                    self._cell(channel_log.channel).works()
        except Retryable as error:
            if error.retry_after or not progress:
                raise  # an outage, which `until_it_works` logs once a minute
            log.warning("stream_ended", channel=channel_log.channel, error=str(error))

    async def _store(self, batch: Batch, channel_log: ChannelLog, before: Position | None, preset: str) -> None:
        ahead = frozenset(before.written_ahead if before else ())
        records: list[OutRecord] = []
        ids: dict[bytes, list[str]] = {}
        for raw in batch.events:
            found = await self._records(raw, channel_log.channel)
            ids.setdefault(raw.replay_id, []).extend(found)
            records += [record for id_, record in found.items() if id_ not in ahead]
        try:
            await channel_log.append(records, _position(channel_log.channel, before, batch, ids, preset))
        except Rejected as error:
            raise Fatal(
                f"channel {channel_log.channel}: {error}. `connector topics apply` says which topic's max.message.bytes"
                " is too small."
            ) from error
        self._metrics.change_events.labels(channel_log.channel).inc(len(records))

    async def _records(self, raw: RawEvent, channel: str) -> dict[str, OutRecord]:
        """The records that an event becomes, by id. The ids are the same at every delivery of the event."""
        try:
            return self._readable(raw, channel, await self._pubsub.schema(raw.schema_id))
        except Rejected as error:
            log.warning("event_refused", channel=channel, replay_id=raw.replay_id.hex(), error=str(error))
            source, reason = f"{channel} {raw.replay_id.hex()}", error.code or "undecodable"
            letter = self._dead_letter(source, raw.payload, reason, error, {"cell": self._cell(channel).name})
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
        wanted = event.entity in self._topics
        if not wanted:
            self._metrics.unwanted_events.labels(event.channel, event.entity).inc()
        return wanted

    def _to_record(self, event: ChangeEvent) -> OutRecord:
        record = to_record(
            self._topics[event.entity],
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
    *earlier, last = [replay_id.hex() for replay_id in ids or [batch.latest_replay_id]]
    complete, ahead_replay_id, ahead = last, None, tuple[str, ...]()
    if ids and channel.endswith("__chn") and (earlier or before or preset == "earliest"):
        ahead_replay_id, ahead = last, tuple(ids[bytes.fromhex(last)])
        if earlier:
            complete = earlier[-1]
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
