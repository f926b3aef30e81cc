"""The section `feedback`: what the connector writes to Salesforce for an answer."""

from typing import Annotated

from pydantic import Field, model_validator

from connector.config.model import Model
from connector.config.types import FieldName
from connector.templates import Condition, Template


class FeedbackRule(Model):
    """A rule makes one write to Salesforce for each answer that it applies to. All rules that apply are carried out.

    A rule names either `upsert` or `update`.
    """

    when: Condition | None = None
    """Which answers the rule applies to; without it, every answer."""

    upsert: FieldName | None = None
    """The object to write. Its record is found by an external id, and created if there is none."""

    update: FieldName | None = None
    """The object to write. Its record is found by its Id."""

    by: Annotated[dict[FieldName, Template], Field(min_length=1, max_length=1)]
    """How the record is found: the external id's field for an upsert, `Id` for an update. The template must name a
    variable, or every answer would go to the same record."""

    fields: Annotated[dict[FieldName, Template], Field(min_length=1)]
    """The fields to write. A value that renders empty empties the field."""

    @model_validator(mode="after")
    def _one_operation(self) -> "FeedbackRule":
        if (self.upsert is None) == (self.update is None):
            raise ValueError("name exactly one of upsert and update")
        if self.update is not None and "Id" not in self.by:
            raise ValueError("an update is by {Id: …}; use upsert for an external id")
        if self.upsert is not None and "Id" in self.by:
            raise ValueError("an upsert is by an external id field; use update for {Id: …}")
        if not self.by[self.key_field].paths():
            raise ValueError(f"{self.key_field} names no variable: every answer would go to the same record")
        if self.key_field in self.fields:
            raise ValueError(f"{self.key_field} is what the record is found by; it cannot be among its fields too")
        return self

    @property
    def object(self) -> str:
        return self.upsert or self.update or ""

    @property
    def key_field(self) -> str:
        return next(iter(self.by))
