"""Avro schemas of events, with the REST names of their fields (contract: salesforce §B1, §B2)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import fastavro
import orjson

from connector.errors import Rejected

HEADER = "ChangeEventHeader"


@dataclass(frozen=True)
class AvroField:
    """A field; `kind` is the Salesforce type that its doc names (`DateTime`, `Text`, …) or an empty string.

    `children` are the parts of a compound field. `plain` says that the value may also be a scalar instead of a record,
    as the Name of a business account is.
    """

    name: str
    kind: str
    children: tuple["AvroField", ...] = ()
    plain: bool = False

    def rest_name(self, child: "AvroField | None" = None) -> str:
        """What REST calls this field, or one part of it: BillingCity, FirstName, Site__Latitude__s (salesforce §B2)."""
        if child is None:
            return self.name
        if self.name == "Name":
            return child.name
        if self.name.endswith("__c"):
            return f"{self.name.removesuffix('__c')}__{child.name}__s"
        return f"{self.name.removesuffix('Address')}{child.name}"


@dataclass(frozen=True, eq=False)
class EventSchema:
    """A parsed schema. fastavro reads with `avro`.

    `places` holds every REST name that it can give, in order, with its field, and its part if the field is a compound.
    `plain` names the compounds that may be scalars.
    """

    name: str
    fields: tuple[AvroField, ...]
    places: Mapping[str, tuple[AvroField, AvroField | None]]
    plain: tuple[str, ...]
    avro: Any


def parse_schema(schema_json: str) -> EventSchema:
    """
    Raises:
        Rejected: With code `undecodable`; no event of that schema can ever be read.
    """
    try:
        avro: Any = fastavro.parse_schema(orjson.loads(schema_json))
        records: dict[str, Any] = {}
        fields = tuple(_fields(avro, records))
        plain = tuple(field.name for field in fields if field.plain)
        return EventSchema(avro["name"].rpartition(".")[2], fields, dict(_places(fields)), plain, avro)
    except Exception as error:  # a text that is not a schema fails in any of a dozen ways
        raise Rejected(f"not a readable Avro schema: {type(error).__name__}: {error}", code="undecodable") from error


def _places(fields: tuple[AvroField, ...]) -> Iterator[tuple[str, tuple[AvroField, AvroField | None]]]:
    for field in fields:
        if field.name == HEADER:
            continue
        if not field.children or field.plain:
            yield field.name, (field, None)
        yield from ((field.rest_name(child), (field, child)) for child in field.children)


def _fields(record: Any, records: dict[str, Any]) -> Iterator[AvroField]:
    """`records` collects the named types: a schema declares each once, and then uses only its name."""
    records[record["name"]] = record
    for field in record["fields"]:
        branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
        compound = next((found for branch in branches if (found := _record(branch, records))), None)
        yield AvroField(
            name=field["name"],
            kind=(field.get("doc") or "").partition(":")[2].partition(":")[0],
            children=tuple(_fields(compound, records)) if compound else (),
            plain=compound is not None and "string" in branches,
        )


def _record(branch: Any, records: dict[str, Any]) -> Any:
    if isinstance(branch, dict):
        return branch if branch.get("type") == "record" else None
    return records.get(branch)
