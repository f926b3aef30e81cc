"""Dead letters: what a stage gave up on, byte for byte, with the reason, place and time in its headers."""

import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from connector.config import Kafka
from connector.kafka.cloud_events import OutRecord, attributes
from connector.kafka.inbound import InRecord
from connector.masking import mask_emails

DEAD_LETTERS = "connector.deadletters"
_LONGEST = 2_000  # characters of an error's text; a header is no place for a page of HTML

_OURS = "dl_"

Count = Callable[[str, str], None]


@dataclass(frozen=True)
class Retry:
    """What a retried record says about the values that a cell left out. `letter` is the dead letter's place."""

    letter: str
    fields: tuple[str, ...]


def retried(letter: InRecord) -> OutRecord:
    """The record as it was, for the partition that it came from. `dl_retry` says which dead letter it was, and
    `dl_retry_cell` of which cell. Of a record that was written without some values, `dl_retry_fields` says which.

    Raises:
        KeyError, ValueError: The letter does not say where its record was.
    """
    said = {name: (value or b"").decode(errors="replace") for name, value in letter.headers}
    ours = {"dl_retry": f"{letter.partition}/{letter.offset}", "dl_retry_cell": said["dl_cell"]}
    earlier = said.get("dl_retry_fields") if said.get("dl_retry_cell") == said.get("dl_cell") else None
    if fields := said.get("dl_fields") or earlier:
        ours["dl_retry_fields"] = fields
    headers = [(name, value) for name, value in letter.headers if not name.startswith(_OURS)]
    headers += [(name, text.encode()) for name, text in ours.items()]
    return OutRecord(said["dl_topic"], letter.key, letter.value, headers, partition=int(said["dl_partition"]))


def retried_cell(record: InRecord) -> str | None:
    """The cell whose letter the record was before an operator put it back; None for any other record."""
    cell = dict(record.headers).get("dl_retry_cell")
    return cell.decode(errors="replace") if cell else None


def retry_of(record: InRecord, cell: str) -> Retry | None:
    """What `retried` says about the values that this cell left out; None for any other record."""
    said = dict(record.headers)
    fields = said.get("dl_retry_fields")
    if not fields or retried_cell(record) != cell:
        return None
    return Retry(said.get("dl_retry", b"").decode(errors="replace"), tuple(fields.decode(errors="replace").split(",")))


class DeadLetters:
    """Makes the dead letters of one stage, and calls `count(stage, reason)` for each."""

    def __init__(self, kafka: Kafka, stage: str, count: Count) -> None:
        self._topic = kafka.topic_prefix + DEAD_LETTERS
        self._stage = stage
        self._count = count

    def of_record(
        self, record: InRecord, reason: str, error: Exception, cell: str, fields: Collection[str] = ()
    ) -> OutRecord:
        """For a record from a topic: its key, value and headers unchanged, where it was, and whose work failed.

        `fields` are the fields of Salesforce that were left out, when the rest of the record was written.
        """
        place = {
            "dl_cell": cell,
            "dl_topic": record.topic,
            "dl_partition": str(record.partition),
            "dl_offset": str(record.offset),
            **({"dl_fields": ",".join(fields)} if fields else {}),
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
