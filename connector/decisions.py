"""The records on our topics that people write, or other systems for them. See `connector.records`."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from connector.records import Record

Kind = Literal["settle", "brake", "dead_letter", "cell", "erase", "skip", "suppression", "position", "replay"]


class Suppression(Record):
    """An entry of the suppression list: whom no survey, or one survey, invites (`pisano.suppressions`)."""

    email: str | None = Field(default=None, description="The e-mail address, or null.")
    phone: str | None = Field(default=None, description="The phone number in the form of E.164, or null.")
    contact: str | None = Field(default=None, description="The contact's id in Salesforce.")
    person: str | None = Field(default=None, description="The hash of an address or a contact, after an erasure.")
    survey: str | None = Field(default=None, description="Null means every survey.")
    by: str = Field(description="Who wrote the entry: a person or a system.")
    why: str | None = None
    until: AwareDatetime | None = Field(default=None, description="Null means for ever.")
    at: AwareDatetime

    @property
    def whom(self) -> str:
        """The address, the number, the contact's id, or `person/<hash>`: what `connector suppress` takes."""
        return self.email or self.phone or self.contact or f"person/{self.person}"


class Action(Record):
    """A decision of an operator (`connector.actions`).

    The owner of an account carries out `settle`, `brake` and `erase`, once. `dead_letter` says what an operator did
    with a dead letter. After `cell`, each worker that holds the cell tries it at once. After `skip`, the owner of a
    parked record does no more work on it: it is a dead letter. `suppression` says who removed an entry of the
    suppression list, `position` who set where a channel resumes, `replay` who let a stage run again.
    """

    id: str
    kind: Kind
    target: str = Field(
        description="settle: `<account>/<invitation id>`. brake: `<account>/<survey>`."
        " dead_letter: `deadletter/<partition>/<offset>`. cell: `cell/<name>`. erase: as settle."
        " skip: `parked/<partition>/<offset>`. suppression: `suppression/<hash>`, and `/<survey>` if the entry has one."
        " position: `position/<channel>`. replay: `replay/<stage>`."
    )
    decision: str = Field(
        description="settle: sent, resend or drop. brake: release, drop or spread. dead_letter: retry or discard."
        " cell: release. erase: drop. skip: dead_letter. suppression: remove."
        " position and replay: from where."
    )
    by: str
    reason: str
    at: AwareDatetime
    params: dict[str, Any] = Field(default={})
