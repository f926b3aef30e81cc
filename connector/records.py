"""The records on our topics: JSON values whose schemas under `topics/schemas/` are generated from these models.

`topics/*.yaml` describe keys and CloudEvents attributes. Times are ISO 8601 in UTC.
"""

import hashlib
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from connector.errors import Rejected
from connector.reasons import KNOWN, Reason
from connector.values import exact

Scalar = str | int | float | bool | Annotated[Decimal, WithJsonSchema({"type": "number"})]


def digest(*parts: str) -> str:
    """An id computed only from its parts: 32 hex digits of SHA-256, with each part's length before it."""
    framed = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(framed.encode()).hexdigest()[:32]


class Record(BaseModel):
    """Frozen. A reader ignores fields that it does not know, because a newer connector may write them while an older
    one still reads: a rolling upgrade makes no dead letters. A required field that is missing, or a
    value of a wrong type, is an error.

    A change that breaks readers of the old schema raises `schema_version`; `tests/unit/test_kept_schemas.py` finds it.
    """

    schema_version: ClassVar[int] = 1

    model_config = ConfigDict(frozen=True, extra="ignore")


AnyRecord = TypeVar("AnyRecord", bound=Record)


def read(model: type[AnyRecord], value: bytes | None) -> AnyRecord:
    """Reads a record, with every digit of its numbers.

    Raises:
        Rejected: With code `unreadable`: it is no such record. The message holds no values.
    """
    try:
        return model.model_validate(exact.loads(value or b""))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the record"
        raise Rejected(f"not a readable {model.__name__}: {where}: {first['msg']}", code="unreadable") from error
    except ValueError as error:
        raise Rejected(f"not a readable {model.__name__}: {error}", code="unreadable") from error


class ChangeEvent(Record):
    """The change of one record (`salesforce.cdc.<Entity>`), or a platform event (`salesforce.events.<Event>`)."""

    id: str = Field(description="The same for every delivery of the same change; also the CloudEvents id.")
    channel: str
    replay_id: str = Field(description="Hex of the opaque replay id that the event arrived with.")
    schema_id: str
    entity: str
    record_id: str = Field(
        description="18 characters; a wildcard or the dummy id for gap events; the EventUuid for platform events."
    )
    change_type: str = Field(description="CREATE, UPDATE, DELETE, UNDELETE, GAP_…, or EVENT for a platform event.")
    changed_fields: tuple[str, ...] = ()
    nulled_fields: tuple[str, ...] = ()
    diff_fields: dict[str, str] = Field(
        default={}, description="Long texts that came as a unified diff, which is never a value."
    )
    fields: dict[str, Any] = Field(
        description="Only the values in the event, by REST field name. A missing field is unchanged or unread."
    )
    change_origin: str = ""
    transaction_key: str = ""
    sequence_number: int = 0
    commit_number: int = 0
    commit_user: str = ""
    committed_at: AwareDatetime


class Position(Record):
    """Where a channel resumes (`salesforce.positions`)."""

    channel: str
    replay_id: str = Field(
        description="Hex. Every event up to this replay id is on the topics. Empty: go on with the earliest event."
    )
    ahead_replay_id: str | None = Field(
        default=None, description="Hex of the next replay id, for which more events may come."
    )
    written_ahead: tuple[str, ...] = Field(
        default=(), description="Ids of the change events of `ahead_replay_id` that are already on the topics."
    )
    at: AwareDatetime


class Protection(BaseModel, frozen=True, extra="ignore"):
    """What the survey's `delay` and `protect` say about one invitation."""

    contact: str | None = Field(default=None, description="The person's id in Salesforce, if known.")
    owner: str | None = Field(default=None, description="The contact of several addresses.")
    happened_at: AwareDatetime | None = Field(default=None, description="When the change was made.")
    not_before: AwareDatetime | None = Field(default=None, description="When it is due.")
    expires_at: AwareDatetime | None = Field(default=None, description="When it is no longer sent.")
    once_per: float | None = Field(default=None, description="Seconds in which the person is invited once.")
    cap: str | None = Field(default=None, description="The value that has a quota.")
    cap_per_day: int | None = Field(default=None, description="The quota.")
    zone: str | None = Field(default=None, description="The customer's IANA time zone.")


Channel = Literal["email", "sms", "link"]
Sharing = Literal["email_sharings", "sms_sharings", "link_sharings"]
_SHARINGS: dict[Channel, Sharing] = {"email": "email_sharings", "sms": "sms_sharings", "link": "link_sharings"}


class Invitation(Record):
    """One survey to one address for one cause (`pisano.invitations`)."""

    id: str = Field(description="Computed only from survey, record id and cause.")
    survey: str
    account: str
    campaign: str
    channel: Channel = Field(default="email", description="How the customer gets the survey.")
    email: str | None
    phone: str | None = Field(default=None, description="In the form of E.164: +905330000000.")
    custom_attributes: dict[str, Scalar] = {}
    built_in_responses: dict[str, Scalar] = {}
    entity: str
    record_id: str
    cause: str = Field(description="The id of the change event.")
    event_fields: dict[str, Any] = Field(default={}, description="Those of a platform event.")
    suppressed: Reason | None = Field(default=None, description="Set when the invitation must not be sent.")
    detail: str | None = None
    protection: Protection = Protection()
    created_at: AwareDatetime

    @property
    def address(self) -> str | None:
        """The e-mail address or the phone number."""
        return self.email or self.phone

    @property
    def sharing(self) -> Sharing:
        """The kind of call that carries the invitation."""
        return _SHARINGS[self.channel]


class Outcome(StrEnum):
    """What became of an invitation."""

    SENT = "sent"
    REJECTED = "rejected"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class Attempt(Record):
    """One HTTP call to Pisano (`pisano.attempts`): recorded before the call (`begun`) and settled after it."""

    kind: Literal["attempt"] = "attempt"
    id: str
    account: str
    call: Sharing | Literal["token", "flow"]
    campaign: str | None = None
    invitations: tuple[str, ...] = ()
    persons: tuple[tuple[str, ...], ...] = Field(
        default=(), description="For each invitation, the hashes that its settlement will have."
    )
    state: Literal["begun", "settled"]
    result: Literal["accepted", "rejected", "refused", "unknown"] | None = None
    detail: str | None = None
    begun_at: AwareDatetime
    settled_at: AwareDatetime | None = None

    @property
    def last_known_at(self) -> datetime:
        """When the call was last known to be under way."""
        return self.settled_at or self.begun_at


class Settlement(Record):
    """The outcome of one invitation (`pisano.attempts`, beside the attempts)."""

    kind: Literal["settlement"] = "settlement"
    invitation: str
    account: str
    survey: str
    record_id: str
    outcome: Outcome
    reason: Reason | None = Field(default=None, description="Null when it was sent.")
    detail: str | None = Field(default=None, description="The reason in words, with addresses masked.")
    persons: tuple[str, ...] = Field(
        default=(), description="Hashes of the contact's id and of the address, when the person may have been e-mailed."
    )
    cap: str | None = Field(default=None, description="The hash of the value that has a quota.")
    happened_at: AwareDatetime | None = Field(default=None, description="When the change was made.")
    action: str | None = Field(default=None, description="The id of the action that a person decided it with.")
    answer: str | None = Field(
        default=None, description="The beginning of Pisano's 2xx, with addresses masked, when one decided this outcome."
    )
    attempt: str | None = None
    at: AwareDatetime

    @model_validator(mode="before")
    @classmethod
    def _older(cls, data: Any) -> Any:
        """Earlier versions wrote the words into `reason`."""
        if isinstance(data, dict) and data.get("reason") not in KNOWN:
            return {**data, "reason": None, "detail": data["reason"]}
        return data


class Claim(Record):
    """An account wants to invite a person now (`pisano.claims`): for `once_per_any` over several accounts."""

    person: str = Field(description="The hash of the contact's id or of the address.")
    account: str
    invitation: str
    at: AwareDatetime


class Raw(BaseModel, frozen=True):
    """The bytes of a webhook body, for a person to look at."""

    content: str
    encoding: Literal["utf-8", "base64"] = Field(description="base64 where the bytes are not UTF-8.")
    bytes: int = Field(description="How many bytes came. `content` holds 65,536 of them at most.")
    content_type: str = Field(default="", description="The sender's header, with the charset if it names one.")


class Feedback(Record):
    """One answer from a webhook body, plus when and where it arrived, or a link to a survey (`pisano.feedback`)."""

    id: str = Field(description="The same for every re-send of the same answer.")
    kind: Literal["answer", "link"] = Field(
        default="answer", description="`link`: Pisano made it for a survey with `channel: link`; the body has it."
    )
    account: str
    received_at: AwareDatetime
    answered_at: AwareDatetime | None = Field(default=None, description="The time of the answer, if the body names it.")
    repeats_until: AwareDatetime | None = Field(
        default=None,
        description="An equal body that arrives later is another answer. Null when the body itself names the answer.",
    )
    body: dict[str, Any] = Field(
        description="As it came; a key with a declared type holds a value of that type, or null if it was empty."
    )
    misfits: dict[str, Any] = Field(
        default={}, description="Values that did not fit the declared type, as they came; the body has null for them."
    )
    not_strict: tuple[str, ...] = Field(
        default=(), description="What was done to read a body that is not one strict JSON object: see docs/webhook.md."
    )
    raw: Raw | None = Field(default=None, description="Only where something was done, or a value did not fit.")


class Write(Record):
    """What the connector asked Salesforce to store, and the answer (`salesforce.writes`)."""

    id: str = Field(description="Computed only from the answer, its time and the rule.")
    feedback: str
    rule: str
    operation: Literal["upsert", "update"]
    object: str
    key_field: str
    key: str
    fields: dict[str, Scalar | None] = Field(description="What was sent; an empty value empties the field.")
    cut: dict[str, str] = Field(default={}, description="Why a text was cut, by field. The value in it is masked.")
    left_out: dict[str, str] = Field(
        default={}, description="Why a value was not written, by field. The value in it is masked."
    )
    kept: dict[str, str] = Field(default={}, description="Why a field was not emptied.")
    received_at: AwareDatetime | None = Field(
        default=None, description="When the answer first arrived; null when its body names the answer."
    )
    answered_at: AwareDatetime | None = Field(default=None, description="The time of the answer, if its body names it.")
    success: bool
    record_id: str | None = None
    created: bool | None = None
    error: str | None = None
    at: AwareDatetime
