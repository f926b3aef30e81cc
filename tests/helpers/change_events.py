"""Made-up change events of cases, as capture writes them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from connector.config import Kafka
from connector.kafka.cloud_events import OutRecord, to_record
from connector.records import ChangeEvent


def change(record_id: str, fields: Mapping[str, Any], **attributes: object) -> ChangeEvent:
    """An UPDATE of a case that set `fields`. Its id comes from the record and the transaction, as in capture."""
    transaction = attributes.pop("transaction_key", "transaction-1")
    event = ChangeEvent(
        id=f"{transaction}-1-{record_id}",
        channel="/data/CaseChangeEvent",
        replay_id="00",
        schema_id="schema",
        entity="Case",
        record_id=record_id,
        change_type="UPDATE",
        changed_fields=tuple(fields),
        fields=dict(fields),
        committed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return event.model_copy(update=attributes)


def as_records(kafka: Kafka, events: Iterable[ChangeEvent]) -> list[OutRecord]:
    """The records that capture would write, for the topic of their entity."""
    return [
        to_record(
            f"{kafka.topic_prefix}salesforce.{'events' if event.change_type == 'EVENT' else 'cdc'}.{event.entity}",
            event.record_id,
            event,
            ce_type=f"salesforce.change.{event.entity}",
            ce_source=event.channel,
            ce_id=event.id,
            ce_time=event.committed_at,
        )
        for event in events
    ]
