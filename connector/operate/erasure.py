"""Erases a person: forgets what can be forgotten now, and says until when the rest is kept.

Three things on the topics can be ended: the person's entries of the suppression list, invitations that wait, and the
values of writes. The list keeps the person's hash in their place, so that no change invites the person again. The
other records cannot be changed in Kafka: they are gone when their topic's retention ends.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from connector.config import Config, catalogue
from connector.decisions import Action, Suppression
from connector.errors import Rejected
from connector.kafka import topics
from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.kafka.kept import Progress
from connector.kafka.ledger import ATTEMPTS
from connector.kafka.waiting import WAITING
from connector.operate._writing import written
from connector.operate.actions import ACTIONS, action_of, record_of
from connector.operate.mentions import Mentions, contact_of
from connector.operate.person import Leads, Sharing, leads, records
from connector.operate.suppressions import SUPPRESSIONS
from connector.operate.suppressions import record_of as entry_of
from connector.protection import CLAIMS, Hashes, read_suppression_key
from connector.records import Invitation, Write, read

WRITES = "salesforce.writes"
HASHES_ONLY = (ATTEMPTS, CLAIMS)
_Key = tuple[str, bytes | None]  # a topic and a key
_FOR_EVER = 2**63 - 1  # what Kafka says when a setting has no limit


@dataclass(frozen=True)
class Stays:
    """What a topic still holds. `until` is None when Kafka's settings give no latest time."""

    topic: str
    records: int
    until: datetime | None
    is_replaced: bool
    hashes_only: bool


@dataclass
class Erasure:
    """What is known of a person, and what ends it. `total` counts all records that name the person or belong to one."""

    found: Leads
    total: int = 0
    entries: list[OutRecord] = field(default_factory=list)  # the person's hashes, for the suppression list
    ends: list[OutRecord] = field(default_factory=list)  # of entries in clear
    waiting: list[OutRecord] = field(default_factory=list)  # actions, which the senders carry out
    writes: list[OutRecord] = field(default_factory=list)  # the same writes without values
    stays: list[Stays] = field(default_factory=list)

    @property
    def changes(self) -> list[OutRecord]:
        """All that has to be written. The list comes first: from then on nobody invites the person."""
        return [*self.entries, *self.ends, *self.waiting, *self.writes]


async def plan(
    config: Config,
    whom: str,
    *,
    by: str,
    why: str,
    sharing: Sharing | None = None,
    progress: Progress = lambda *_: None,
) -> Erasure:
    """What an erasure would do; it writes nothing.

    Raises:
        Fatal: As `leads` says, or a right is missing.
        Retryable: Kafka is away.
    """
    found = await leads(config, whom, progress, sharing=sharing)
    gathered = _Gathered(config, found)
    async for record in records(config, found, progress):
        gathered.take(record)
    hashes, now = Hashes.of_config(config.protect), datetime.now(UTC)
    erasure = Erasure(found, sum(gathered.counts.values()))
    erasure.entries = [
        entry_of(config.kafka, Suppression(person=person, by=by, why=why, at=now))
        for person in found.person.hashes(hashes)
    ]
    erasure.ends = [OutRecord(one.topic, one.key, None, [], one.partition) for one in gathered.entries()]
    erasure.waiting = [
        record_of(config.kafka, action_of("erase", target, "drop", by=by, reason=why)) for target in gathered.targets()
    ]
    erasure.writes = gathered.emptied()
    settings = await topics.settings(config.kafka, sorted(gathered.counts))
    erasure.stays = [*_stays(gathered, _replaced(config, erasure), settings, now)]
    return erasure


async def carry_out(config: Config, erasure: Erasure) -> None:
    """Returns when everything is durable. The senders end the invitations that wait. Raises what `Publisher` raises."""
    await written(config.kafka, erasure.changes)


class _Gathered:
    """The person's records as far as an erasure needs them: what is left of each compacted topic, and counts."""

    def __init__(self, config: Config, found: Leads) -> None:
        self.counts: Counter[str] = Counter()
        self.newest: dict[str, float] = {}
        self.prefix = config.kafka.topic_prefix
        self.compacted = {topic.name for topic in catalogue.topics_for(config) if topic.is_read_back}
        self._found = found
        self._mentions = Mentions(found.person, Hashes.of_config(config.protect))
        self._last: dict[str, dict[bytes | None, InRecord]] = {name: {} for name in self.compacted}

    def take(self, record: InRecord) -> None:
        self.counts[record.topic] += 1
        self.newest[record.topic] = max(record.timestamp, self.newest.get(record.topic, 0.0))
        name = record.topic.removeprefix(self.prefix)
        if record.topic in self.compacted and name not in HASHES_ONLY:
            self._last[record.topic][record.key] = record

    def left(self, topic: str, replaced: Set[_Key]) -> int:
        """How many records compaction leaves, because neither a later record nor the erasure replaces them."""
        if topic not in self.compacted or topic.removeprefix(self.prefix) in HASHES_ONLY:
            return self.counts[topic]
        last = self._last[topic]
        return sum(one.value is not None and (topic, key) not in replaced for key, one in last.items())

    def _alive(self, name: str) -> list[InRecord]:
        return [one for one in self._last.get(self.prefix + name, {}).values() if one.value is not None]

    def entries(self) -> list[InRecord]:
        """The entries about the person that hold an address or a contact's id."""
        return [one for one in self._alive(SUPPRESSIONS) if self._is_in_clear(one)]

    def _is_in_clear(self, record: InRecord) -> bool:
        try:
            whom = read_suppression_key(record.key)
        except Rejected:
            return False
        return self._found.person.is_of(whom.address, whom.contact)

    def targets(self) -> list[str]:
        """The invitations that wait, and those that an action holds whole, as `<account>/<id>`.

        A new action about the same invitation replaces that one.
        """
        known = {f"{one.account}/{id_}" for id_, one in self._found.invitations.items()}
        waits = known.intersection((one.key or b"").decode(errors="replace") for one in self._alive(WAITING))
        held = {
            (one.key or b"").decode(errors="replace") for one in self._alive(ACTIONS) if self._holds_invitation(one)
        }
        return sorted(waits | held)

    def _holds_invitation(self, record: InRecord) -> bool:
        """Whether an action holds an invitation of the person. Its reason may name the person, and be about another."""
        try:
            held = read(Action, record.value).params.get("invitation")
            invitation = Invitation.model_validate(held)
        except (Rejected, ValidationError):
            return False
        return self._found.person.is_of(invitation.address, contact_of(invitation))

    def emptied(self) -> list[OutRecord]:
        """The writes that hold values, without them. Write still knows that they are done."""
        found: list[OutRecord] = []
        for record in self._alive(WRITES):
            try:
                write = read(Write, record.value)
            except Rejected:
                continue
            key = "erased" if self._mentions.in_text(write.key.encode()) else write.key
            error = write.error and "erased"  # Salesforce quotes values in its messages
            empty = write.model_copy(update={"fields": {}, "cut": {}, "left_out": {}, "key": key, "error": error})
            if empty == write:
                continue
            value = empty.model_dump_json().encode()
            found.append(OutRecord(record.topic, record.key, value, list(record.headers), record.partition))
        return found


def _replaced(config: Config, erasure: Erasure) -> set[_Key]:
    """What the erasure writes, and the invitations that wait: their sender removes them."""
    waiting = ((config.kafka.topic_prefix + WAITING, one.key) for one in erasure.waiting)
    return {*waiting, *((one.topic, one.key) for one in erasure.changes)}


def _stays(
    gathered: _Gathered, replaced: Set[_Key], settings: Mapping[str, Mapping[str, str]], now: datetime
) -> Iterator[Stays]:
    for topic, count in sorted(gathered.counts.items()):
        its, left = settings.get(topic, {}), gathered.left(topic, replaced)
        deleted = _deleted_by(its, datetime.fromtimestamp(gathered.newest[topic], UTC))
        if count > left:
            ends = [end for end in (deleted, _compacted_by(its, now)) if end is not None]
            yield Stays(topic, count - left, min(ends, default=None), is_replaced=True, hashes_only=False)
        if left:
            hashes_only = topic.removeprefix(gathered.prefix) in HASHES_ONLY
            yield Stays(topic, left, deleted, is_replaced=False, hashes_only=hashes_only)


def _deleted_by(settings: Mapping[str, str], newest: datetime) -> datetime | None:
    """When a record is gone at the latest: Kafka deletes whole segments, and begins a new one after segment.ms."""
    if "delete" not in settings.get("cleanup.policy", "delete"):
        return None
    return _after(newest, settings, "retention.ms", "segment.ms")


def _compacted_by(settings: Mapping[str, str], now: datetime) -> datetime | None:
    """When what was replaced now is gone at the latest; by default Kafka names no time."""
    return _after(now, settings, "max.compaction.lag.ms", "segment.ms")


def _after(begin: datetime, settings: Mapping[str, str], *names: str) -> datetime | None:
    spans = [int(settings.get(name, -1)) for name in names]
    if any(span < 0 or span == _FOR_EVER for span in spans):
        return None
    try:
        return begin + timedelta(milliseconds=sum(spans))
    except OverflowError:
        return None
