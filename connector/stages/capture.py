"""capture: Salesforce's Pub/Sub API → salesforce.cdc.*, salesforce.events.* and salesforce.positions.

One stream per channel. Change events and the position behind them are written in one transaction, so a restart goes on
exactly where the topics end. Workers share the channels, and whoever takes one over fences the worker that had it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import structlog

from connector.config import PubSub
from connector.errors import Fatal, Rejected, Retryable
from connector.kafka.channel_log import ChannelLog
from connector.kafka.cloud_events import OutRecord, to_record
from connector.metrics import Metrics
from connector.records import ChangeEvent, Position
from connector.retry import until_it_works
from connector.salesforce import (
    Batch,
    DecodedChange,
    DecodedPlatformEvent,
    PositionLost,
    PubSubClient,
    RawEvent,
    decode,
    decode_platform_event,
)

log = structlog.get_logger(__name__)

OpenLog = Callable[[str, int], Awaitable[ChannelLog]]
DeadLetter = Callable[[str, bytes, str, Exception], OutRecord]


class Capture:
    """The stage. `topics` gives the topic of each entity that is wanted.

    `dead_letter(source, payload, reason, error)` makes the record for an event that nobody can read.
    """

    def __init__(
        self,
        pubsub: PubSubClient,
        settings: PubSub,
        topics: Mapping[str, str],
        *,
        open_log: OpenLog,
        dead_letter: DeadLetter,
        metrics: Metrics,
    ) -> None:
        self._pubsub = pubsub
        self._settings = settings
        self._topics = topics
        self._open_log = open_log
        self._dead_letter = dead_letter
        self._metrics = metrics

    async def follow(self, channel: str, partition: int) -> None:
        """Captures a channel until it is cancelled.

        Raises:
            Fatal: The channel cannot be followed until a person changes something; PositionLost is one of these.
            Fenced: Another worker has the channel now.
        """
        async for attempt in until_it_works():
            with attempt:
                channel_log = await self._open_log(channel, partition)
        try:
            while True:
                async for attempt in until_it_works():
                    with attempt:
                        await self._follow_once(channel_log)
        finally:
            await channel_log.close()

    async def _follow_once(self, channel_log: ChannelLog) -> None:
        """Follows one stream to its end. An error after progress is an end like any other: the next pause is short."""
        progress = False
        self._metrics.stream_restarts.labels(channel_log.channel).inc()
        position = channel_log.position
        try:
            stream = self._pubsub.subscribe(
                channel_log.channel,
                replay_id=bytes.fromhex(position.replay_id) if position else None,
                preset=self._settings.start,
            )
            async with aclosing(stream) as batches:
                async for batch in batches:
                    await self._store(batch, channel_log)
                    progress = True
        except PositionLost as error:
            self._begin_again(channel_log, error)
        except Retryable as error:
            log.warning("stream_ended", channel=channel_log.channel, error=str(error))
            if not progress:
                raise

    def _begin_again(self, channel_log: ChannelLog, error: PositionLost) -> None:
        at = channel_log.position.at if channel_log.position else None
        if self._settings.lost_position == "stop":
            raise Fatal(
                f"channel {channel_log.channel}: Salesforce no longer knows the position of {at}: {error}. Changes "
                "since then may be lost. Set salesforce.pubsub.lost_position to earliest to go on with what Salesforce "
                "still has (72 h)."
            ) from error
        log.warning("position_lost", channel=channel_log.channel, last_known=str(at), going_on_from="earliest")
        channel_log.position = None
        self._settings = self._settings.model_copy(update={"start": "earliest"})

    async def _store(self, batch: Batch, channel_log: ChannelLog) -> None:
        before = channel_log.position
        records: list[OutRecord] = []
        ids: dict[bytes, list[str]] = {}
        for raw in batch.events:
            events = await self._decoded(raw, channel_log.channel, records)
            ids.setdefault(raw.replay_id, []).extend(event.id for event in events)
            records += [
                self._to_record(event)
                for event in events
                if event.entity in self._topics and not (before and event.id in before.written_ahead)
            ]
        await channel_log.append(records, _position(channel_log, batch, ids))
        self._metrics.change_events.labels(channel_log.channel).inc(len(records))

    async def _decoded(self, raw: RawEvent, channel: str, records: list[OutRecord]) -> list[ChangeEvent]:
        try:
            schema = await self._pubsub.schema(raw.schema_id)
            if channel.startswith("/event/"):
                return [_platform_event(channel, raw, decode_platform_event(raw.payload, schema))]
            return [_change_event(channel, raw, change) for change in decode(raw.payload, schema)]
        except (Rejected, ValueError, OverflowError, OSError) as error:  # the latter from a time that is none
            log.warning("event_undecodable", channel=channel, replay_id=raw.replay_id.hex(), error=str(error))
            records.append(self._dead_letter(f"{channel} {raw.replay_id.hex()}", raw.payload, "undecodable", error))
            return []

    def _to_record(self, event: ChangeEvent) -> OutRecord:
        return to_record(
            self._topics[event.entity],
            event.record_id,
            event,
            ce_type=f"salesforce.{'event' if event.change_type == 'EVENT' else 'change'}.{event.entity}",
            ce_source=event.channel,
            ce_id=event.id,
            ce_time=event.committed_at,
        )


def _position(channel_log: ChannelLog, batch: Batch, ids: Mapping[bytes, Sequence[str]]) -> Position:
    """The position behind a batch; `ids` are those of its change events, by replay id, in order.

    On custom channels several events may share a replay id (salesforce §0.7), and the rest of them may come with the
    next batch: there the position stays before the last replay id, with a note of what was written beyond it.
    """
    before = channel_log.position
    *earlier, last = [replay_id.hex() for replay_id in ids or [batch.latest_replay_id]]
    complete, ahead_replay_id, ahead = last, None, tuple[str, ...]()
    if ids and channel_log.channel.endswith("__chn") and (earlier or before):
        ahead_replay_id, ahead = last, tuple(ids[bytes.fromhex(last)])
        if earlier:
            complete = earlier[-1]
        elif before and before.ahead_replay_id == last:
            complete, ahead = before.replay_id, before.written_ahead + ahead
        elif before:
            complete = before.ahead_replay_id or before.replay_id
    return Position(
        channel=channel_log.channel,
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
    """A published event is published again with the same EventUuid and another replay id (salesforce §A5)."""
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
