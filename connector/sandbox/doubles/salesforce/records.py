"""Records over REST: one by id or external id, or up to 200 of a collection (salesforce §D2)."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from connector.sandbox.doubles.salesforce import ids, soql
from connector.sandbox.doubles.salesforce.rest_calls import Answer, Ask, Table, not_found
from connector.sandbox.doubles.salesforce.state import State
from connector.sandbox.doubles.salesforce.values import Problem, composed, timestamp
from connector.sandbox.doubles.salesforce.writes import Change, Writes, read_collection

_MOST_READ = 2000  # records of a collection (salesforce §D2)


class Records:
    """The resources of single records and of collections."""

    def __init__(self, state: State, writes: Writes) -> None:
        self._state, self._store, self._writes = state, state.store, writes

    def add_to(self, table: Table) -> None:
        one, many = "/sobjects/{object}", "/composite/sobjects"
        table.add("POST", one, self._create)
        table.add("GET", one + "/updated", lambda ask: self._changed(ask, deleted=False))
        table.add("GET", one + "/deleted", lambda ask: self._changed(ask, deleted=True))
        table.add("GET", one + "/{key}", self._read)
        table.add("PATCH", one + "/{key}", self._update)
        table.add("DELETE", one + "/{key}", self._delete)
        table.add("GET", one + "/{first}/{second}", self._read_by)
        table.add("PATCH", one + "/{external}/{key}", self._upsert)
        table.add("DELETE", one + "/{first}/{second}", self._delete_by)
        table.add("POST", many, self._create_many)
        table.add("PATCH", many, self._update_many)
        table.add("DELETE", many, self._delete_many)
        table.add("GET", many + "/{object}", self._read_many)
        table.add("POST", many + "/{object}", self._read_many)
        table.add("PATCH", many + "/{object}/{external}", self._upsert_many)

    def _create(self, ask: Ask) -> Answer:
        return Answer(self._writes.one(Change("create", ask.parts["object"], ask.fields()), ask.caller), 201)

    def _read(self, ask: Ask) -> Answer:
        return Answer(self._shown(ask, ask.parts["object"], ask.parts["key"], _listed(ask, "fields")))

    def _update(self, ask: Ask) -> Answer:
        self._writes.one(Change("update", ask.parts["object"], ask.fields(), ask.parts["key"]), ask.caller)
        return Answer(status=204)

    def _delete(self, ask: Ask) -> Answer:
        self._writes.one(Change("delete", ask.parts["object"], {}, ask.parts["key"]), ask.caller)
        return Answer(status=204)

    def _read_by(self, ask: Ask) -> Answer:
        """A record by its external id, or the record that a relationship of this record leads to."""
        name, first, second = (ask.parts[part] for part in ("object", "first", "second"))
        if first.lower() in self._store.entity(name).lower:
            return Answer(self._shown(ask, name, self._named(name, first, second), _listed(ask, "fields")))
        record, fields = self._store.get(name, first), self._store.entity(name).rest.values()
        via = next((each for each in fields if (each.relationship or "").lower() == second.lower()), None)
        if via is None or record[via.name] is None:
            raise not_found()
        return Answer(self._shown(ask, via.argument, record[via.name], _listed(ask, "fields")))

    def _delete_by(self, ask: Ask) -> Answer:
        name = ask.parts["object"]
        key = self._named(name, ask.parts["first"], ask.parts["second"])
        self._writes.one(Change("delete", name, {}, key), ask.caller)
        return Answer(status=204)

    def _named(self, name: str, external: str, key: str) -> str:
        """The id of the record that the external id names."""
        field = self._store.entity(name).lower.get(external.lower())
        if field is None or not (field.unique or field.kind == "id"):
            raise Problem("NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {external}")
        found = key if field.kind == "id" else self._store.find(name, field.name, key)
        if found is None:
            raise not_found()
        return found

    def _upsert(self, ask: Ask) -> Answer:
        name, external, key = (ask.parts[part] for part in ("object", "external", "key"))
        field = self._store.entity(name).lower.get(external.lower())
        if field is not None and field.kind == "id":
            self._writes.one(Change("update", name, ask.fields(), key), ask.caller)
            return Answer({"id": ids.normal(key), "success": True, "errors": [], "created": False})
        change = Change("upsert", name, ask.fields(), key, field.name if field else external)
        result = self._writes.one(change, ask.caller)
        return Answer(result, 201 if result["created"] else 200)

    def _create_many(self, ask: Ask) -> Answer:
        return self._many(ask, lambda fields, name: Change("create", name, fields))

    def _update_many(self, ask: Ask) -> Answer:
        return self._many(ask, lambda fields, name: Change("update", name, fields, _take(fields, "Id")))

    def _upsert_many(self, ask: Ask) -> Answer:
        target, external = ask.parts["object"], ask.parts["external"]
        field = self._store.entity(target).lower.get(external.lower())
        name = field.name if field else external

        def make(fields: dict[str, Any], kind: str) -> Change:
            if kind != target:
                raise Problem("INVALID_TYPE", f"The records are of type {kind}, the address names {target}")
            if name != "Id":
                return Change("upsert", target, fields, _take(fields, name), name)
            key = _take(fields, "Id")  # an upsert by Id creates the records that have none
            return Change("update" if key else "create", target, fields, key)

        return self._many(ask, make)

    def _delete_many(self, ask: Ask) -> Answer:
        prefixes = {entity.prefix: name for name, entity in self._store.objects.items()}
        changes = [Change("delete", prefixes.get(each[:3], "Case"), {}, each) for each in _listed(ask, "ids") or []]
        return Answer(self._writes.many(changes, ask.query.get("allOrNone") == "true", ask.caller))

    def _many(self, ask: Ask, make: Callable[[dict[str, Any], str], Change]) -> Answer:
        def named(fields: dict[str, Any], kind: str) -> Change:
            entity = self._store.named(kind)
            return make(fields, entity.name if entity else kind)

        changes, all_or_none = read_collection(ask.json(), named)
        return Answer(self._writes.many(changes, all_or_none, ask.caller))

    def _read_many(self, ask: Ask) -> Answer:
        """Records in the order of their ids; null for each that does not exist."""
        body = {"ids": _listed(ask, "ids"), "fields": _listed(ask, "fields")} if ask.method == "GET" else ask.json()
        wanted, fields = (body.get("ids"), body.get("fields")) if isinstance(body, dict) else (None, None)
        if not isinstance(wanted, list) or not isinstance(fields, list) or not fields:
            raise Problem("JSON_PARSER_ERROR", "The call needs the lists ids and fields")
        if len(wanted) > _MOST_READ:
            raise Problem("LIMIT_EXCEEDED", f"record limit reached: {len(wanted)} records, at most {_MOST_READ} a call")
        return Answer([self._found(ask, each, fields) for each in wanted])

    def _found(self, ask: Ask, key: str, fields: list[str]) -> dict[str, Any] | None:
        try:
            return self._shown(ask, ask.parts["object"], key, fields)
        except Problem as problem:
            if problem.status == 404:
                return None
            raise

    def _changed(self, ask: Ask, *, deleted: bool) -> Answer:
        """The records changed or deleted from `start` to `end`."""
        try:
            start, end = (datetime.fromisoformat(ask.query[name].replace(" ", "+")) for name in ("start", "end"))
            since, until = start.timestamp(), end.timestamp()
        except (KeyError, ValueError):
            raise Problem(
                "INVALID_DATE_FORMAT", "start and end must be date-times such as 2026-11-24T09:30:00Z"
            ) from None
        rows = [
            row
            for row in self._store.records[ask.parts["object"]].values()
            if row["IsDeleted"] is deleted
            and since <= datetime.fromisoformat(row["SystemModstamp"]).timestamp() < until
        ]
        latest = timestamp(min(until, self._state.clock()))
        if not deleted:
            return Answer({"ids": [row["Id"] for row in rows], "latestDateCovered": latest})
        gone = [{"id": row["Id"], "deletedDate": row["SystemModstamp"]} for row in rows]
        return Answer({"deletedRecords": gone, "earliestDateAvailable": timestamp(0), "latestDateCovered": latest})

    def _shown(self, ask: Ask, name: str, key: str, fields: list[str] | None) -> dict[str, Any]:
        entity, record = self._store.entity(name), self._store.get(name, key)
        body: dict[str, Any] = {"attributes": soql.attributes(name, record["Id"], ask.version)}
        for each in fields or entity.rest:
            field = entity.lower.get(str(each).lower())
            if field is None:
                raise Problem("INVALID_FIELD", f"No such column '{each}' on entity '{name}'.")
            body[field.name] = composed(record, field)
        return body


def _listed(ask: Ask, name: str) -> list[str] | None:
    """The values of a list in the query, None without it."""
    return [each for each in ask.query[name].split(",") if each] if name in ask.query else None


def _take(fields: dict[str, Any], key: str) -> str | None:
    """Removes the key of a record from its fields and returns it; None if it is not text."""
    found = next((fields.pop(name) for name in [*fields] if name.lower() == key.lower()), None)
    return found if isinstance(found, str) else None
