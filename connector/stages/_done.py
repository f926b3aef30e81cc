"""What write knows of a partition: the writes that are done, and which answers they were for."""

from datetime import UTC, date, datetime, timedelta

from connector.records import Feedback, Write, digest
from connector.salesforce import RecordWrite, record_of
from connector.values.times import AHEAD

_Target = tuple[str, str, str]  # a rule, and the record that it writes: object and key


class Done:
    """The memory of one partition, read from `salesforce.writes`. It forgets what is older than `kept`, because no
    feedback comes again after that time.
    """

    def __init__(self, kept: timedelta) -> None:
        self._kept = kept
        self._by_day: dict[date, set[bytes]] = {}
        self._arrivals: dict[str, list[datetime]] = {}  # of the answers that have this feedback id
        self._newest: dict[_Target, datetime] = {}  # when the newest answer was given that was written there

    def __contains__(self, write_id: str) -> bool:
        return any(bytes.fromhex(write_id) in ids for ids in self._by_day.values())

    def add(self, write_id: str, at: datetime) -> None:
        begins = at.date() not in self._by_day
        self._by_day.setdefault(at.date(), set()).add(bytes.fromhex(write_id))
        if begins:
            self._forget(datetime.now(UTC) - self._kept)

    def discard(self, write_id: str) -> None:
        for ids in self._by_day.values():
            ids.discard(bytes.fromhex(write_id))

    def read(self, write: Write) -> None:
        """Remembers a write from the topic."""
        if not write.success:
            return
        self.add(write.id, write.at)
        arrivals = self._arrivals.setdefault(write.feedback, [])
        if write.received_at is not None and write.received_at not in arrivals:
            arrivals.append(write.received_at)
        self.remember(write.rule, write, write.answered_at)

    def answer(self, feedback: Feedback) -> tuple[str, Feedback]:
        """The id of the answer that a feedback is, or repeats; and the feedback with the time of its first arrival.

        Where nothing in a body names the answer, an equal body is a repeat only until the feedback's `repeats_until`.
        """
        if feedback.repeats_until is None:
            return feedback.id, feedback
        span = feedback.repeats_until - feedback.received_at
        arrivals = self._arrivals.setdefault(feedback.id, [])
        known = [at for at in arrivals if at <= feedback.received_at <= at + span]
        first = max(known, default=feedback.received_at)
        if not known:
            arrivals.append(first)
        return digest(feedback.id, first.isoformat()), feedback.model_copy(update={"received_at": first})

    def newer(self, rule: str, write: RecordWrite, answered_at: datetime | None) -> datetime | None:
        """When the newest answer was given that the rule wrote to this record, if that was after `answered_at`."""
        newest = self._newest.get(_target(rule, write))
        return newest if newest and answered_at and newest > answered_at else None

    def remember(self, rule: str, write: RecordWrite | Write, answered_at: datetime | None) -> None:
        """Remembers when an answer was given that is written to this record."""
        if answered_at is not None and answered_at <= datetime.now(UTC) + AHEAD:
            target = _target(rule, write)
            self._newest[target] = max(answered_at, self._newest.get(target, answered_at))

    def _forget(self, before: datetime) -> None:
        self._by_day = {day: ids for day, ids in self._by_day.items() if day >= before.date()}
        kept = {name: [at for at in times if at >= before] for name, times in self._arrivals.items()}
        self._arrivals = {name: times for name, times in kept.items() if times}
        self._newest = {target: at for target, at in self._newest.items() if at >= before}


def _target(rule: str, write: RecordWrite | Write) -> _Target:
    return rule, *record_of(write.object, write.key_field, write.key)
