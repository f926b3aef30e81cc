"""Field values: checks REST values, stores them in REST's form, and converts them to Avro for change events."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from connector.sandbox.doubles.salesforce import ids
from connector.sandbox.doubles.salesforce.schema import KINDS, Field, SObject

_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "Switchable_PersonName": str,
    "double": (int, float, Decimal),
    "int": int,
    "long": str,  # REST writes dates as text
    "boolean": bool,
}
_INT_SIZE = 2**31
DIGITS = 18  # of a number, currency or percent, and how many of them follow the point
SCALE = 2
_DATE, _TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}", r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
_MOMENTS = {
    "date": re.compile(_DATE),
    "datetime": re.compile(rf"{_DATE}T{_TIME}(Z|[+-][0-9]{{2}}:?[0-9]{{2}})"),
    "time": re.compile(rf"{_TIME}Z?"),
}
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")


class Problem(ValueError):
    """Salesforce refuses: `code` is the errorCode of a call or the statusCode of a record (salesforce §D4)."""

    def __init__(self, code: str, message: str, *fields: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.fields, self.status = code, message, list(fields), status


def accept(entity: SObject, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The stored form of the values to write, by the fields' correct names.

    Raises:
        Problem: For the first field with an unknown name or a bad value.
    """
    accepted = {}
    for name, value in fields.items():
        field = entity.lower.get(name.lower())
        if field is None:
            raise Problem("INVALID_FIELD", f"No such column '{name}' on sobject of type {entity.name}", name)
        if field.readonly:
            raise Problem(
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                f"Unable to create/update fields: {field.name}. Please check the security settings of this field and"
                " verify that it is read/write for your profile or permission set.",
                field.name,
            )
        accepted[field.name] = _value(field, value)
    return accepted


def required(entity: SObject, record: Mapping[str, Any]) -> None:
    """Raises REQUIRED_FIELD_MISSING when the new version of the record lacks a required field."""
    person = record.get("LastName") is not None
    missing = [
        field.name
        for field in entity.rest.values()
        if field.required and record.get(field.name) is None and not (field.kind == "switchable" and person)
    ]
    if missing:
        raise Problem("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", *missing)


def _value(field: Field, value: Any) -> Any:
    rest = KINDS[field.kind].rest
    if rest == "boolean" and value is None:
        raise Problem("INVALID_TYPE_ON_FIELD_IN_RECORD", f"{field.name}: value not of required type: ", field.name)
    if rest != "boolean" and (value is None or value == ""):
        return None
    if not isinstance(value, _TYPES[KINDS[field.kind].avro]) or (isinstance(value, bool) and rest != "boolean"):
        raise _misread(field, value)
    if rest in {"date", "datetime", "time"}:
        return _moment(field, str(value))
    most = {"int": _INT_SIZE, "double": 10 ** (DIGITS - SCALE)}.get(KINDS[field.kind].avro)
    if most is not None and not -most <= value < most:
        raise Problem("NUMBER_OUTSIDE_VALID_RANGE", f"{field.name}: value outside of valid range: {value}", field.name)
    return _text(field, value) if isinstance(value, str) else value


def _text(field: Field, value: str) -> str:
    if field.kind == "ref":
        reference = ids.normal(value)
        if reference is None:
            raise Problem("MALFORMED_ID", f"{field.name}: id value of incorrect type: {value}", field.name)
        return reference
    if len(value) > field.length:
        start = value[:20]
        raise Problem(
            "STRING_TOO_LONG", f"{field.name}: data value too large: {start}... (max length={field.length})", field.name
        )
    if field.restricted and value not in field.argument.split("|"):
        raise Problem(
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            f"{field.name}: bad value for restricted picklist field: {value}",
            field.name,
        )
    if field.kind == "email" and not _EMAIL.fullmatch(value):
        raise Problem("INVALID_EMAIL_ADDRESS", f"{field.name}: invalid email address: {value}", field.name)
    return value


def _moment(field: Field, value: str) -> str:
    if not _MOMENTS[KINDS[field.kind].rest].fullmatch(value):  # Python takes more forms of ISO 8601 than Salesforce
        raise _misread(field, value)
    try:
        if field.kind == "date":
            return date.fromisoformat(value).isoformat()
        if field.kind == "time":
            return time.fromisoformat(value.removesuffix("Z")).isoformat("milliseconds") + "Z"
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _misread(field, value) from None
    if moment.tzinfo is None:
        raise _misread(field, value)
    return timestamp(moment.timestamp())


def _misread(field: Field, value: object) -> Problem:
    kinds = {bool: "VALUE_TRUE", int: "VALUE_NUMBER_INT", float: "VALUE_NUMBER_FLOAT", str: "VALUE_STRING"}
    kinds[Decimal] = kinds[float]
    token = kinds.get(type(value), "VALUE_NULL" if value is None else "START_OBJECT")
    return Problem(
        "JSON_PARSER_ERROR",
        f"Cannot deserialize instance of {KINDS[field.kind].rest} from {token} value {value} or request may be missing"
        " a required field",
        field.name,
    )


def timestamp(seconds: float) -> str:
    """A date-time in REST's form: 2026-11-24T09:30:00.000+0000."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"


def to_avro(field: Field, value: Any) -> Any:
    """A stored value in Avro form: dates and date-times are epoch milliseconds (salesforce §B1).

    How a time looks is not documented: here it is the milliseconds since midnight.
    """
    if value is None:
        return None
    if field.kind == "time":
        clock = time.fromisoformat(value.removesuffix("Z"))
        return timedelta(hours=clock.hour, minutes=clock.minute, seconds=clock.second) // timedelta(milliseconds=1)
    if field.kind in {"date", "datetime"}:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000)
    return float(value) if KINDS[field.kind].avro == "double" else value


def composed(record: Mapping[str, Any], field: Field) -> Any:
    """A field as REST shows it: compounds are joined from their parts, and formulas are calculated."""
    if field.kind == "formula":
        return field.argument.format_map({name: "" if value is None else value for name, value in record.items()})
    if field.kind in {"address", "location"}:
        parts = {name[0].lower() + name[1:]: record.get(part.name) for name, part in field.parts.items()}
        return parts if any(value is not None for value in parts.values()) else None
    if field.kind == "person" or (field.kind == "switchable" and record.get("LastName") is not None):
        names = (record.get(part.name) for name, part in field.parts.items() if name != "Salutation")
        return " ".join(name for name in names if name)
    return record.get(field.name)
