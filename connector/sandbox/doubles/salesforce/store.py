"""The org's records and the versions of its event schemas. Records change only in transactions."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from connector.sandbox.doubles.salesforce import ids
from connector.sandbox.doubles.salesforce.avro_events import EventSchema
from connector.sandbox.doubles.salesforce.event_log import EventLog
from connector.sandbox.doubles.salesforce.model import GapType, Settings
from connector.sandbox.doubles.salesforce.org import standard_objects
from connector.sandbox.doubles.salesforce.schema import SObject
from connector.sandbox.doubles.salesforce.values import Problem, accept, required, timestamp

Record = dict[str, Any]
_OVERFLOW_ID = "000000000000000AAA"


class Store:
    """Objects, records, and the versions of the event schemas. Records are stored flat, with REST's field names."""

    def __init__(self, clock: Callable[[], float], log: EventLog, cdc: Sequence[str], settings: Settings) -> None:
        self.clock, self.log, self.cdc, self.settings = clock, log, set(cdc), settings
        self.objects = standard_objects()
        self.records: dict[str, dict[str, Record]] = {name: {} for name in self.objects}
        self.schemas = {name: [EventSchema(entity)] for name, entity in self.objects.items()}
        self._by_unique: dict[tuple[str, str], dict[Any, str]] = defaultdict(dict)
        self._numbers: dict[str, int] = defaultdict(int)
        self._commits = 10_000_000_000

    def entity(self, name: str) -> SObject:
        entity = self.objects.get(name)
        if entity is None:
            raise Problem("INVALID_TYPE", f"sObject type '{name}' is not supported.", status=404)
        return entity

    def named(self, name: str) -> SObject | None:
        """The object, whatever the case of its name; None if there is none."""
        return next((each for known, each in self.objects.items() if known.lower() == name.lower()), None)

    def get(self, name: str, record_id: object) -> Record:
        """The stored record.

        Raises:
            Problem: MALFORMED_ID, NOT_FOUND, or ENTITY_IS_DELETED.
        """
        entity = self.entity(name)
        full = ids.normal(record_id)
        if full is None or not full.startswith(entity.prefix):
            raise Problem("MALFORMED_ID", f"{name} ID: id value of incorrect type: {record_id}", "Id")
        record = self.records[name].get(full)
        if record is None:
            raise Problem("NOT_FOUND", "The requested resource does not exist", "Id", status=404)
        if record["IsDeleted"]:
            raise Problem("ENTITY_IS_DELETED", "entity is deleted", "Id", status=404)
        return record

    def find(self, name: str, field: str, value: Any) -> str | None:
        """The id of the record that holds `value` in a unique field."""
        return self._by_unique[name, field].get(value)

    def references(self, name: str) -> list[tuple[str, str]]:
        """The objects and fields that refer to records of an object, and that a user can write."""
        return [
            (child, field.name)
            for child, entity in self.objects.items()
            for field in entity.rest.values()
            if field.kind == "ref" and field.argument == name and not field.readonly
        ]

    def put(self, name: str, record_id: str, record: Record | None) -> None:
        """Replace a record, or forget it if `record` is None."""
        before = self.records[name].pop(record_id, None)
        for field in self.objects[name].rest.values():
            if field.unique:
                index = self._by_unique[name, field.name]
                if before and index.get(before.get(field.name)) == record_id:
                    del index[before[field.name]]
                if record and not record["IsDeleted"] and record.get(field.name) is not None:
                    index[record[field.name]] = record_id
        if record is not None:
            self.records[name][record_id] = record

    def new_id(self, name: str) -> str:
        self._numbers[name] += 1
        return ids.make(self.objects[name].prefix, self._numbers[name])

    def auto_number(self, name: str, pattern: str) -> str:
        start = re.search(r"\d+$", pattern)
        if start is None:
            raise ValueError(f"{name}: an auto number's pattern ends in digits, not {pattern!r}")
        digits = start.group()
        return pattern[: start.start()] + str(int(digits) + self._numbers[name]).rjust(len(digits), "0")

    def schema(self, name: str) -> EventSchema:
        """The schema of this entity's next event."""
        versions = self.schemas[name]
        older = self.settings.interleave_schemas and len(versions) > 1 and len(self.log.entries) % 2
        return versions[-2] if older else versions[-1]

    def add_field(self, name: str, line: str, position: int = 5) -> str:
        """An administrator adds a field; the fields after it move. Returns the new schema id.

        Raises:
            ValueError: See `SObject.having`; or the field refers to an object that does not exist.
        """
        changed = self.entity(name).having(line, position)
        field = changed.fields[position]
        if field.kind == "ref":
            self.entity(field.argument)
        self.objects[name] = changed
        for record_id, record in self.records[name].items():
            empty = dict.fromkeys([field.name, *(part.name for part in field.parts.values())])
            self.records[name][record_id] = empty | defaults(self.objects[name]) | record
        self.schemas[name].append(EventSchema(self.objects[name]))
        return self.schemas[name][-1].schema_id

    @contextmanager
    def silence(self, name: str) -> Iterator[None]:
        """Changes of this entity make no events inside the block."""
        known = name in self.cdc
        self.cdc.discard(name)
        try:
            yield
        finally:
            self.cdc |= {name} if known else set()

    def publish(self, name: str, fields: Mapping[str, Any], user: str, event_id: str = "") -> str:
        """Publish a platform event. Returns its EventUuid: the publisher's, or a new one."""
        entity = self.entity(name)
        if not name.endswith("__e"):
            raise Problem("INVALID_TYPE", f"{name} is no platform event: create a record of it")
        values = defaults(entity) | accept(entity, fields)
        values |= {"CreatedDate": timestamp(int(self.clock())), "CreatedById": user}
        required(entity, values)
        schema = self.schema(name)
        return self.log.publish(name, schema, None, schema.values(values), event_id).event_id

    def gap(self, name: str, record_ids: Sequence[str], change_type: GapType, user: str) -> None:
        """Publish a GAP_… event. It has no fields and only says that something happened (salesforce §B4)."""
        entity = self.entity(name)
        marks = [_OVERFLOW_ID] if change_type == "GAP_OVERFLOW" else list(record_ids)
        if not marks:
            raise ValueError(f"{change_type} needs the ids of records, or a wildcard such as {entity.prefix}*")
        header = self.header(entity.name, change_type, "", user)
        header |= {"recordIds": marks, "transactionKey": f"{self._commits:08x}", "sequenceNumber": 1}
        self.log.publish(name, self.schema(name), header, {})

    def header(self, name: str, change_type: str, origin: str, user: str) -> Record:
        """A change event's header, without the parts that only the transaction knows. Its time is in whole seconds."""
        self._commits += 3
        return {
            "entityName": name,
            "recordIds": [],
            "changeType": change_type,
            "changeOrigin": origin,
            "transactionKey": "",
            "sequenceNumber": 0,
            "commitTimestamp": int(self.clock()) * 1000,
            "commitNumber": self._commits,
            "commitUser": user,
            "nulledFields": [],
            "diffFields": [],
            "changedFields": [],
        }


def defaults(entity: SObject) -> Record:
    """The default values of a new record."""
    found: Record = {}
    for field in entity.rest.values():
        if field.default is not None:
            found[field.name] = field.default == "true" if field.kind == "bool" else field.default
    return found
