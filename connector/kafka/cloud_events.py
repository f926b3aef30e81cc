"""Records with CloudEvents 1.0 attributes in Kafka's binary mode, and a W3C trace from a change to its answer."""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

from connector.observe.tracing import tracing
from connector.records import Record
from connector.values import exact

_VERSION = ("ce_specversion", b"1.0")
_SCHEMAS = "urn:salesforce-pisano-connector:schema:"

_CONTENT_TYPE = {"datacontenttype": "content-type"}  # the one attribute that is no ce_ header
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")

Headers = Iterable[tuple[str, bytes | None]]  # Kafka allows a header without a value


@dataclass(frozen=True, slots=True)
class OutRecord:
    """A record to be written. Without a `partition` Kafka's default partitioner places it by its key."""

    topic: str
    key: bytes | None
    value: bytes | None = field(repr=False)
    headers: list[tuple[str, bytes]] = field(repr=False)
    partition: int | None = None

    def arguments(self) -> dict[str, Any]:
        """The arguments for aiokafka's `send`."""
        return {
            "topic": self.topic,
            "key": self.key,
            "value": self.value,
            "headers": self.headers,
            "partition": self.partition,
        }


@cache
def schema_id(model: type[Record]) -> str:
    """The name of a record's schema. The first version has no number."""
    version = f":{model.schema_version}" if model.schema_version > 1 else ""
    return f"{_SCHEMAS}{model.__name__}{version}"


def to_record(
    topic: str,
    key: str,
    record: Record,
    *,
    ce_type: str,
    ce_source: str,
    ce_id: str,
    ce_time: datetime,
    partition: int | None = None,
    parent: Headers = (),
) -> OutRecord:
    """One of our records in the form for its topic. `parent` holds the headers of the record that caused it."""
    headers = attributes(
        ce_type=ce_type,
        ce_source=ce_source,
        ce_id=ce_id,
        ce_time=ce_time,
        dataschema=schema_id(type(record)),
        datacontenttype="application/json",
    )
    headers.append(("traceparent", tracing.created(topic, ce_id, parent) or _child_of(parent)))
    return OutRecord(topic, key.encode(), exact.dumps(vars(record)), headers, partition)


def attributes(*, ce_type: str, ce_source: str, ce_id: str, ce_time: datetime, **more: str) -> list[tuple[str, bytes]]:
    """The CloudEvents attributes as headers. `more` holds `dataschema` and `datacontenttype`, which has no prefix.

    Raises:
        ValueError: A required attribute is empty.
    """
    if not (ce_id and ce_type and ce_source):
        raise ValueError("a CloudEvent needs an id, a type and a source")
    return [
        _VERSION,
        ("ce_id", ce_id.encode()),
        _attribute("type", ce_type),
        _attribute("source", ce_source),
        ("ce_time", ce_time.isoformat().replace("+00:00", "Z").encode()),
        *[_attribute(name, text) for name, text in more.items()],
    ]


@lru_cache  # nearly all records have the same few
def _attribute(name: str, text: str) -> tuple[str, bytes]:
    return _CONTENT_TYPE.get(name, f"ce_{name}"), text.encode()


def _child_of(parent: Headers) -> bytes:
    """A traceparent in the parent's trace, or in a new one (W3C Trace Context: version, trace id, span id, flags)."""
    given = _TRACEPARENT.fullmatch(dict(parent).get("traceparent") or b"") if parent else None
    new = b"%048x" % random.getrandbits(192)  # no secret; the system's own random bytes cost 20 times more
    return b"00-%s-%s-01" % (given[1] if given else new[16:], new[:16])
