"""Decodes an event's bytes into changes: merged events, bitmaps, diffs and REST names (contract: salesforce §B)."""

import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import fastavro

from connector.errors import Rejected
from connector.salesforce._numbers import whole
from connector.salesforce.schemas import HEADER, AvroField, EventSchema

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATES = {"DateOnly", "Birthday", "BirthDay"}
_TIMES = {"Time", "TimeOnly"}  # of a Time field; which name Salesforce uses is not documented
_MOMENTS = {"DateTime", *_DATES, *_TIMES}
_CLIENT = re.compile(r";client=([^;]+)")
_NAMES_KEPT = 1024  # sets of changed fields; most changes of an object change the same few
_BITMAP = re.compile(r"(?:(\d+)-)?0x([0-9A-Fa-f]+)")


class DecodedChange(NamedTuple):
    """One change of one record. Field names are REST's; dates are texts as REST writes them, and whole numbers ints.

    `changed_fields` names all changed fields, including nulled and diffed ones. `fields` holds every field after a
    CREATE or UNDELETE, the changed fields after an UPDATE (null where nulled), and no field otherwise. A long text that
    came as a unified diff is only in `diff_fields`: a diff is not a value. `commit_timestamp` is in epoch milliseconds.
    """

    entity: str
    record_id: str
    change_type: str
    changed_fields: tuple[str, ...]
    nulled_fields: tuple[str, ...]
    diff_fields: Mapping[str, str]
    fields: Mapping[str, Any]
    change_origin: str
    transaction_key: str
    sequence_number: int
    commit_timestamp: int
    commit_number: int
    commit_user: str


@dataclass(frozen=True)
class DecodedPlatformEvent:
    """One platform event. `created_date` is in epoch milliseconds; `event_uuid` is None if the schema has none."""

    entity: str
    fields: Mapping[str, Any]
    created_date: int
    created_by_id: str
    event_uuid: str | None


def decode(payload: bytes, schema: EventSchema) -> list[DecodedChange]:
    """The changes in a change event, one for each record. A merged event carries several.

    Raises:
        Rejected: With code `undecodable`, when the payload does not fit the schema.
    """
    value = _read(payload, schema)
    header = value.pop(HEADER, None)
    if not header or not header["recordIds"]:
        raise Rejected("a change event without a header or record ids", code="undecodable")
    bitmaps = [tuple(header.get(of) or ()) for of in ("nulledFields", "diffFields", "changedFields")]
    whole = tuple(name for name in schema.plain if not isinstance(value[name], dict))
    nulled, diffed, changed = (_names(schema, whole, marks) for marks in (bitmaps[0], bitmaps[1], sum(bitmaps, ())))
    fields: dict[str, Any] = {}
    if header["changeType"] in {"CREATE", "UNDELETE"}:
        fields = dict(_flat(schema, value))
    elif header["changeType"] == "UPDATE":
        fields = {name: _value(schema, value, name) for name in changed if name not in diffed}
    diffs = ((name, _value(schema, value, name)) for name in changed if name in diffed)
    diff_fields = {name: str(diff) for name, diff in diffs if diff is not None}
    return [
        DecodedChange(
            entity=header["entityName"],
            record_id=record_id,
            change_type=header["changeType"],
            changed_fields=changed,
            nulled_fields=nulled,
            diff_fields=diff_fields,
            fields=fields,
            change_origin=header.get("changeOrigin") or "",
            transaction_key=header.get("transactionKey") or "",
            sequence_number=header.get("sequenceNumber") or 0,
            commit_timestamp=header["commitTimestamp"],
            commit_number=header.get("commitNumber") or 0,
            commit_user=header.get("commitUser") or "",
        )
        for record_id in header["recordIds"]
    ]


def decode_platform_event(payload: bytes, schema: EventSchema) -> DecodedPlatformEvent:
    """
    Raises:
        Rejected: With code `undecodable`, when the payload does not fit the schema.
    """
    value = _read(payload, schema)
    try:
        created_date, created_by_id = int(value["CreatedDate"]), str(value["CreatedById"])
    except (KeyError, TypeError) as error:
        raise Rejected(f"a platform event without {error}", code="undecodable") from error
    fields = dict(_flat(schema, value))
    return DecodedPlatformEvent(schema.name, fields, created_date, created_by_id, value.get("EventUuid"))


def client_of(change_origin: str) -> str | None:
    """The client name that the change's REST call carried in `Sforce-Call-Options` (salesforce §0.9)."""
    found = _CLIENT.search(change_origin)
    return found[1] if found else None


def _read(payload: bytes, schema: EventSchema) -> dict[str, Any]:
    stream = io.BytesIO(payload)
    try:
        value: Any = fastavro.schemaless_reader(stream, schema.avro, None)
    except Exception as error:  # a wrong byte can cause any error
        raise Rejected(f"not a readable {schema.name}: {type(error).__name__}", code="undecodable") from error
    if not isinstance(value, dict) or stream.tell() != len(payload):
        raise Rejected(f"not a readable {schema.name}: bytes are left over", code="undecodable")
    return value


def _flat(schema: EventSchema, value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """REST names and values of the whole event."""
    for field in schema.fields:
        if field.name == HEADER:
            continue
        whole = value[field.name]
        if field.children and (isinstance(whole, dict) or not field.plain):
            for child in field.children:
                yield field.rest_name(child), _rest_value(child, (whole or {}).get(child.name))
        else:
            yield field.name, _rest_value(field, whole)


def _value(schema: EventSchema, value: Mapping[str, Any], name: str) -> Any:
    """The value with this REST name, or null if the event does not have it in this form."""
    field, child = schema.places[name]
    whole = value[field.name]
    if type(whole) is str and child is None:  # most values
        return whole
    if child is None:
        return None if field.children and isinstance(whole, dict) else _rest_value(field, whole)
    return _rest_value(child, whole.get(child.name)) if isinstance(whole, dict) else None


@lru_cache(_NAMES_KEPT)
def _names(schema: EventSchema, whole: Collection[str], bitmaps: Iterable[str]) -> tuple[str, ...]:
    """The REST names of the bits that are set, in the schema's order. `whole` are compounds that are scalars here.

    Another compound's own bit stands for all its parts.
    """
    names: set[str] = set()
    for parent, position in _bits(bitmaps):
        try:
            field = schema.fields[position if parent is None else parent]
            child = None if parent is None else field.children[position]
        except IndexError:
            raise Rejected(
                f"a bitmap names field {position} of {parent if parent is not None else schema.name}, which has fewer",
                code="undecodable",
            ) from None
        if child is None and field.children and field.name not in whole:
            names.update(field.rest_name(part) for part in field.children)
        else:
            names.add(field.rest_name(child))
    return tuple(name for name in schema.places if name in names)


def _bits(bitmaps: Iterable[str]) -> Iterator[tuple[int | None, int]]:
    """Positions of the set bits, each with the position of its compound field or None (salesforce §B2)."""
    for bitmap in bitmaps:
        match = _BITMAP.fullmatch(bitmap)
        if not match:
            raise Rejected(f"not a bitmap: {bitmap!r}", code="undecodable")
        bits = int(match[2], 16)
        parent = int(match[1]) if match[1] else None
        yield from ((parent, position) for position in range(bits.bit_length()) if bits >> position & 1)


def _rest_value(field: AvroField, value: Any) -> Any:
    """A date or time as REST writes it, and a whole number as an int. Others stay as they are.

    Avro has epoch milliseconds. For a time of day it has the milliseconds since midnight, we think: Salesforce does not
    document it.
    """
    if isinstance(value, float):
        return whole(value)
    if field.kind not in _MOMENTS or not isinstance(value, int):
        return value
    try:
        moment = _EPOCH + timedelta(milliseconds=value)
    except OverflowError:
        return value
    if field.kind in _TIMES:
        is_time_of_day = moment.date() == _EPOCH.date()
        return moment.time().isoformat(timespec="milliseconds") + "Z" if is_time_of_day else value
    if field.kind in _DATES:
        return moment.date().isoformat()
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "+0000")
