"""Makes facts of the records of all topics that say something about an invitation or a record."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pydantic import ValidationError

from connector.config import Config, catalogue
from connector.errors import Rejected
from connector.explain import _said
from connector.explain._said import Said
from connector.explain.fact import Fact, Ids, Kind
from connector.kafka.inbound import InRecord
from connector.protection import Hashes

_PERSON = 16  # hex digits of a person's hash: 64 bits
_TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-.*")


class Facts:
    """`hashes` hides persons. `topics` are those whose records become facts; positions say nothing of a customer."""

    def __init__(self, config: Config, hashes: Hashes) -> None:
        self._prefix = config.kafka.topic_prefix
        self._hashes = hashes
        self._of_topics = Hashes.of_config(config.protect)
        client, answered_by = config.salesforce.client_name, config.protect.answered_by
        phones = {name: account.phones for name, account in config.pisano.items()}
        self._readers: dict[str, Callable[[InRecord], Said | None]] = {
            "salesforce.cdc": lambda record: _said.change(record, client),
            "salesforce.events": lambda record: _said.change(record, client),
            "pisano.invitations": lambda record: _said.invitation(record, self.persons),
            "pisano.attempts": lambda record: _said.ledger(record, self._hidden),
            "pisano.feedback": lambda record: _said.feedback(record, self.persons, answered_by, phones),
            "salesforce.writes": _said.write,
            "pisano.suppressions": lambda record: _said.suppression(record, self.persons),
            "connector.actions": _said.action,
            "connector.deadletters": self._dead_letter,
            "connector.parked": self._parked,
            "pisano.waiting": self._waiting,
        }
        self.topics = [topic.name for topic in catalogue.topics_for(config) if self._tells(topic.name)]

    def of(self, record: InRecord) -> Fact | None:
        """The fact that a record is; None for one that says nothing, such as the end of a compacted key."""
        if (said := self._said(record)) is None:
            return None
        ids = {**said.ids, "trace": tuple(_traces(record))}
        found = {kind: kept for kind, values in ids.items() if (kept := tuple(dict.fromkeys(filter(None, values))))}
        retried = _texts(record).get("dl_retry") if said.kind is not Kind.DEAD_LETTER else None
        said_of = {**said.details, "retry_of": retried}
        details = {name: value for name, value in said_of.items() if value is not None and value != ""}
        return Fact(said.kind, record.topic, record.partition, record.offset, said.at, said.code, found, details)

    def _said(self, record: InRecord) -> Said | None:
        """What a record says, with its time in UTC."""
        try:
            said = self._readers[self._family(record.topic)](record)
            return said and replace(said, at=said.at.astimezone(UTC))
        except (Rejected, ValidationError, ValueError, KeyError, OverflowError) as error:
            why = _said.short(str(error)) if isinstance(error, Rejected) else "it has not the form of its topic"
            return Said(Kind.UNREADABLE, _written(record), {}, {"error": why})

    def persons(self, contact: str | None, address: str | None) -> tuple[str, ...]:
        """The ids of a person."""
        return self._hidden(self._of_topics.persons(contact, address))

    def _hidden(self, persons: Sequence[str]) -> tuple[str, ...]:
        """The ids of persons whom a topic has as hashes, such as the ledger, which is kept longest."""
        return tuple(self._hashes.of(person)[:_PERSON] for person in persons)

    def _tells(self, topic: str) -> bool:
        return self._family(topic) in self._readers

    def _family(self, topic: str) -> str:
        return ".".join(topic.removeprefix(self._prefix).split(".")[:2])

    def _dead_letter(self, record: InRecord) -> Said:
        headers = _texts(record)
        details = {
            "stage": headers["dl_stage"],
            "cell": headers.get("dl_cell"),
            "error": _said.short(headers.get("dl_error")),
            "source": _source(headers, "dl") or headers.get("dl_source"),
        }
        at, ids = datetime.fromisoformat(headers["dl_at"]), self._inner(record, headers.get("dl_topic"), record.key)
        return Said(Kind.DEAD_LETTER, at, ids, details, headers["dl_reason"])

    def _parked(self, record: InRecord) -> Said | None:
        headers = _texts(record)
        if "pk_done" in headers:
            return None
        key = bytes.fromhex(headers["pk_key"]) if "pk_key" in headers else None
        details = {"stage": headers["pk_stage"], "cell": headers["pk_cell"], "source": _source(headers, "pk")}
        return Said(Kind.PARKED, _written(record), self._inner(record, headers["pk_topic"], key), details)

    def _waiting(self, record: InRecord) -> Said | None:
        if record.value is None:
            return None
        headers = _texts(record)
        details = {"until": headers.get("wt_until"), "source": _source(headers, "pk")}
        return Said(Kind.WAITING, _written(record), self._inner(record, headers["pk_topic"], None), details)

    def _inner(self, record: InRecord, topic: str | None, key: bytes | None) -> Ids:
        """The ids of the record of another topic that this one holds, byte for byte."""
        if topic is None or not self._tells(topic):
            return {}
        fact = self.of(InRecord(topic, 0, 0, key, record.value, record.headers, record.timestamp))
        return fact.ids if fact else {}


def _written(record: InRecord) -> datetime:
    return datetime.fromtimestamp(record.timestamp, UTC)


def _texts(record: InRecord) -> dict[str, str]:
    return {name: (value or b"").decode(errors="replace") for name, value in record.headers}


def _source(headers: Mapping[str, str], prefix: str) -> str | None:
    """Where the record was that lies in this one."""
    parts = [headers.get(f"{prefix}_{name}") for name in ("topic", "partition", "offset")]
    return "/".join(part for part in parts if part) if all(parts) else None


def _traces(record: InRecord) -> Iterator[str]:
    for name, value in record.headers:
        if name == "traceparent" and (found := _TRACE.fullmatch(value or b"")):
            yield found[1].decode()
