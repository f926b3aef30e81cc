"""write: pisano.feedback → Salesforce → salesforce.writes.

Each feedback rule that applies becomes one write: an upsert by external id or an update by Id, so that a repeat stores
the same again. A feedback is acknowledged when the results of all its writes are on `salesforce.writes`. The stage does
not repeat a write that is there as done, so a webhook sent twice cannot undo what people did in between. An equal body
that comes after the time for repeats is another answer. Each rule is a cell: a rule that cannot go on holds back only
its own writes.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from connector.config import FeedbackRule
from connector.errors import Fatal, Rejected
from connector.kafka.cell_work import Work
from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.inbound import InRecord
from connector.observe.metrics import Metrics
from connector.records import Feedback, Write, digest, read
from connector.retry import until_done
from connector.salesforce import CollectionWriter, RecordWrite
from connector.stages._done import Done

Publish = Callable[[OutRecord], Awaitable[object]]
Scope = Mapping[str, Any]
ReadWrites = Callable[[int], AsyncIterator[Write]]


class WriteBack:
    """The stage. `read_writes(partition)` gives the writes that are on the topic. The topic keeps them for `kept`."""

    def __init__(
        self,
        rules: Mapping[str, FeedbackRule],
        salesforce: CollectionWriter,
        publish: Publish,
        topic: str,
        *,
        read_writes: ReadWrites,
        kept: timedelta,
        metrics: Metrics,
    ) -> None:
        self._rules = rules
        self._salesforce = salesforce
        self._publish = publish
        self._topic = topic
        self._read_writes = read_writes
        self._kept = kept
        self._metrics = metrics
        self._done: dict[int, Done] = {}  # by partition
        self._reading: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def plan(self, record: InRecord) -> dict[str, Work]:
        """The work that a feedback makes for each rule that applies to it. See `CellWork`.

        Raises:
            Rejected: The record is not a feedback.
        """
        feedback = read(Feedback, record.value)
        scope = _scope(feedback, feedback.id)
        return {
            name: partial(self._apply, name, rule, feedback, record)
            for name, rule in self._rules.items()
            if _may_apply(rule, scope)
        }

    async def forget(self, partitions: set[tuple[str, int]]) -> None:
        """Forgets the writes of these partitions: another worker may write there now. We read them again if needed."""
        for _, partition in partitions:
            self._done.pop(partition, None)

    async def _done_in(self, partition: int) -> Done:
        async with self._reading[partition]:  # first come, first served: writes begin in the order of their feedback
            if partition not in self._done:
                self._done[partition] = await until_done(partial(self._read_done, partition))
            return self._done[partition]

    async def _read_done(self, partition: int) -> Done:
        done = Done(self._kept)
        try:
            async for write in self._read_writes(partition):
                done.read(write)
        except Rejected as error:  # our own record is bad; the feedback that waits is not at fault
            raise Fatal(f"partition {partition} of {self._topic} holds a record that is no write: {error}") from error
        return done

    async def _apply(self, name: str, rule: FeedbackRule, feedback: Feedback, record: InRecord) -> None:
        done = await self._done_in(record.partition)
        try:
            await self._write(name, rule, feedback, record, done)
        except Rejected as error:
            raise Rejected(f"rule {name}: {error}", code="write_rejected") from error
        except Fatal as error:
            raise Fatal(f"rule {name}: {error}", whole=error.whole) from error

    async def _write(self, name: str, rule: FeedbackRule, feedback: Feedback, record: InRecord, done: Done) -> None:
        answer, feedback = done.answer(feedback)
        planned = _planned(rule, _scope(feedback, answer))
        version = [feedback.answered_at.isoformat()] if feedback.answered_at else []  # an answer may grow
        write_id = digest("write", answer, name, *version)
        if planned is None:
            return
        if write_id in done:
            self._metrics.writes.labels(name, "repeated").inc()
            return
        if newer := done.newer(name, planned, feedback.answered_at):
            await self._supersede(planned, write_id, name, record, feedback, newer)
            return
        done.remember(name, planned, feedback.answered_at)
        done.add(write_id, datetime.now(UTC))  # before the wait, so that we see a repeat that comes meanwhile
        try:
            write = await self._carry_out(planned, write_id, name, record, feedback)
        except BaseException:
            done.discard(write_id)
            done.forget(name, planned, feedback.answered_at)
            raise
        if not write.success:
            done.discard(write_id)
            done.forget(name, planned, feedback.answered_at)
            raise Rejected(write.error or "refused")

    async def _carry_out(
        self, planned: RecordWrite, write_id: str, rule: str, cause: InRecord, feedback: Feedback
    ) -> Write:
        result = await self._salesforce.write(planned)
        write = Write(
            id=write_id,
            feedback=feedback.id,
            rule=rule,
            **vars(planned),
            success=result.success,
            record_id=result.id,
            created=result.created,
            error=str(result.error) if result.error else None,
            received_at=feedback.received_at if feedback.repeats_until else None,
            answered_at=feedback.answered_at,
            at=datetime.now(UTC),
        )
        # Retried here, because otherwise we would write again, over later changes.
        await until_done(partial(self._publish, self._to_record(write, cause)))
        self._metrics.writes.labels(rule, "done" if write.success else "rejected").inc()
        return write

    async def _supersede(
        self, planned: RecordWrite, write_id: str, rule: str, cause: InRecord, feedback: Feedback, newer: datetime
    ) -> None:
        """Records that an answer is not written, because webhooks came in the wrong order."""
        write = Write(
            id=write_id,
            feedback=feedback.id,
            rule=rule,
            operation=planned.operation,
            object=planned.object,
            key_field=planned.key_field,
            key=planned.key,
            fields=planned.fields,
            answered_at=feedback.answered_at,
            success=False,
            error=f"superseded: an answer of {newer.isoformat()} is written there already",
            at=datetime.now(UTC),
        )
        await until_done(partial(self._publish, self._to_record(write, cause)))
        self._metrics.writes.labels(rule, "superseded").inc()

    def _to_record(self, write: Write, cause: InRecord) -> OutRecord:
        return to_record(
            self._topic,
            write.id,
            write,
            ce_type="salesforce.write",
            ce_source=f"/feedback/{write.rule}",
            ce_id=write.id,
            ce_time=write.at,
            partition=cause.partition,
            parent=cause.headers,
        )


def _scope(feedback: Feedback, answer: str) -> Scope:
    return {
        "feedback": {"id": answer, "account": feedback.account, "received_at": feedback.received_at.isoformat()},
        "body": _Body({name: None if value == "" else value for name, value in feedback.body.items()}),
    }


def _may_apply(rule: FeedbackRule, scope: Scope) -> bool:
    """False when the rule's condition does not hold. True when it does, or when we cannot decide: its work says why."""
    try:
        return rule.when is None or rule.when.holds(scope)
    except Rejected:
        return True


def _planned(rule: FeedbackRule, scope: Scope) -> RecordWrite | None:
    if rule.when is not None and not rule.when.holds(scope):
        return None
    key = rule.by[rule.key_field].render(scope)
    if key is None:
        raise Rejected(
            f"the feedback has no value for {rule.key_field}: {rule.by[rule.key_field]} is empty", code="no_key"
        )
    return RecordWrite(
        operation="upsert" if rule.upsert else "update",
        object=rule.object,
        key_field=rule.key_field,
        key=str(key),
        fields={name: template.render(scope) for name, template in rule.fields.items()},
    )


class _Body(dict[str, Any]):
    """A webhook's body. An empty text is no value, because Pisano renders an unanswered question so (pisano §4). A key
    that Pisano's template left out is empty too: the admin writes that template by hand.
    """

    def __missing__(self, key: str) -> None:
        return None
