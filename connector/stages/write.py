"""write: pisano.feedback → Salesforce → salesforce.writes.

Each feedback rule that applies becomes one write: an upsert by external id or an update by Id, so that a repeat stores
the same again. If a field does not take its value, the rest is written, and the feedback becomes a dead letter besides,
so that the value is not lost. A feedback is acknowledged when the results of all its writes are on `salesforce.writes`.
The stage does not repeat a write that is there as done, so a webhook sent twice cannot undo what people did in between.
An equal body that comes after the time for repeats is another answer. An answer that is older than the one in
Salesforce is superseded. This is decided when its turn comes, because Salesforce may refuse a newer one under way. A
dead letter that an operator retries is written again: all of it if nothing was written, else only the values that were
left out. Each rule is a cell: a rule that cannot go on holds back only its own writes.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal

from connector.config import FeedbackRule
from connector.errors import Fatal, Rejected
from connector.kafka.cell_work import Work
from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.dead_letters import retry_of
from connector.kafka.inbound import InRecord
from connector.observe.metrics import Metrics
from connector.records import Feedback, Write, digest, read
from connector.retry import until_done
from connector.salesforce import CollectionWriter, RecordWrite, Written
from connector.stages._done import Done
from connector.stages._mapping import RuleWrites, Scope, may_apply, scope_of

SetAside = Callable[[InRecord, str, Exception, str, Collection[str]], OutRecord]
Publish = Callable[[OutRecord], Awaitable[object]]
ReadWrites = Callable[[int], AsyncIterator[Write]]

_ADVICE = {
    "DUPLICATES_DETECTED": ". One of the org's duplicate rules refuses the record. To store it all the same, set"
    " duplicates: save in this rule."
}
_Result = Literal["done", "superseded", "rejected"]
_GONE = {"ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "NOT_FOUND"}  # deleted, or merged into another


class _Superseded(Rejected):
    """A newer answer is written there."""


class WriteBack:
    """The stage. `read_writes(partition)` gives the writes that are on the topic. The topic keeps them for `kept`.

    `set_aside(record, reason, error, cell, fields)` makes the dead letter of a feedback whose values were not all
    written; `fields` are those that were left out.
    """

    def __init__(
        self,
        rules: Mapping[str, FeedbackRule],
        salesforce: CollectionWriter,
        publish: Publish,
        topic: str,
        *,
        read_writes: ReadWrites,
        kept: timedelta,
        set_aside: SetAside,
        metrics: Metrics,
    ) -> None:
        self._set_aside = set_aside
        self._rules = rules
        self._writes = {name: RuleWrites(rule) for name, rule in rules.items()}
        self._salesforce = salesforce
        self._publish = publish
        self._topic = topic
        self._read_writes = read_writes
        self._kept = kept
        self._metrics = metrics
        for name in rules:
            metrics.webhook_to_write.labels(name)  # Prometheus wants a zero first
        self._done: dict[int, Done] = {}  # by partition
        self._reading: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def plan(self, record: InRecord) -> dict[str, Work]:
        """The work that a feedback makes for each rule that applies to it. See `CellWork`.

        Raises:
            Rejected: The record is not a feedback.
        """
        feedback = read(Feedback, record.value)
        scope = scope_of(feedback, feedback.id)
        return {
            name: partial(self._apply, name, rule, feedback, scope, record)
            for name, rule in self._rules.items()
            if rule.of == feedback.kind and may_apply(rule, scope)
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

    async def _apply(self, name: str, rule: FeedbackRule, feedback: Feedback, scope: Scope, record: InRecord) -> None:
        done = await self._done_in(record.partition)
        try:
            await self._write(name, feedback, scope, record, done)
        except Rejected as error:
            code = "record_gone" if rule.update and error.code in _GONE else "write_rejected"
            raise Rejected(f"rule {name}: {error}", code=code) from error
        except Fatal as error:
            raise Fatal(f"rule {name}: {error}", whole=error.whole) from error

    async def _write(self, name: str, feedback: Feedback, scope: Scope, record: InRecord, done: Done) -> None:
        answer, first = done.answer(feedback)
        if first is not feedback:
            feedback, scope = first, scope_of(first, answer)
        planned = self._writes[name].planned(scope)
        version = [feedback.answered_at.isoformat()] if feedback.answered_at else []  # an answer may grow
        if planned is None:
            return
        if retry := retry_of(record, f"write/{name}"):
            planned, version = _only(planned, retry.fields, name), [*version, "retry", retry.letter]
        write_id = digest("write", answer, name, *version)
        if write_id in done:
            self._metrics.writes.labels(name, "repeated").inc()
            return
        done.add(write_id, datetime.now(UTC))  # before the wait, so that we see a repeat that comes meanwhile
        try:
            written = await self._salesforce.write(planned, partial(_superseded, done, name, planned, feedback))
            result = _result_of(written)
            if result == "done":  # remembered at once: the next write of the record asks
                done.remember(name, planned, feedback.answered_at)
            write = _to_write(write_id, feedback, name, planned, written)
            await self._record(write, result, record)
        except BaseException:
            done.discard(write_id)
            raise
        if result == "done":
            waited = (write.at - feedback.received_at).total_seconds()
            self._metrics.webhook_to_write.labels(name).observe(max(0.0, waited))
            return
        done.discard(write_id)
        if result == "rejected":
            raise Rejected(write.error or "refused", code=getattr(written.error, "code", None))

    async def _record(self, write: Write, result: _Result, cause: InRecord) -> None:
        """Puts the write on its topic, and before that what was left out of it among the dead letters."""
        if write.success and write.left_out:
            said = "; ".join(f"{name}: {why}" for name, why in write.left_out.items())
            error = Rejected(f"rule {write.rule}: the record was written without {said}")
            letter = self._set_aside(cause, "does_not_fit", error, f"write/{write.rule}", tuple(write.left_out))
            await until_done(partial(self._publish, letter))
        # Retried here, because otherwise we would write again, over later changes.
        await until_done(partial(self._publish, self._to_record(write, cause)))
        self._metrics.writes.labels(write.rule, result).inc()
        for done, fields in (("cut", write.cut), ("left_out", write.left_out)):
            for name in fields:
                self._metrics.unfit_values.labels(write.rule, name, done).inc()

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


def _only(planned: RecordWrite, fields: Collection[str], rule: str) -> RecordWrite:
    """The write of these fields alone: people may have changed the others since they were written."""
    values = {name: value for name, value in planned.fields.items() if name in fields}
    left_out = {name: why for name, why in planned.left_out.items() if name in fields}
    if not values and not left_out:
        raise Rejected(f"the rule {rule} has no field {', '.join(fields)} any more", code="not_configured")
    return replace(planned, fields=values, left_out=left_out)


def _superseded(done: Done, rule: str, planned: RecordWrite, feedback: Feedback) -> _Superseded | None:
    newer = done.newer(rule, planned, feedback.answered_at)
    return _Superseded(f"superseded: an answer of {newer.isoformat()} is written there already") if newer else None


def _result_of(written: Written) -> _Result:
    if written.success:
        return "done"
    return "superseded" if isinstance(written.error, _Superseded) else "rejected"


def _to_write(write_id: str, feedback: Feedback, rule: str, planned: RecordWrite, written: Written) -> Write:
    error = written.error
    return Write(
        id=write_id,
        feedback=feedback.id,
        rule=rule,
        operation=planned.operation,
        object=planned.object,
        key_field=planned.key_field,
        key=planned.key,
        fields=written.fields,
        cut=written.cut,
        left_out=written.left_out,
        kept=written.kept,
        success=written.success,
        record_id=written.id,
        created=written.created,
        error=f"{error}{_ADVICE.get(getattr(error, 'code', None) or '', '')}" if error else None,
        received_at=feedback.received_at if feedback.repeats_until else None,
        answered_at=feedback.answered_at,
        at=datetime.now(UTC),
    )
