"""What an org does to a write besides storing it: assignment rules, duplicate rules, governor limits, and locks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from connector.sandbox.doubles.salesforce.model import Settings
from connector.sandbox.doubles.salesforce.store import Store
from connector.sandbox.doubles.salesforce.values import Problem

Lock = Literal["row", "flow", "trigger", "busy", "approval"]

_ROW = "unable to obtain exclusive access to this record or 1 records"
_LOCKS: Mapping[Lock, tuple[str, str]] = {  # salesforce §D4, and public reports of the other wordings
    "row": ("UNABLE_TO_LOCK_ROW", _ROW),
    "flow": (
        "CANNOT_EXECUTE_FLOW_TRIGGER",
        f"We can't save this record because the flow failed. UNABLE_TO_LOCK_ROW: {_ROW}",
    ),
    "trigger": (
        "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
        f"execution of AfterUpdate caused by: System.DmlException: first error: UNABLE_TO_LOCK_ROW, {_ROW}",
    ),
    "busy": (
        "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
        "Record Currently Unavailable: The record, or one of its related records, is being modified by another user.",
    ),
    "approval": ("ENTITY_IS_LOCKED", "the entity is locked for editing"),
}


@dataclass(frozen=True)
class Caller:
    """What a call's headers say: who calls, and which of the org's rules apply to its writes (salesforce §D2)."""

    client: str
    version: str
    auto_assign: bool = True
    saves_duplicates: bool = False

    @property
    def origin(self) -> str:
        """The change origin of a REST call (salesforce §B1, §0.9)."""
        return f"com/salesforce/api/rest/{self.version}" + (f";client={self.client}" if self.client else "")


def locked(lock: Lock, record: object) -> Problem:
    """The refusal of a write to a locked record."""
    code, message = _LOCKS[lock]
    return Problem(code, f"{message}: {record}")


def too_many(name: str) -> Problem:
    """The refusal of each record of a call whose triggers together break a governor limit."""
    message = f"{name}Trigger: execution of AfterUpdate caused by: System.LimitException: Too many SOQL queries: 101"
    return Problem("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message)


def assigned(settings: Settings, name: str, fields: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """The fields to store. The active assignment rule gives the record to its owner, unless the header forbids it."""
    owner = settings.assignment_rules.get(name)
    return {**fields, "OwnerId": owner} if owner and caller.auto_assign else dict(fields)


def check_duplicates(
    store: Store, settings: Settings, name: str, fields: Mapping[str, Any], record_id: str | None, caller: Caller
) -> None:
    """Raises DUPLICATES_DETECTED when another record has the same value in the field of the object's duplicate rule."""
    field = settings.duplicate_rules.get(name, "")
    value = fields.get(field)
    if value is None or caller.saves_duplicates:
        return
    for other in store.records[name].values():
        same = str(other.get(field)).casefold() == str(value).casefold()
        if same and not other["IsDeleted"] and other["Id"] != record_id:
            raise Problem("DUPLICATES_DETECTED", "Use one of these records?")
