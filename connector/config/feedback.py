"""The section `feedback`: what the connector writes to Salesforce for an answer."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from connector.config.model import Allowed, Model
from connector.config.types import FieldName
from connector.templates import Condition, Template

WhenEmpty = Literal["keep", "clear"]
DoesNotFit = Literal["leave_out", "cut", "refuse"]


class FieldValue(Model):
    """What one field gets. A template alone is short for a mapping with only `value`."""

    value: Template
    """The value to write."""

    when_empty: WhenEmpty | None = None
    """As the rule's `when_empty`, for this field alone. Without it, the rule's holds."""

    does_not_fit: DoesNotFit | None = None
    """As the rule's `does_not_fit`, for this field alone. Without it, the rule's holds."""


def _short(value: object) -> object:
    return value if isinstance(value, (dict, FieldValue)) else {"value": value}


Value = Annotated[FieldValue, BeforeValidator(_short), Allowed("template, or a mapping as below")]


class FeedbackRule(Model):
    """A rule makes one write to Salesforce for each answer that it applies to. All rules that apply are carried out.

    A rule names either `upsert` or `update`.
    """

    of: Literal["answer", "link"] = "answer"
    """What the rule is about: customers' answers, or the links of surveys with `channel: link`. The body of a link has
    `link`, `survey`, `entity` and `record_id`, and the survey's `built_in_responses`."""

    when: Condition | None = None
    """Which answers the rule applies to; without it, every answer."""

    upsert: FieldName | None = None
    """The object to write. Its record is found by an external id, and created if there is none."""

    update: FieldName | None = None
    """The object to write. Its record is found by its Id."""

    by: Annotated[dict[FieldName, Template], Field(min_length=1, max_length=1)]
    """How the record is found: the external id's field for an upsert, `Id` for an update. The template must name a
    variable, or every answer would go to the same record."""

    fields: Annotated[dict[FieldName, Value], Field(min_length=1)]
    """The fields to write. [writes.md](writes.md) explains what happens to an empty value and to one that does not
    fit."""

    when_empty: WhenEmpty = "keep"
    """What to do with a field whose value renders empty. `keep` leaves the field as it is, so that an unanswered
    question erases nothing. `clear` empties it, except a field that cannot be empty, such as a checkbox."""

    does_not_fit: DoesNotFit = "leave_out"
    """What to do with a value that its field does not take: too long a text, an unknown picklist value, a wrong type.
    `leave_out` writes all other fields, and the answer becomes a dead letter that names the value. `cut` shortens a
    text; other values are left out. `refuse` writes nothing of the record."""

    auto_assign: bool = False
    """Whether Salesforce's assignment rules run, which may give a Case or Lead to another owner."""

    duplicates: Literal["refuse", "save"] = "refuse"
    """What happens to a record that one of the org's duplicate rules finds twice. `refuse` makes the answer a dead
    letter; `save` stores the record all the same, if that duplicate rule allows it."""

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
        names = [name.lower() for name in self.fields]  # Salesforce ignores capitals in a name
        if twice := [name for name in self.fields if names.count(name.lower()) > 1]:
            raise ValueError(f"{' and '.join(twice)} are one field of Salesforce; name it once")
        if self.key_field.lower() in names:
            raise ValueError(f"{self.key_field} is what the record is found by; it cannot be among its fields too")
        return self

    @property
    def object(self) -> str:
        return self.upsert or self.update or ""

    @property
    def key_field(self) -> str:
        return next(iter(self.by))
