"""The lookups of a survey: which records of Salesforce its templates use."""

from typing import Annotated

from pydantic import Field, model_validator

from connector.config.model import Allowed, Model
from connector.config.types import FieldName, FieldPath, NotBlank, Number, Order, Seconds, Text
from connector.templates import Template

FieldValue = Annotated[bool | Number | Text, Allowed("text, number, true or false")]


class Lookup(Model):
    """A record that the connector reads from Salesforce for the survey's templates. `id` or `by` says which record.

    Templates may use the lookups above their own. So lookups lead from one record to the next.
    """

    object: FieldName
    """The object, such as `Contact`."""

    id: NotBlank | None = None
    """The record's Id. If it gives no Id, or there is no such record, each field is empty."""

    by: Annotated[dict[FieldName, NotBlank], Field(max_length=1)] = {}
    """Another field that finds the record, and its value: `{AccountId: "{{ record.Id }}"}` finds a contact of the
    account. If there is none, each field is empty."""

    where: dict[FieldName, FieldValue] = {}
    """For `by`: fields of the record and the values that they must have, such as `{IsPrimary: true}`."""

    order_by: Order = "CreatedDate desc"
    """For `by`: which record is meant if there are several. The default is the newest."""

    fields: Annotated[tuple[FieldPath, ...], Field(min_length=1)]
    """The fields to read, which templates may name: `{{ contact.Email }}` for the lookup `contact`. A field may belong
    to a record that this one points to: `Account.Parent.Name`."""

    cache: Seconds = 0.0
    """How long a record that was read serves other invitations. Useful for what many share and what seldom changes,
    such as the owner or the branch; not for an opt-out."""

    @model_validator(mode="after")
    def _one_way(self) -> "Lookup":
        if (self.id is None) == (not self.by):
            raise ValueError("name exactly one of id and by")
        if self.id is not None and self.where:
            raise ValueError("where needs by; an Id names one record")
        if "Id" in self.by:
            raise ValueError("by an Id is written id: …")
        return self

    @property
    def key(self) -> Template:
        """The template of the value that finds the record."""
        return self.id if self.id is not None else next(iter(self.by.values()))

    @property
    def key_field(self) -> str:
        return next(iter(self.by), "Id")
