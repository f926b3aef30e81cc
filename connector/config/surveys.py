"""The section `surveys`: who is asked, when, and how."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from connector.config.lookups import Lookup
from connector.config.model import Allowed, Model, NotYet
from connector.config.types import CampaignId, FieldName, Hours, NotBlank, Seconds, Share, Text, VariableName, Whole
from connector.templates import Condition, Template


class Protect(Model):
    """Contact protection. An invitation that is not sent is recorded with the reason, such as a missing or invalid
    address."""

    opted_out: Template | None = None
    """A customer for whom this is true is not invited. Empty, false and the text `false`, also with
    white space around it, are not true."""

    once_per: Annotated[Seconds | None, NotYet()] = None
    """The same person is invited at most once in this time."""

    sample: Annotated[Share, NotYet()] = 1.0
    """The part of the customers that is invited."""

    send_between: Annotated[Hours | None, NotYet()] = None
    """The hours in which invitations are sent."""


class Survey(Model):
    """Which change invites which customers to which campaign."""

    on: FieldName
    """The object or platform event, such as `Case`, `Store__c` or `Store_Visit__e`; a channel must carry it."""

    when: Condition | None = None
    """Which of the object's changes invite; without it, every one. It may name lookups. What the event alone can decide
    is decided before anything is read, so put the parts that only need the event first."""

    lookup: dict[VariableName, Lookup] = {}
    """Records that the changed one leads to."""

    account: Annotated[str, Allowed("a name under `pisano`")]
    """The Pisano account that invites."""

    campaign: CampaignId
    """The e-mail campaign."""

    email: NotBlank
    """The customer's address. A list, or a text with semicolons, gives several: each gets an invitation of its own."""

    custom_attributes: dict[Text, Template] = {}
    """What Pisano is told about the customer. A value that is empty or cannot be rendered is left out."""

    built_in_responses: dict[Text, Template] = {}
    """What Pisano is told about the occasion. Each key is a question key of the campaign's flow. A value that is
    empty or cannot be rendered is left out."""

    priority: Annotated[Whole, Field(ge=-100, le=100)] = 0
    """Which of an account's surveys go first when several wait for a call: the highest; equal ones take turns."""

    delay: Annotated[Seconds, NotYet()] = 0.0
    """How long after the change the invitation is sent."""

    protect: Protect = Protect()
    """Who is not invited."""

    def templates(self) -> Iterator[Template | Condition]:
        """Every template and condition of the survey."""
        yield from (template for template in (self.when, self.protect.opted_out) if template is not None)
        yield self.email
        yield from (lookup.key for lookup in self.lookup.values())
        yield from self.custom_attributes.values()
        yield from self.built_in_responses.values()
