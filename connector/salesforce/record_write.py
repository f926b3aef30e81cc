"""One write of a record, as a stage asks for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from connector.records import Scalar


@dataclass(frozen=True)
class Choice:
    """What to do with a field's value when it is empty, and when the field does not take it."""

    when_empty: Literal["clear", "keep"] = "keep"
    does_not_fit: Literal["cut", "refuse", "leave_out"] = "leave_out"


@dataclass(frozen=True)
class CallOptions:
    """What a call's headers ask of Salesforce. One call has one set of headers for all its records."""

    auto_assign: bool = False
    save_duplicates: bool = False

    @property
    def headers(self) -> Mapping[str, str]:
        """Without `Sforce-Auto-Assign: FALSE`, Salesforce runs the active assignment rules for created and updated
        Accounts, Cases and Leads, and they may change the owner (Salesforce's REST guide, assignment rule header).
        """
        duplicates = (
            {"Sforce-Duplicate-Rule-Header": "allowSave=true"} if self.save_duplicates else {}
        )  # salesforce §D2
        return {"Sforce-Auto-Assign": "TRUE" if self.auto_assign else "FALSE", **duplicates}


@dataclass(frozen=True)
class Target:
    """Only writes with the same target can be in one call."""

    operation: Literal["upsert", "update"]
    object: str
    key_field: str
    options: CallOptions


@dataclass(frozen=True)
class RecordWrite:
    """One record to upsert by an external id field, or to update by Id (`key_field` is then Id).

    A value of None is empty. `choices` are by field; a field without one has the defaults of `Choice`. `left_out` says
    why, by field, for fields that the caller could not fill.
    """

    operation: Literal["upsert", "update"]
    object: str
    key_field: str
    key: str
    fields: dict[str, Scalar | None] = field(repr=False)
    choices: Mapping[str, Choice] = field(default_factory=dict, repr=False)
    options: CallOptions = CallOptions()
    left_out: Mapping[str, str] = field(default_factory=dict, repr=False)

    @cached_property
    def target(self) -> Target:
        """What it has in common with the writes that can be in one call."""
        return Target(self.operation, self.object, self.key_field, self.options)

    @cached_property
    def record(self) -> tuple[str, str]:
        """Writes with the same record must keep their order, and must not be in one call. See `record_of`."""
        return record_of(self.object, self.key_field, self.key)

    def choice(self, name: str) -> Choice:
        """What was chosen for a field."""
        return self.choices.get(name, Choice())


def record_of(object_name: str, key_field: str, key: str) -> tuple[str, str]:
    """The same for two keys of one record.

    An Id has 15 or 18 characters. An external id ignores capitals, unless its field was made case-sensitive.
    """
    return object_name, key[:15] if key_field == "Id" else key.casefold()
