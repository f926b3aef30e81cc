"""Writes over REST: one record or up to 200, each with its own result; a call is one transaction (salesforce §D2)."""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

from connector.sandbox.doubles.salesforce import ids
from connector.sandbox.doubles.salesforce.model import Write
from connector.sandbox.doubles.salesforce.org_rules import Caller, assigned, check_duplicates, locked, too_many
from connector.sandbox.doubles.salesforce.state import State
from connector.sandbox.doubles.salesforce.transactions import Transaction, transaction
from connector.sandbox.doubles.salesforce.values import Problem

Result = dict[str, Any]
Operation = Literal["create", "update", "upsert", "delete"]
_MOST = 200
_HALTED = "PROCESSING_HALTED"
_CALL_ERRORS = {"INVALID_FIELD", "JSON_PARSER_ERROR"}


@dataclass(frozen=True)
class Change:
    """One record to write. `key` is its id, or its external id when `external` names that field."""

    operation: Operation
    object: str
    fields: Mapping[str, Any]
    key: str | None = None
    external: str | None = None


class Writes:
    """Carries out changes and remembers them all."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._open: Transaction | None = None

    @contextmanager
    def together(self, caller: Caller) -> Iterator[Callable[[], None]]:
        """All writes inside the block are one transaction. Yields what undoes them."""
        remembered = len(self._state.writes)
        with transaction(self._state.store, self._state.user_id, caller.origin) as changes:

            def undo() -> None:
                changes.rollback()
                for number in range(remembered, len(self._state.writes)):
                    undone = {"success": False, "status_code": self._state.writes[number].status_code or _HALTED}
                    self._state.writes[number] = self._state.writes[number].model_copy(update=undone)

            self._open = changes
            try:
                yield undo
            finally:
                self._open = None

    def _transaction(self, caller: Caller) -> AbstractContextManager[Transaction]:
        if self._open is not None:
            return nullcontext(self._open)
        return transaction(self._state.store, self._state.user_id, caller.origin)

    def one(self, change: Change, caller: Caller) -> Result:
        """Writes a single record.

        Raises:
            Problem: Salesforce refuses the write; `fields` and HTTP status are set.
        """
        try:
            with self._transaction(caller) as changes:
                result = self._carry_out(changes, change, caller)
        except Problem as problem:
            self._remember(change, caller, _failure(problem))
            raise
        self._remember(change, caller, result)
        return result

    def many(self, changes: Sequence[Change], all_or_none: bool, caller: Caller) -> list[Result]:
        """Writes several records and returns their results in order. All records with a repeated key fail.

        Raises:
            Problem: When Salesforce refuses the whole call.
        """
        if not 0 < len(changes) <= _MOST:
            raise Problem("LIMIT_EXCEEDED", f"record limit reached: {len(changes)} records, at most {_MOST} a call")
        keys = Counter(_identity(change) for change in changes if change.key is not None)
        with self._transaction(caller) as open_transaction:
            results = [
                self._result(open_transaction, change, caller, keys[_identity(change)] > 1) for change in changes
            ]
            if len(changes) > self._state.settings.records_per_call:
                open_transaction.rollback()
                results = [_failure(too_many(change.object)) for change in changes]
            if all_or_none and not all(result["success"] for result in results):
                open_transaction.rollback()
                results = [_rolled_back(result) for result in results]
        for change, result in zip(changes, results, strict=True):
            self._remember(change, caller, result)
        return results

    def _result(self, open_transaction: Transaction, change: Change, caller: Caller, twice: bool) -> Result:
        if twice:
            what = "Duplicate external id specified" if change.external else "Duplicate id specified"
            return _failure(Problem("DUPLICATE_VALUE", f"{what}: {change.key}", change.external or "Id"))
        try:
            return self._carry_out(open_transaction, change, caller)
        except Problem as problem:
            if problem.code in _CALL_ERRORS and self._state.settings.bad_field == "call":
                raise
            return _failure(problem)

    def _carry_out(self, open_transaction: Transaction, change: Change, caller: Caller) -> Result:
        store, settings = self._state.store, self._state.settings
        if change.operation == "create" and change.object.endswith("__e"):
            return _enqueued(store.publish(change.object, change.fields, self._state.user_id))
        record_id = change.key if change.external is None else self._find(change, change.external)
        if lock := self._state.faults.take_lock(*{change.key, record_id}):
            raise locked(lock, record_id or change.key)
        if change.operation != "delete":
            check_duplicates(store, settings, change.object, change.fields, record_id, caller)
            change = replace(change, fields=self._with_parents(change))
            change = replace(change, fields=assigned(settings, change.object, change.fields, caller))
        return _apply(open_transaction, change, record_id)

    def _with_parents(self, change: Change) -> dict[str, Any]:
        """The fields, with the ids of parents that are named by an external id: `"Case__r": {"Key__c": "K1"}`."""
        store = self._state.store
        references = {field.relationship: field for field in store.entity(change.object).rest.values()}
        fields = dict(change.fields)
        for name, value in change.fields.items():
            field = references.get(name)
            if field is None or not isinstance(value, dict) or len(value) != 1:
                continue
            ((external, key),) = value.items()
            found = store.find(field.argument, external, key)
            if found is None:
                message = f"Foreign key external ID: {key} not found for field {external} in entity {field.argument}"
                raise Problem("INVALID_FIELD", message)
            del fields[name]
            fields[field.name] = found
        return fields

    def _find(self, change: Change, external: str) -> str | None:
        field = self._state.store.entity(change.object).rest.get(external)
        if field is None or not field.unique:
            raise Problem(
                "INVALID_FIELD", f"Field name provided, {external} is not an External ID or indexed field", external
            )
        if not isinstance(change.key, str) or not change.key:
            raise Problem("MISSING_ARGUMENT", f"{external} not specified", external)
        if "Id" in change.fields:
            raise Problem("INVALID_FIELD", "The Id field should not be specified in the sobject data.", "Id")
        return self._state.store.find(change.object, external, change.key)

    def _remember(self, change: Change, caller: Caller, result: Result) -> None:
        self._state.writes.append(
            Write(
                at=self._state.clock(),
                operation=change.operation,
                object=change.object,
                key=change.key,
                record_id=result.get("id"),
                fields=dict(change.fields),
                client=caller.client,
                success=result["success"],
                created=bool(result.get("created", change.operation == "create" and result["success"])),
                status_code=None if result["success"] else result["errors"][0]["statusCode"],
            )
        )


def _apply(open_transaction: Transaction, change: Change, record_id: str | None) -> Result:
    done = {"success": True, "errors": []}
    if change.operation == "delete":
        open_transaction.delete(change.object, record_id or "")
        return {"id": record_id, **done}
    if change.operation == "update" or record_id is not None:
        written = open_transaction.update(change.object, record_id or "", change.fields)
        return {"id": written, **done, **({"created": False} if change.operation == "upsert" else {})}
    key = {change.external: change.key} if change.external else {}
    created = {"created": True} if change.operation == "upsert" else {}
    return {"id": open_transaction.create(change.object, {**change.fields, **key}), **done, **created}


def _enqueued(event_uuid: str) -> Result:
    """The answer to a published platform event: its id names no record, its EventUuid is a message (the REST guide)."""
    error = {"statusCode": "OPERATION_ENQUEUED", "message": event_uuid, "fields": []}
    return {"id": ids.make("e01", secrets.randbelow(62**8)), "success": True, "errors": [error]}


def _identity(change: Change) -> tuple[str, str | None]:
    return change.object, ids.normal(change.key) or change.key


def _failure(problem: Problem) -> Result:
    error = {"statusCode": problem.code, "message": problem.message, "fields": problem.fields}
    return {"success": False, "errors": [error]}


def _rolled_back(result: Result) -> Result:
    if not result["success"]:
        return result
    error = {
        "statusCode": "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "message": "Record rolled back because not all records were valid and the request was using AllOrNone header",
        "fields": [],
    }
    return {"success": False, "errors": [error]}


def read_collection(body: Any, make: Callable[[dict[str, Any], str], Change]) -> tuple[list[Change], bool]:
    """The changes of a collections call, and allOrNone. `make(fields, object)` makes one change.

    Raises:
        Problem: When the call is malformed.
    """
    if not isinstance(body, dict) or not isinstance(body.get("records"), list):
        raise Problem("JSON_PARSER_ERROR", "The request body needs a list of records")
    if unknown := body.keys() - {"allOrNone", "records"}:
        raise Problem("JSON_PARSER_ERROR", f"Unrecognized field {min(unknown)!r}")
    changes = []
    for record in body["records"]:
        given = record.get("attributes") if isinstance(record, dict) else None
        if not isinstance(given, dict) or not isinstance(given.get("type"), str):
            raise Problem("INVALID_INPUT", "Each record needs attributes with its type")
        changes.append(make({name: value for name, value in record.items() if name != "attributes"}, given["type"]))
    return changes, body.get("allOrNone") is True
