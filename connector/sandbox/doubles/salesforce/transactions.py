"""Every change is part of a transaction, and every transaction makes change events (salesforce §B3)."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from connector.sandbox.doubles.salesforce import ids
from connector.sandbox.doubles.salesforce.avro_events import EventSchema, diffs
from connector.sandbox.doubles.salesforce.model import Settings
from connector.sandbox.doubles.salesforce.schema import SObject
from connector.sandbox.doubles.salesforce.store import Record, Store, defaults
from connector.sandbox.doubles.salesforce.values import Problem, accept, required, timestamp

_STAMPS = {"LastModifiedDate", "LastModifiedById", "SystemModstamp"}  # every update writes them


@contextmanager
def transaction(store: Store, user: str, origin: str = "") -> Iterator["Transaction"]:
    """Commits at the end, and rolls back on an exception."""
    changes = Transaction(store, user)
    try:
        yield changes
    except BaseException:
        changes.rollback()
        raise
    changes.commit(origin)


class Transaction:
    """A group of changes whose events are published together. A change that raises Problem changed nothing."""

    def __init__(self, store: Store, user: str) -> None:
        self._store, self._user = store, user
        self._before: dict[tuple[str, str], Record | None] = {}  # each record before this transaction changed it

    def create(self, name: str, fields: Mapping[str, Any]) -> str:
        entity, store = self._store.entity(name), self._store
        if name.endswith("__e"):
            raise Problem("INVALID_TYPE", f"{name} is a platform event: publish it", status=400)
        accepted = accept(entity, fields)
        now = timestamp(int(store.clock()))
        record = dict.fromkeys(entity.rest) | defaults(entity) | accepted | {"IsDeleted": False, "SystemModstamp": now}
        record |= {"CreatedDate": now, "CreatedById": self._user, "LastModifiedDate": now}
        record |= {"LastModifiedById": self._user}
        if "OwnerId" in entity.rest and record["OwnerId"] is None:
            record["OwnerId"] = self._user
        self._check(entity, record, accepted, None)
        record_id = record["Id"] = store.new_id(name)
        for field in entity.fields:
            if field.kind == "auto":
                record[field.name] = store.auto_number(name, field.argument)
        self._put(name, record_id, record)
        return record_id

    def update(self, name: str, record_id: str, fields: Mapping[str, Any]) -> str:
        entity, before = self._store.entity(name), self._store.get(name, record_id)
        accepted = accept(entity, fields)
        now = timestamp(int(self._store.clock()))
        record = before | accepted | {"LastModifiedDate": now, "LastModifiedById": self._user, "SystemModstamp": now}
        self._check(entity, record, accepted, before["Id"])
        self._put(name, before["Id"], record)
        return str(before["Id"])

    def delete(self, name: str, record_id: str) -> None:
        record = self._store.get(name, record_id)
        self._put(name, record["Id"], record | {"IsDeleted": True})

    def merge(self, name: str, survivor: str, record_id: str) -> None:
        record, into = self._store.get(name, record_id), self._store.get(name, survivor)
        self._put(name, record["Id"], record | {"IsDeleted": True, "MasterRecordId": into["Id"]})
        for child, field in self._store.references(name):
            for row in [*self._store.records[child].values()]:
                if row[field] == record["Id"] and not row["IsDeleted"]:
                    self.update(child, row["Id"], {field: into["Id"]})

    def undelete(self, name: str, record_id: str) -> None:
        self._store.entity(name)
        record = self._store.records[name].get(ids.normal(record_id) or "")
        if record is None:
            raise Problem("NOT_FOUND", f"there is no {name} {record_id}", "Id", status=404)
        self._put(name, record["Id"], record | {"IsDeleted": False})

    def rollback(self) -> None:
        for (name, record_id), record in self._before.items():
            self._store.put(name, record_id, record)
        self._before.clear()

    def commit(self, origin: str) -> None:
        """Write the events: one per record, or one for all records with exactly the same change."""
        merged: dict[str, tuple[EventSchema, Record, Record]] = {}
        for (name, record_id), before in self._before.items():
            schema = self._store.schema(name)
            event = _event(schema, before, self._store.records[name][record_id], self._store.settings)
            if event is not None:
                header = merged.setdefault(repr((name, event)), (schema, *event))[1]
                header["recordIds"].append(record_id)
        transaction_key = str(uuid.uuid4())
        for number, (schema, header, values) in enumerate(merged.values(), start=1):
            name = schema.entity.name
            if name in self._store.cdc:
                stamped = self._store.header(name, header.pop("changeType"), origin, self._user) | header
                stamped |= {"transactionKey": transaction_key, "sequenceNumber": number}
                self._store.log.publish(name, schema, stamped, values)

    def _put(self, name: str, record_id: str, record: Record) -> None:
        if name == "Case":
            closed = record["Status"] == "Closed"
            since = (record["ClosedDate"] or record["LastModifiedDate"]) if closed else None
            record |= {"IsClosed": closed, "ClosedDate": since}
        self._before.setdefault((name, record_id), self._store.records[name].get(record_id))
        self._store.put(name, record_id, record)

    def _check(self, entity: SObject, record: Record, accepted: Record, own_id: str | None) -> None:
        required(entity, record)
        for field in (entity.rest[name] for name in accepted if accepted[name] is not None):
            value = record[field.name]
            if field.kind == "ref":
                self._check_reference(field.name, field.argument, value)
            holder = self._store.find(entity.name, field.name, value) if field.unique else None
            if holder not in {None, own_id}:
                raise Problem(
                    "DUPLICATE_VALUE",
                    f"duplicate value found: {field.name} duplicates value on record with id: {holder}",
                )

    def _check_reference(self, field: str, target: str, value: str) -> None:
        if not value.startswith(self._store.objects[target].prefix):
            raise Problem("FIELD_INTEGRITY_EXCEPTION", f"{field}: id value of incorrect type: {value}", field)
        record = self._store.records[target].get(value)
        if record is None or record["IsDeleted"]:
            raise Problem("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", field)


def _event(
    schema: EventSchema, before: Record | None, after: Record, settings: Settings
) -> tuple[Record, Record] | None:
    """The change's part of the header, and the values; None when the change has no effect."""
    gone = before is None or before["IsDeleted"]
    if after["IsDeleted"]:
        return None if gone else ({"changeType": "DELETE", "recordIds": []}, {})
    if before is None or gone:
        kind = "CREATE" if before is None else "UNDELETE"
        return {"changeType": kind, "recordIds": []}, schema.values(after)
    changed = {field for field, value in after.items() if value != before.get(field)} | {"LastModifiedDate"}
    if not settings.noop_events and changed <= _STAMPS:
        return None
    long, nulled = diffs(before, after, changed), {field for field in changed if after[field] is None}
    header = {
        "changeType": "UPDATE",
        "recordIds": [],
        "nulledFields": schema.bitmap(nulled),
        "diffFields": schema.bitmap(long.keys()),
        "changedFields": schema.bitmap(changed if settings.changed_holds_all else changed - nulled - long.keys()),
    }
    return header, schema.values(after, changed) | long
