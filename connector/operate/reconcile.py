"""Compares what Salesforce says with what the topics hold, and names the differences. Changes nothing.

First it notes how far each stage has finished its topics. Then it reads in this order, so that what moves from one
topic to another meanwhile is seen on one of them: parked and waiting records, outcomes, writes, dead letters, answers,
invitations, all outcomes again if an invitation has none, change events, and then Salesforce.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from connector.config import Config, catalogue
from connector.errors import Fatal, Rejected
from connector.kafka.dead_letters import DEAD_LETTERS
from connector.kafka.inbound import InRecord
from connector.kafka.kept import kept
from connector.kafka.ledger import ATTEMPTS
from connector.kafka.members import finished
from connector.kafka.parking import PARKED
from connector.kafka.waiting import WAITING
from connector.operate.findings import Findings
from connector.operate.known import Known
from connector.reasons import Reason
from connector.records import AnyRecord, ChangeEvent, Feedback, Invitation, Write, read
from connector.salesforce import client_of, soql
from connector.surveys.invitations import SurveyRule
from connector.surveys.reader import Reader

_SLACK = timedelta(minutes=5)  # read earlier by this much: the clocks of the writers differ
_SAME = timedelta(minutes=1)  # a change event this much before LastModifiedDate counts as that change
_PAGE = 2_000  # rows: one page of a query (salesforce §D3)
_MOST = 200_000  # records of one object that are compared: 100 calls
_AT_ONCE = 200  # change events that are decided together: as many as one SOQL call reads

Query = Callable[[str], Awaitable[list[dict[str, Any]]]]
Applies = Callable[[Feedback], Collection[str]]  # the names of the feedback rules that apply to an answer
Progress = Callable[[str, int, int], None]  # what is read, how much of it is done, and how much there is

_Undecided = tuple[SurveyRule, ChangeEvent, InRecord]


@dataclass(frozen=True)
class Span:
    """What is younger than `until` may still be under way, and is not judged."""

    since: datetime
    until: datetime

    def has(self, record: InRecord) -> bool:
        """Whether the record was written in this time."""
        return self.since.timestamp() <= record.timestamp <= self.until.timestamp()


@dataclass
class Reconciliation:
    """What is compared, with the functions that ask Salesforce. `applies` says which rules an answer has."""

    config: Config
    span: Span
    query: Query
    reader: Reader
    applies: Applies
    progress: Progress = lambda *_: None
    known: Known = field(default_factory=Known)
    findings: Findings = field(default_factory=Findings)
    finished: dict[str, dict[tuple[str, int], int]] = field(default_factory=dict)  # by stage, topic and partition
    _without_outcome: dict[str, str] = field(default_factory=dict)  # the survey by the invitation's id

    async def run(self) -> Findings:
        """Compares everything.

        Raises:
            Fatal: A topic is missing, `since` is longer than one keeps its records, or Salesforce refuses the question.
            Retryable, Lasts: Kafka or Salesforce is away.
        """
        self._require_kept()
        early = self.span.since - _SLACK
        self.finished = await finished(self.config.kafka, ["trigger", "send", "write"])
        takes: Sequence[tuple[str, datetime | None, Callable[[InRecord], None]]] = [
            (PARKED, None, self.known.take_parked),
            (WAITING, None, self.known.take_waiting),
            (ATTEMPTS, early, self.known.take_outcome),
            ("salesforce.writes", None, self._take_write),  # a repeated answer may have its write from long before
            (DEAD_LETTERS, early, self.known.take_letter),
            ("pisano.feedback", self.span.since, self._judge_answer),
            ("pisano.invitations", early, self._judge_invitation),
        ]
        for topic, since, take in takes:
            async for record in self._kept(topic, since):
                take(record)
        await self._judge_without_outcome()
        await self._judge_changes(early)
        for entity in self._entities():
            if not entity.endswith("__e"):
                await self._judge_records(entity)
        return self.findings

    def _entities(self) -> list[str]:
        return sorted({survey.on for survey in self.config.surveys.values()})

    def _require_kept(self) -> None:
        period = self.span.until - self.span.since
        for name in ("salesforce.cdc.{entity}", "salesforce.events.{entity}", "pisano.invitations", "pisano.feedback"):
            for topic in catalogue.configured(self.config.kafka):
                if topic.name == name and topic.retention is not None and period.total_seconds() > topic.retention:
                    days = topic.retention / 86400
                    raise Fatal(f"--since is longer than {topic.family} keeps its records; use at most {days:g}d")

    async def _kept(self, topic: str, since: datetime | None) -> AsyncIterator[InRecord]:
        name = topic.removeprefix(self.config.kafka.topic_prefix)
        full = self.config.kafka.topic_prefix + name

        def progress(passed: int, total: int) -> None:
            self.progress(name, passed, total)

        async for record in kept(self.config.kafka, [full], since=since, progress=progress):
            yield record

    def _take_write(self, record: InRecord) -> None:
        if (write := _read(Write, record)) is not None:
            self.known.take_write(write)

    def _judge_answer(self, record: InRecord) -> None:
        feedback = _read(Feedback, record)
        if feedback is None or not self.span.has(record):
            return
        for rule in self.applies(feedback):
            self.findings.compared["answers to write", rule] += 1
            if not self.known.is_written(feedback.id, rule):
                self._miss("not_written", "write", rule, record, feedback.id)

    def _judge_invitation(self, record: InRecord) -> None:
        invitation = _read(Invitation, record)
        if invitation is None:
            return
        self.known.take_invitation(invitation)
        if self.span.has(record):
            self.findings.compared["invitations", invitation.survey] += 1
            if not self.known.is_settled_or_waits(invitation):
                if self._is_finished("send", record):
                    self._without_outcome[invitation.id] = invitation.survey
                else:
                    self.findings.add("not_finished", f"send/{invitation.survey}", invitation.id)

    async def _judge_without_outcome(self) -> None:
        """Looks for older outcomes: a replay writes an invitation again, and send settles it only once.

        The ledger may be long: it is read whole only if an outcome is missing, and parsed only where one may be.
        """
        if self._without_outcome:
            async for record in self._kept(ATTEMPTS, None):
                if (record.key or b"").decode(errors="replace").rpartition("/")[2] in self._without_outcome:
                    self.known.take_outcome(record)
        for id_, survey in self._without_outcome.items():
            if not self.known.is_settled(id_):
                self.findings.add("no_outcome", survey, id_)

    def _is_finished(self, stage: str, record: InRecord) -> bool:
        return record.offset < self.finished[stage].get((record.topic, record.partition), 0)

    def _miss(self, reason: str, stage: str, name: str, record: InRecord, id_: str) -> None:
        """Names what has no result. The stage may still have its record before it."""
        if self._is_finished(stage, record):
            self.findings.add(reason, name, id_)
        else:
            self.findings.add("not_finished", f"{stage}/{name}", id_)

    async def _judge_changes(self, early: datetime) -> None:
        """Takes note of all changes, and decides again about those that a survey may want and that have no result."""
        rules = [
            SurveyRule(name, survey, self.reader, phones=self.config.pisano[survey.account].phones)
            for name, survey in self.config.surveys.items()
        ]
        topics, undecided = catalogue.entity_topics(self.config), list[_Undecided]()
        for entity in self._entities():
            async for record in self._kept(topics[entity], early):
                event = _read(ChangeEvent, record)
                if event is None:
                    continue
                self.known.take_change(event)
                if client_of(event.change_origin) == self.config.salesforce.client_name or not self.span.has(record):
                    continue
                for rule in (rule for rule in rules if rule.may_want(event)):
                    self.findings.compared["changes that may invite", rule.name] += 1
                    if not self.known.is_decided(event.id, rule.name):
                        undecided.append((rule, event, record))
                if len(undecided) >= _AT_ONCE:
                    await self._decide(undecided)
                    undecided = []
        await self._decide(undecided)

    async def _decide(self, changes: Sequence[_Undecided]) -> None:
        decided = await asyncio.gather(*(_would_invite(rule, event) for rule, event, _ in changes))
        for (rule, event, record), invites in zip(changes, decided, strict=True):
            if invites is None:
                self.findings.compared["cannot be decided any more", rule.name] += 1
            elif invites:
                self._miss("not_invited", "trigger", rule.name, record, event.record_id)

    async def _judge_records(self, entity: str) -> None:
        counts: Counter[str] = Counter()
        async for row in self._changed(entity):
            counts["records"] += 1
            self.progress(f"{entity} of Salesforce", counts["records"], counts["records"])
            if not self.known.has_change(row["Id"], datetime.fromisoformat(row["LastModifiedDate"]) - _SAME):
                self.findings.add("not_captured", entity, row["Id"])
        self.findings.compared["records changed in Salesforce", entity] = counts["records"]

    async def _changed(self, entity: str) -> AsyncIterator[dict[str, Any]]:
        """The records that were last changed in the span, in order of their ids."""
        since, until = (f"{time.astimezone(UTC):%FT%TZ}" for time in (self.span.since, self.span.until))
        start = f"SELECT Id, LastModifiedDate FROM {soql.name(entity)}"  # noqa: S608 - checked and escaped
        start += f" WHERE LastModifiedDate >= {since} AND LastModifiedDate <= {until}"
        last = ""
        for _ in range(_MOST // _PAGE):
            behind = f" AND Id > {soql.literal(last)}" if last else ""
            try:
                rows = await self.query(f"{start}{behind} ORDER BY Id LIMIT {_PAGE}")
            except Rejected as error:
                raise Fatal(f"Salesforce cannot be asked which {entity} changed: {error}") from error
            for row in rows:
                yield row
            if len(rows) < _PAGE:
                return
            last = rows[-1]["Id"]
        self.findings.notes.append(
            f"only {_MOST:,} records of {entity} are compared, and more may have changed. Shorten --since"
        )


async def _would_invite(rule: SurveyRule, event: ChangeEvent) -> bool | None:
    """Whether the event has an invitation with what Salesforce has now; None when that cannot be decided any more."""
    try:
        invitations = await rule.invitations(event)
    except Rejected:
        return None
    if any(invitation.suppressed == Reason.RECORD_GONE for invitation in invitations):
        return None
    return bool(invitations)


def _read(model: type[AnyRecord], record: InRecord) -> AnyRecord | None:
    try:
        return read(model, record.value) if record.value is not None else None
    except Rejected:
        return None  # the stage that reads it has made a dead letter of it
