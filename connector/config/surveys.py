"""The section `surveys`: who is asked, when, and how."""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from connector.config.lookups import Lookup
from connector.config.model import Allowed, Model
from connector.config.protect import Protect, Wait
from connector.config.types import CampaignId, FieldName, FlowId, NotBlank, Text, VariableName, Whole
from connector.records import Channel
from connector.templates import Condition, Template

_OF_A_LINK = ("external_id", "name")  # beside the address: pisano §3.2


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

    channel: Channel = "email"
    """How the customer gets the survey: Pisano sends an e-mail or an SMS, or it only makes a link, which a rule under
    `feedback` with `of: link` writes to Salesforce. Salesforce then sends it."""

    campaign: CampaignId
    """The campaign that sends it; for `channel: link`, the id of the link channel."""

    flow: FlowId | None = None
    """The id of the campaign's flow. With it, the connector reads the flow and compares the keys of
    `built_in_responses` with its questions: once per process before the account's first call, and in `connector check
    --live`. Each read is a call of the account. Pisano documents no way from a campaign to its flow."""  # pisano §5

    email: NotBlank | None = None
    """The customer's e-mail address, for `channel: email`; a link may have one too. A list, or a text with semicolons,
    gives several: each gets an invitation of its own."""

    phone: NotBlank | None = None
    """The customer's phone number, for `channel: sms`; a link may have one too. Several are given as for `email`."""

    custom_attributes: dict[Text, Template] = {}
    """What Pisano is told about the customer. A value that is empty or cannot be rendered is left out. For a link, only
    `name` and `external_id` are known."""  # pisano §3.2

    built_in_responses: dict[Text, Template] = {}
    """What Pisano is told about the occasion. Each key is a question key of the campaign's flow. A value that is
    empty or cannot be rendered is left out."""

    priority: Annotated[Whole, Field(ge=-100, le=100)] = 0
    """Which of an account's surveys go first when several wait for a call: the highest; equal ones take turns. Every
    20th call goes to the survey that was served longest ago, so that none waits for ever."""

    delay: Wait = 0.0
    """How long after the change the invitation is due."""

    protect: Protect = Protect()
    """Who is not invited."""

    @property
    def address(self) -> Template | None:
        """The template of the customer's addresses."""
        return self.email or self.phone

    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        for channel, name, other in (("email", "email", "phone"), ("sms", "phone", "email")):
            if self.channel == channel and (getattr(self, name) is None or getattr(self, other) is not None):
                raise ValueError(f"a survey with `channel: {channel}` needs `{name}`, and no `{other}`")
        if self.email is not None and self.phone is not None:
            raise ValueError("a link is for one address: `email`, `phone`, or neither")
        if self.channel == "link" and (unknown := self.custom_attributes.keys() - _OF_A_LINK):
            raise ValueError(f"the customer of a link has only {' and '.join(_OF_A_LINK)}, and no {min(unknown)}")
        return self

    @model_validator(mode="after")
    def _can_be_sent(self) -> Self:
        if self.protect.max_age is not None and self.protect.max_age <= self.delay:
            raise ValueError("`protect.max_age` is not longer than `delay`, so nothing would ever be sent")
        return self

    def templates(self) -> Iterator[Template | Condition]:
        """Every template and condition of the survey."""
        if self.when is not None:
            yield self.when
        yield from self.protect.templates()
        yield from filter(None, [self.address])
        yield from (lookup.key for lookup in self.lookup.values())
        yield from self.custom_attributes.values()
        yield from self.built_in_responses.values()
