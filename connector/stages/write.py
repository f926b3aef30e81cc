"""write: pisano.feedback → Salesforce → salesforce.writes.

Each feedback rule that applies becomes one write: an upsert by external id or an update by Id, so that a repeat stores
the same again. A feedback is acknowledged when what became of all its writes is on `salesforce.writes`; a write that
stands there as done is not made again, so a webhook sent twice cannot undo what people did in between.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from connector.config import FeedbackRule
from connector.errors import Rejected
from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.stage_worker import InRecord
from connector.metrics import Metrics
from connector.records import Feedback, Write, digest, read
from connector.salesforce import CollectionWriter, RecordWrite

Publish = Callable[[OutRecord], Awaitable[None]]
ReadWrites = Callable[[int], AsyncIterator[Write]]


class WriteBack:
    """The stage. `read_writes(partition)` gives the writes that stand on the topic already."""

    def __init__(
        self,
        rules: Mapping[str, FeedbackRule],
        salesforce: CollectionWriter,
        publish: Publish,
        topic: str,
        *,
        read_writes: ReadWrites,
        metrics: Metrics,
    ) -> None:
        self._rules = rules
        self._salesforce = salesforce
        self._publish = publish
        self._topic = topic
        self._read_writes = read_writes
        self._metrics = metrics
        self._done: dict[int, asyncio.Task[set[str]]] = {}  # ids of the writes that are done, by partition

    async def handle(self, record: InRecord) -> None:
        """One feedback, from its record to its writes. See `StageWorker` for what an error means.

        Raises:
            Rejected: Salesforce refused a write, or a template cannot be rendered; the other writes are made first.
        """
        feedback = read(Feedback, record.value)
        done = await self._done_in(record.partition)
        results = await asyncio.gather(
            *(self._apply(name, rule, feedback, record, done) for name, rule in self._rules.items()),
            return_exceptions=True,
        )
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in failures:
            if not isinstance(failure, Rejected):
                raise failure
        if failures:
            raise Rejected("; ".join(map(str, failures)), code="write_rejected")

    async def forget(self, partitions: set[tuple[str, int]]) -> None:
        """Another worker may write there now; what is done is read again when they come back."""
        for _, partition in partitions:
            self._done.pop(partition, None)

    async def _done_in(self, partition: int) -> set[str]:
        if partition not in self._done:
            self._done[partition] = asyncio.create_task(self._read_done(partition))
        try:
            return await asyncio.shield(self._done[partition])
        except Exception:
            self._done.pop(partition, None)
            raise

    async def _read_done(self, partition: int) -> set[str]:
        return {write.id async for write in self._read_writes(partition) if write.success}

    async def _apply(self, name: str, rule: FeedbackRule, feedback: Feedback, record: InRecord, done: set[str]) -> None:
        planned = _planned(rule, feedback)
        write_id = digest("write", feedback.id, name)
        if planned is None or write_id in done:
            return
        done.add(write_id)  # before the wait: a repeat that is in flight at the same time is a repeat all the same
        try:
            result = await self._salesforce.write(planned)
        except BaseException:
            done.discard(write_id)
            raise
        write = Write(
            id=write_id,
            feedback=feedback.id,
            rule=name,
            **vars(planned),
            success=result.success,
            record_id=result.id,
            created=result.created,
            error=str(result.error) if result.error else None,
            at=datetime.now(UTC),
        )
        await self._publish(self._to_record(write, record))
        self._metrics.writes.labels(name, "done" if write.success else "rejected").inc()
        if result.error:
            done.discard(write_id)
            raise Rejected(f"rule {name}: {result.error}")

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


def _planned(rule: FeedbackRule, feedback: Feedback) -> RecordWrite | None:
    scope: dict[str, Any] = {
        "feedback": {"id": feedback.id, "account": feedback.account, "received_at": feedback.received_at.isoformat()},
        "body": _Body(feedback.body),
    }
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
    """A webhook's body: a key that Pisano's template left out is empty, for the admin writes that template by hand."""

    def __missing__(self, key: str) -> None:
        return None
