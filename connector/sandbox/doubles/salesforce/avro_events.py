"""Change events as bytes: Avro schemas made from the objects, payloads, and the bitmaps of changed fields."""

import base64
import difflib
import hashlib
import io
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import fastavro
import orjson

from connector.sandbox.doubles.salesforce import ids
from connector.sandbox.doubles.salesforce.schema import KINDS, Field, SObject
from connector.sandbox.doubles.salesforce.values import to_avro

_KINDS_OF_CHANGE = ["CREATE", "UPDATE", "DELETE", "UNDELETE"]
CHANGE_TYPES = [*_KINDS_OF_CHANGE, *(f"GAP_{kind}" for kind in [*_KINDS_OF_CHANGE, "OVERFLOW"]), "SNAPSHOT"]
_DIFF_FROM = 1000  # characters; a longer text arrives as a diff (salesforce §0.6)
_STAMP_DOCS = {
    "CreatedDate": "CreatedDate:DateTime",
    "CreatedById": "CreatedBy:EntityId",
    "LastModifiedDate": "LastModifiedDate:DateTime",
    "LastModifiedById": "LastModifiedBy:EntityId",
}


def event_name(entity: str) -> str:
    """`Case` gives CaseChangeEvent, `Employee__c` gives Employee__ChangeEvent (salesforce §B5)."""
    return (entity.removesuffix("c") if entity.endswith("__c") else entity) + "ChangeEvent"


@dataclass(frozen=True)
class EventSchema:
    """One version of an entity's event schema. A position in its bitmaps is the position of a top-level field."""

    entity: SObject

    @cached_property
    def json(self) -> str:
        return orjson.dumps(_schema(self.entity)).decode()

    @cached_property
    def schema_id(self) -> str:
        """22 characters. The id changes when an administrator changes the object (salesforce §A2)."""
        return base64.urlsafe_b64encode(hashlib.md5(self.json.encode()).digest()).rstrip(b"=").decode()  # noqa: S324

    @cached_property
    def _parsed(self) -> Any:
        return fastavro.parse_schema(orjson.loads(self.json))

    def encode(self, header: Mapping[str, Any] | None, values: Mapping[str, Any]) -> bytes:
        out = io.BytesIO()
        record = values if header is None else {**values, "ChangeEventHeader": header}  # missing values are null
        fastavro.schemaless_writer(out, self._parsed, record)
        return out.getvalue()

    def values(self, record: Mapping[str, Any], only: Collection[str] | None = None) -> dict[str, Any]:
        """Avro values of all REST fields, or only of those in `only`; a compound then holds only those parts."""
        values = {}
        for field in self.entity.streamed:
            if field.parts and (field.kind != "switchable" or record.get("LastName") is not None):
                compound = {
                    name: to_avro(part, record.get(part.name)) if only is None or part.name in only else None
                    for name, part in field.parts.items()
                }
                touched = only is not None and any(part.name in only for part in field.parts.values())
                values[field.name] = (
                    compound if touched or any(value is not None for value in compound.values()) else None
                )
            elif only is None or field.name in only:
                values[field.name] = to_avro(field, record.get(field.name))
        return values

    def bitmap(self, changed: Set[str]) -> list[str]:
        """`0x…` for top-level fields, then `N-0x…` for parts of the compound at position N (salesforce §B2)."""
        top, nested = 0, dict[int, int]()
        for name in changed & self._places.keys():
            position, index = self._places[name]
            if index is None:
                top |= 1 << position
            else:
                nested[position] = nested.get(position, 0) | 1 << index
        parts = [f"{position}-{_hex(bits)}" for position, bits in sorted(nested.items())]
        return ([_hex(top)] if top else []) + parts

    @cached_property
    def _places(self) -> dict[str, tuple[int, int | None]]:
        """The position of each REST field, and its index inside a compound; position 0 is the header."""
        places: dict[str, tuple[int, int | None]] = {}
        for position, field in enumerate(self.entity.streamed, start=1):
            places[field.name] = position, None
            places |= {part.name: (position, index) for index, part in enumerate(field.parts.values())}
        return places


def _hex(bits: int) -> str:
    return "0x" + bits.to_bytes((bits.bit_length() + 7) // 8, "big").hex().upper()


def diffs(before: Mapping[str, Any], after: Mapping[str, Any], changed: Collection[str]) -> dict[str, str]:
    """Unified diffs of the long texts that changed; each names the SHA-256 of the value before (salesforce §B3)."""
    found = {}
    for name in changed:
        old, new = before.get(name), after.get(name)
        if isinstance(old, str) and isinstance(new, str) and len(new) > _DIFF_FROM:
            digest = hashlib.sha256(old.encode()).hexdigest()
            found[name] = "\n".join(difflib.unified_diff(old.split("\n"), new.split("\n"), "", digest, lineterm=""))
    return found


def _schema(entity: SObject) -> dict[str, Any]:
    platform_event = entity.name.endswith("__e")
    declared: set[str] = set()
    fields = [_platform_field(f, declared) if platform_event else _field(f, declared) for f in entity.streamed]
    if not platform_event:
        fields.insert(0, {"name": "ChangeEventHeader", "type": _header()})
    name = entity.name if platform_event else event_name(entity.name)
    return {"name": name, "namespace": "com.sforce.eventbus", "type": "record", "fields": fields}


def _field(field: Field, declared: set[str]) -> dict[str, Any]:
    return {"name": field.name, "type": ["null", *_types(field, declared)], "doc": _doc(field), "default": None}


def _platform_field(field: Field, declared: set[str]) -> dict[str, Any]:
    if field.readonly:
        return {"name": field.name, "type": KINDS[field.kind].avro, "doc": _doc(field)}
    return _field(field, declared)


def _types(field: Field, declared: set[str]) -> list[Any]:
    avro = KINDS[field.kind].avro
    if not field.parts:
        return [avro]
    text = ["string"] if field.kind == "switchable" else []
    if avro in declared:
        return [*text, avro]
    declared.add(avro)
    parts = [
        {"name": name, "type": ["null", KINDS[part.kind].avro], "doc": KINDS[part.kind].doc, "default": None}
        for name, part in field.parts.items()
    ]
    return [*text, {"type": "record", "name": avro, "fields": parts}]


def _doc(field: Field) -> str:
    if field.name in _STAMP_DOCS:
        return _STAMP_DOCS[field.name]
    doc = KINDS[field.kind].doc
    if field.name.endswith("__c") and doc.startswith("Data:"):
        number = int.from_bytes(hashlib.sha256(field.name.encode()).digest()[:6], "big")
        return f"{doc}:{ids.make('00N', number)[:15]}"
    return doc


def _header() -> dict[str, Any]:
    texts = {"type": "array", "items": "string"}
    types: dict[str, Any] = {
        "entityName": "string",
        "recordIds": texts,
        "changeType": {"type": "enum", "name": "ChangeType", "symbols": CHANGE_TYPES},
        "changeOrigin": "string",
        "transactionKey": "string",
        "sequenceNumber": "int",
        "commitTimestamp": "long",
        "commitNumber": "long",
        "commitUser": "string",
        "nulledFields": texts,
        "diffFields": texts,
        "changedFields": texts,
    }
    fields = [{"name": name, "type": kind} for name, kind in types.items()]
    return {"type": "record", "name": "ChangeEventHeader", "fields": fields}
