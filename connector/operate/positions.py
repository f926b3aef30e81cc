"""Shows where the channels of capture resume, and sets where one of them does."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from connector.config import Config, catalogue
from connector.config.scope import one_of
from connector.errors import Fatal, Rejected
from connector.kafka.channel_log import POSITIONS, position_record
from connector.kafka.connection import close, transaction, transactional_producer
from connector.kafka.errors import Fenced
from connector.kafka.kept import Place, Progress, bounds, kept
from connector.kafka.members import Members, members
from connector.kafka.shared_work import partition_of
from connector.operate.actions import action_of, record_of
from connector.operate.replay import place_of
from connector.operate.spans import EARLIEST, moment
from connector.records import ChangeEvent, Position, read

KEPT = timedelta(hours=72)  # that Salesforce keeps events (salesforce §A5)
_REPLAY_ID = re.compile(r"([0-9a-fA-F]{2}){8,}")  # Salesforce's have 8 bytes or more; a shorter text is a period


@dataclass(frozen=True)
class Channel:
    """Where a channel resumes. `position` is None where none was written, or none can be read: then `place` is set.

    `followed` says whether a worker captures it now, None while workers share out their channels. `age` is the time
    since the position was written.
    """

    name: str
    position: Position | None
    place: Place | None
    followed: bool | None
    configured: bool
    age: timedelta | None

    @property
    def is_lost(self) -> bool:
        """Whether Salesforce does not know the position any more, or nobody does."""
        if self.position is None:
            return self.place is not None
        return self.age is not None and self.age > KEPT and self.position.replay_id != ""


async def positions(config: Config, now: datetime) -> list[Channel]:
    """Every channel of the configuration, and every other one that has a position.

    Raises:
        Fatal: No broker answers, or the topic is missing.
        Retryable: Kafka is away.
    """
    group, topic = await members(config.kafka, "capture"), config.kafka.topic_prefix + POSITIONS
    partitions = len(await bounds(config.kafka, [topic]))
    found: dict[str, tuple[Position | None, Place | None]] = dict.fromkeys(config.salesforce.channels, (None, None))
    async for record in kept(config.kafka, [topic]):
        name = (record.key or b"").decode(errors="replace")
        found[name] = (None, None)
        if record.value is not None:
            found[name] = _readable(record.value), place_of(record)
    return [
        Channel(
            name,
            position,
            place,
            _is_followed(group, topic, partition_of(name, partitions)),
            name in config.salesforce.channels,
            None if position is None else now - position.at,
        )
        for name, (position, place) in found.items()
    ]


async def set_position(
    config: Config,
    channel: str,
    to: str,
    now: datetime,
    *,
    by: str,
    why: str = "",
    progress: Progress = lambda *_: None,
) -> Position:
    """Makes a channel resume elsewhere: `earliest`, behind a replay id in hex, or behind the last event before a time.

    Who does it is written down in the same transaction.

    Raises:
        Fatal: A worker follows the channel, there is no such channel, `to` is none of these or too old for Salesforce,
            or Kafka lacks something.
        Retryable: Kafka is away.
    """
    if channel not in config.salesforce.channels:
        raise Fatal(
            f"there is no channel {channel} in salesforce.channels; {one_of(channel, config.salesforce.channels)}"
        )
    topic = config.kafka.topic_prefix + POSITIONS
    group = await members(config.kafka, "capture")
    partitions = len(await bounds(config.kafka, [topic]))
    partition = partition_of(channel, partitions)
    _require_nobody(group, topic, partition, channel)
    position = Position(channel=channel, replay_id=await _replay_id(config, channel, to, now, progress), at=now)
    try:
        producer = await transactional_producer(config.kafka, f"capture-{channel}")
        try:
            action = action_of("position", f"position/{channel}", to, by=by, reason=why)
            records = [position_record(topic, position, partition), record_of(config.kafka, action)]
            await transaction(producer, records)
        finally:
            await close(producer)
    except Fenced:
        raise Fatal(f"nothing was set: a worker has begun to follow {channel} meanwhile; stop capture first") from None
    return position


def _require_nobody(group: Members, topic: str, partition: int, channel: str) -> None:
    followed = _is_followed(group, topic, partition)
    if followed is None:
        raise Fatal("nothing was set: the workers of capture share out their channels now; try again in a minute")
    if followed:
        raise Fatal(
            f"nothing was set: a worker follows {channel}, and would go on from its own position. Stop capture, set the"
            " position, and start capture."
        )


def _is_followed(group: Members, topic: str, partition: int) -> bool | None:
    return None if group.is_changing else (topic, partition) in group.owned


async def _replay_id(config: Config, channel: str, to: str, now: datetime, progress: Progress) -> str:
    if to == EARLIEST:
        return ""
    if _REPLAY_ID.fullmatch(to):
        return to.lower()
    time = moment("--to", to, now)
    if not now - KEPT <= time <= now:
        raise Fatal(f"--to: {time:%F %T} UTC is not in the last 72 h, which is what Salesforce keeps; say {EARLIEST}")
    last = await _last_before(time, config, channel, now, progress)
    if last is None:
        raise Fatal(
            f"--to: no change event of {channel} from before {time:%F %T} UTC is kept, so no replay id is known; say"
            f" {EARLIEST}, or a later time"
        )
    return last.replay_id


async def _last_before(
    time: datetime, config: Config, channel: str, now: datetime, progress: Progress
) -> ChangeEvent | None:
    """The newest kept event of the channel that was committed before the time.

    Of several in the same moment it is the first: events that come again do no harm, and those that are left out do.
    """
    last: ChangeEvent | None = None
    topics = [*catalogue.entity_topics(config).values()]
    async for record in kept(config.kafka, topics, since=now - KEPT, progress=progress):
        try:
            event = read(ChangeEvent, record.value)
        except Rejected:
            continue
        if event.channel == channel and event.committed_at < time and (last is None or _order(event) > _order(last)):
            last = event
    return last


def _order(event: ChangeEvent) -> tuple[datetime, int, int]:
    return event.committed_at, -event.commit_number, -event.sequence_number


def _readable(value: bytes) -> Position | None:
    try:
        return read(Position, value)
    except Rejected:
        return None
