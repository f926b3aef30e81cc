"""The records on our topics that people write, or other systems for them. See `connector.records`."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from connector.records import Record


class Suppression(Record):
    """An entry of the suppression list: whom no survey, or one survey, invites (`pisano.suppressions`)."""

    email: str | None = Field(default=None, description="The e-mail address, or null.")
    phone: str | None = Field(default=None, description="The phone number in the form of E.164, or null.")
    contact: str | None = Field(default=None, description="The contact's id in Salesforce.")
    survey: str | None = Field(default=None, description="Null means every survey.")
    by: str = Field(description="Who wrote the entry: a person or a system.")
    why: str | None = None
    until: AwareDatetime | None = Field(default=None, description="Null means for ever.")
    at: AwareDatetime


class Action(Record):
    """A decision of an operator (`connector.actions`), which the owner of its target carries out once."""

    id: str
    kind: Literal["settle", "brake"]
    target: str = Field(description="`<account>/<invitation id>` to settle, `<account>/<survey>` for the brake.")
    decision: str = Field(description="settle: sent, resend or drop. brake: release, drop or spread.")
    by: str
    reason: str
    at: AwareDatetime
    params: dict[str, Any] = Field(default={})
