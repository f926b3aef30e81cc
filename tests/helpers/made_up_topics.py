"""Records as they lie on the topics: what the stages write about made-up customers, without Kafka."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from connector.config import Config
from connector.kafka.cloud_events import to_record
from connector.kafka.inbound import InRecord
from connector.records import (
    Attempt,
    ChangeEvent,
    Feedback,
    Invitation,
    Outcome,
    Protection,
    Settlement,
    Write,
    digest,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
COMMENT = "the secret of my life"


class MadeUpTopics:
    """Gives each record its place. All records of a topic are in one partition, unless another is named."""

    def __init__(self, config: Config) -> None:
        self._prefix = config.kafka.topic_prefix
        self._client = config.salesforce.client_name
        self._ends: Counter[tuple[str, int]] = Counter()

    def put(
        self,
        topic: str,
        key: str,
        record: BaseModel,
        at: datetime,
        *,
        partition: int = 0,
        cause: InRecord | None = None,
    ) -> InRecord:
        """The record at the end of its partition."""
        parent = cause.headers if cause else ()
        made = to_record(
            topic, key, record, ce_type="made.up", ce_source="/made/up", ce_id=key, ce_time=at, parent=parent
        )
        return self.place(topic, made.key, made.value, made.headers, at, partition)

    def place(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Any, at: datetime, partition: int = 0
    ) -> InRecord:
        """Any bytes at the end of their partition."""
        name = self._prefix + topic
        offset = self._ends[name, partition]
        self._ends[name, partition] += 1
        return InRecord(name, partition, offset, key, value, tuple(headers), at.timestamp())

    def change(self, record_id: str, at: datetime, *, ours: bool = False, transaction: str = "1") -> InRecord:
        """A change of a case."""
        event = ChangeEvent(
            id=f"{transaction}-1-{record_id}",
            channel="/data/CaseChangeEvent",
            replay_id="00",
            schema_id="schema",
            entity="Case",
            record_id=record_id,
            change_type="UPDATE",
            changed_fields=("Status",),
            fields={"Status": "Closed", "Description": COMMENT},
            change_origin=f"com/salesforce/api/rest/66.0;client={self._client}" if ours else "",
            committed_at=at,
        )
        return self.put("salesforce.cdc.Case", record_id, event, at)

    def invitation(
        self, cause: InRecord, record_id: str, email: str | None, at: datetime, **more: Any
    ) -> tuple[str, InRecord]:
        """The invitation for a change, and its id."""
        event = ChangeEvent.model_validate_json(cause.value or b"")
        survey = more.pop("survey", "closed-case")
        invitation = Invitation(
            id=digest(survey, record_id, event.id, email or ""),
            survey=survey,
            account="main",
            campaign="4711",
            email=email,
            custom_attributes={"name": COMMENT},
            entity="Case",
            record_id=record_id,
            cause=event.id,
            protection=Protection(
                contact=more.pop("contact", None), owner=more.pop("owner", None), not_before=at + timedelta(seconds=2)
            ),
            created_at=at,
            **more,
        )
        return invitation.id, self.put("pisano.invitations", "main", invitation, at, cause=cause)

    def call(
        self, id_: str, invitations: dict[str, str], at: datetime, *, outcome: Outcome = Outcome.SENT
    ) -> Iterator[InRecord]:
        """A call of 1 s with invitations, the record of each by its id: begun, settled, and an outcome for each."""
        begun = Attempt(
            id=id_,
            account="main",
            call="email_sharings",
            campaign="4711",
            invitations=tuple(invitations),
            state="begun",
            begun_at=at,
        )
        yield self.put("pisano.attempts", f"main/call/{id_}", begun, at)
        end = at + timedelta(seconds=1)
        settled = begun.model_copy(update={"state": "settled", "result": "accepted", "settled_at": end})
        yield self.put("pisano.attempts", f"main/call/{id_}", settled, end)
        for invitation, record_id in invitations.items():
            settlement = Settlement(
                invitation=invitation,
                account="main",
                survey="closed-case",
                record_id=record_id,
                outcome=outcome,
                attempt=id_,
                at=end,
            )
            yield self.put("pisano.attempts", f"main/{invitation}", settlement, end)

    def answer(self, record_id: str, email: object, at: datetime, *, again: int = 0) -> Iterator[InRecord]:
        """A feedback, its two writes, and the change that the second one makes. `again`: repeats of the webhook."""
        body = {"sf_ref_id": record_id, "email": email, "nps_score": 1, "comment": COMMENT}
        feedback = Feedback(id=digest("answer", record_id, at.isoformat()), account="main", received_at=at, body=body)
        for number in range(again + 1):
            repeated_at = at + timedelta(seconds=number)
            repeated = feedback.model_copy(update={"received_at": repeated_at})
            given = self.put("pisano.feedback", record_id, repeated, repeated_at)
            if number == 0:
                cause = given
            yield given
        for rule, object_, key_field, key in (
            ("response", "Survey_Response__c", "Pisano_Id__c", feedback.id),
            ("detractor", "Case", "Id", record_id),
        ):
            written = at + timedelta(seconds=1)
            write = Write(
                id=digest("write", feedback.id, rule),
                feedback=feedback.id,
                rule=rule,
                operation="update" if key_field == "Id" else "upsert",
                object=object_,
                key_field=key_field,
                key=key,
                fields={"Comment__c": COMMENT},
                success=True,
                record_id=record_id if key_field == "Id" else "a01" + record_id[3:],
                created=key_field != "Id",
                at=written,
            )
            yield self.put("salesforce.writes", write.id, write, written, cause=cause)
        yield self.change(record_id, at + timedelta(milliseconds=900), ours=True, transaction=feedback.id[:8])


def case_id(number: int) -> str:
    """A Salesforce id of 18 characters, whose first 15 name the case."""
    return f"5005g{number:010d}AAA"
