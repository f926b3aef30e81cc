"""The double's settings and its memory. Times are in seconds, by the double's clock.

The control API uses the same models as JSON.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from connector.sandbox.doubles.pisano import templates

# An administrator would write this template: the keys of pisano §4. Free text is URL-encoded because Pisano's Liquid
# cannot write JSON strings.
TEMPLATE = """{
  "firstName": "{{ customer.first_name }}",
  "lastName": "{{ customer.last_name }}",
  "email": "{{ customer.email }}",
  "nps_score": "{{ nps_score }}",
  "sf_ref_id": "{{ sf_ref_id }}",
  "source_platform": "Pisano",
  "comment": "{{ comment | url_encode }}",
  "comment_encoding": "url"
}"""

Count = Annotated[int, Field(ge=1)]
Wait = Annotated[float, Field(ge=0)]  # seconds
Status = Annotated[int, Field(ge=200, le=599)]
Headers = dict[Annotated[str, Field(pattern=r"^[\w-]+$")], Annotated[str, Field(pattern=r"^[^\r\n\x00]*$")]]
Channel = Literal["email", "sms", "link"]


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(Model):
    """A question, or a hidden field, of a flow. The types are those of pisano §3."""

    key: Annotated[str, Field(min_length=1)]
    type: Literal["string", "integer", "float", "boolean", "date", "datetime", "list"] = "string"
    options: tuple[str, ...] = ()


class Flow(Model):
    """Each question has a key of its own."""

    questions: tuple[Question, ...] = ()

    @model_validator(mode="after")
    def _keys_differ(self) -> Self:
        keys = [question.key for question in self.questions]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise ValueError(f"two questions have the key {', '.join(sorted(twice))}")
        return self


class Campaign(Model):
    """`provider`: the campaign has a provider that sends. `channel_active`: its delivery channel is on (pisano §3)."""

    flow: str
    channel: Channel = "email"
    provider: bool = True
    channel_active: bool = True


class Customer(Model):
    """Answers every e-mail, SMS and link `after` this many seconds; Pisano sends each answer's webhook `times` times.

    If customers have different `after`, their webhooks come out of order. `body` replaces the template.
    """

    answers: dict[str, str | int | float | bool] = {}
    after: Wait = 0.0
    times: Count = 1
    body: str | None = None


class Webhook(Model):
    """Where answers go. Pisano re-sends after `pace * (15 + n**4)` s, n = 0, 1, … (pisano §4, a planning bound)."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    headers: Headers = {}
    template: Annotated[str, AfterValidator(templates.check)] = TEMPLATE
    resend_on_5xx: bool = True  # not documented: False is the worst case
    resends: Annotated[int, Field(ge=0, le=20)] = 20
    pace: Wait = 1.0
    timeout: Annotated[float, Field(gt=0)] = 10.0


class Fault(Model):
    """What happens to the next `times` calls. `sent`: it happens after the call was carried out and its e-mails sent.

    First the double waits `delay` seconds. Then it drops the connection ("drop"), never answers ("hang"), or answers
    `status`. With none of these, the call is only delayed.
    """

    times: Count = 1
    calls: Literal["email_sharings", "sms_sharings", "link_sharings", "token", "flows"] | None = (
        None  # None: all of them
    )
    sent: bool = False
    delay: Wait = 0.0
    kind: Literal["drop", "hang"] | None = None
    status: Status | None = None
    body: str = ""
    headers: Headers = {}


class Settings(Model):
    """Behaviour of Pisano that is not documented, so that a test can try each variant."""

    success_status: Annotated[int, Field(ge=200, le=299)] = 201
    success_body: Any = {"message": "accepted"}
    names_culprit: bool = False  # whether a 422 says which address or key is at fault
    flow_types: bool = True  # whether a flow says the type of each question
    max_emails: Count = 1000
    retry_after: bool = False  # whether a 429 says when to retry (pisano §6: off by default)
    suppressed: frozenset[str] = frozenset()  # addresses that get nothing: contact policy or unsubscribed
    refused_key: str | None = None  # the key under which an answer lists the addresses that got nothing
    link_body: Any = {"link": "LINK"}  # what a link sharing answers; LINK stands for the link (pisano §3.2)
    phone_form: Literal["e164", "local"] = "e164"  # +905330000000 or 5330000000: not documented (pisano §3.1)
    token_lifetime: Annotated[float, Field(gt=0)] = 3600.0
    id_key: str = "client_id"
    secret_key: str = "client_secret"  # noqa: S105 - the name of a JSON key
    token_key: Literal["token", "access_token", "data.token"] = "token"  # noqa: S105 - the name of a JSON key
    expiry_key: Literal["expires_in", "expires_at", "expire_at", "expired_at"] | None = "expires_in"
    expiry_epoch: bool = False  # an expiry time is in seconds since the epoch, not ISO 8601
    attributes: tuple[Question, ...] | None = None  # the customer schema (S8); None: any custom attribute is taken
    invitation_key: str | None = None  # the built_in_response that identifies an invitation; None: all together


class Call(BaseModel):
    """One request. `exceeded` names each window that it broke; `status` is None when the double sent no answer."""

    at: float
    method: str
    path: str
    exceeded: tuple[str, ...] = ()
    status: int | None = None


class Email(Model):
    """One e-mail, SMS or link for one customer; `call` is the number of the call that caused it, from 0.

    The address of an SMS is the phone number, as the call wrote it. That of a link may be empty; its customer is in
    `custom_attributes`, and `url` is the link.
    """

    channel: Channel = "email"
    at: float
    call: int
    campaign: str
    address: str
    custom_attributes: dict[str, Any] = {}
    built_in_responses: dict[str, Any] = {}
    url: str | None = None


class Delivery(Model):
    """One try to deliver a webhook; `attempt` counts from 1, or is 0 when the template failed.

    When no answer came, `status` is None and `error` is set.
    """

    at: float
    address: str | None
    body: str
    attempt: int
    status: int | None = None
    error: str | None = None
