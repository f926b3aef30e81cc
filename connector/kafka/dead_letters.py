"""Dead letters: what a stage gave up on, byte for byte, with the reason, place and time in its headers."""

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from connector.config import Kafka
from connector.kafka.cloud_events import OutRecord, attributes
from connector.kafka.inbound import InRecord
from connector.masking import mask_emails

DEAD_LETTERS = "connector.deadletters"
_LONGEST = 2_000  # characters of an error's text; a header is no place for a page of HTML

Count = Callable[[str, str], None]


class DeadLetters:
    """Makes the dead letters of one stage, and calls `count(stage, reason)` for each."""

    def __init__(self, kafka: Kafka, stage: str, count: Count) -> None:
        self._topic = kafka.topic_prefix + DEAD_LETTERS
        self._stage = stage
        self._count = count

    def of_record(self, record: InRecord, reason: str, error: Exception, cell: str) -> OutRecord:
        """For a record from a topic: its key, value and headers unchanged, where it was, and whose work failed."""
        place = {
            "dl_cell": cell,
            "dl_topic": record.topic,
            "dl_partition": str(record.partition),
            "dl_offset": str(record.offset),
        }
        return self._letter(record.key, record.value, list(record.headers), reason, error, place)

    def of_body(
        self, source: str, body: bytes, reason: str, error: Exception, more: Mapping[str, str] | None = None
    ) -> OutRecord:
        """For what never became a record: an event that cannot be decoded, a webhook that cannot be read.

        `more` holds the cell, and the sender's headers that say how to read the bytes. They become `dl_cell`,
        `dl_content_type` and so on.
        """
        kept = {f"dl_{name.lower().replace('-', '_')}": value for name, value in (more or {}).items() if value}
        headers = attributes(
            ce_type="connector.deadletter",
            ce_source=f"/stages/{self._stage}",
            ce_id=secrets.token_hex(16),
            ce_time=datetime.now(UTC),
            datacontenttype="application/octet-stream",
        )
        return self._letter(source.encode(), body, headers, reason, error, {"dl_source": source, **kept})

    def _letter(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]],
        reason: str,
        error: Exception,
        place: dict[str, str],
    ) -> OutRecord:
        self._count(self._stage, reason)
        ours = {
            "dl_stage": self._stage,
            "dl_reason": reason,
            "dl_error": mask_emails(f"{type(error).__name__}: {error}")[:_LONGEST],
            "dl_at": datetime.now(UTC).isoformat(),
            **place,
        }
        return OutRecord(
            self._topic,
            key,
            value,
            [*headers, *((name, text.encode(errors="backslashreplace")) for name, text in ours.items())],
        )
