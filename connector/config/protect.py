"""Contact protection: the part `protect` of a survey, and the section `protect` for all surveys."""

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from connector.config.hours import Holidays, Hours, zone
from connector.config.model import Allowed, Model
from connector.config.types import Limit, NotBlank, Seconds, Secret, Share, Text, Timeout, Whole, seconds
from connector.templates import Template

Counts = Literal["invitations", "answers", "either"]

_DAY = 86400.0
_LONGEST_PERIOD = 100 * 366 * _DAY  # seconds: more is a mistake, and far more is more than a date can be moved by
_LONGEST_WAIT = 60 * _DAY  # seconds: by then nobody remembers what the survey is about


def period(value: object) -> float:
    """The seconds that a rendered template such as `30d`, or a number of seconds, stands for.

    Raises:
        ValueError: It is no duration.
    """
    found = seconds(value.strip() if isinstance(value, str) else value)
    if not isinstance(found, (int, float)) or not 0 < found <= _LONGEST_PERIOD:
        raise ValueError("a duration above 0 is wanted, such as 30d, of 100 years at most")
    return float(found)


def count(value: object) -> int:
    """The whole number that a rendered template gives. Raises ValueError when it is none, or below 0."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 0:
        raise ValueError("a whole number of at least 0 is wanted")
    return int(value)


def _is_period(template: Template) -> Template:
    if not template.paths():
        period(template.render({}))
    return template


def _is_zone(template: Template) -> Template:
    if not template.paths():
        zone(str(template.render({})))
    return template


def _is_count(template: Template) -> Template:
    if not template.paths():
        count(template.render({}))
    return template


def _is_some_time(wait: float) -> float:
    if wait == 0:
        raise ValueError("with 0s every invitation would expire before its call; leave this out for 30d")
    return wait


Period = Annotated[Template, AfterValidator(_is_period), Allowed("like 30d, or a template that gives that")]
CustomerZone = Annotated[NotBlank, AfterValidator(_is_zone)]
Count = Annotated[Template, AfterValidator(_is_count), Allowed("a whole number, or a template that gives one")]
Wait = Annotated[
    Seconds,
    Field(le=_LONGEST_WAIT),
    Allowed("like 2h or 3d, 60d at most", lambda value: f"{value / _DAY:g}d" if value else "0s"),
]

Age = Annotated[
    Timeout | Literal["never"],
    Allowed("like 10m or 1h, or `never`", lambda value: value if isinstance(value, str) else f"{value / 60:g}m"),
]


class Cap(Model):
    """A quota per value, such as 50 invitations a day for each branch."""

    by: NotBlank
    """The value. Where it renders empty, there is no quota."""

    per_day: Count
    """How many of the survey's invitations are sent in a day for the same value. The others wait for the next day."""


class Protect(Model):
    """Contact protection. An invitation that is not sent is recorded with the reason: [invitations.md](invitations.md).

    A day begins at midnight in the zone of `send_between`; without that setting, in UTC.
    """

    opted_out: NotBlank | None = None
    """A customer for whom this is true is not invited. Empty, false and the text `false`, also with
    white space around it, are not true."""

    contact: NotBlank | None = None
    """The id of the person in Salesforce, such as `{{ contact.Id }}`. Two invitations are for the same person if they
    have the same id here or the same e-mail address."""

    once_per: Period | None = None
    """The same person is invited to this survey at most once in this time. `pisano.attempts` must be kept as long."""

    counts: Counts = "invitations"
    """What `once_per` counts from: the last invitation to this survey that was sent, the last answer of the person to
    any survey, or either. For answers, `pisano.feedback` must be kept as long."""

    except_from_any: bool = False
    """Whether the survey is an exception from `protect.once_per_any`. Its invitations do not count there either."""

    sample: Share = 1.0
    """The part of the persons who are invited. Whether a person is in depends only on the person, the survey's name
    and `seed`, so it stays the same from one change to the next."""

    seed: Annotated[str, Allowed("text")] = ""
    """Change this text to draw another sample. Surveys with the same `seed` draw the same persons; without one,
    each survey draws its own."""

    send_between: Hours | None = None
    """The hours in which calls to Pisano are made, also after a delay. Outside them an invitation waits."""

    zone: CustomerZone | None = None
    """The customer's time zone, such as `{{ contact.TimeZone__c }}`, for `send_between`. Where it is empty, the zone of
    `send_between` counts. A name that is no IANA time zone makes the change a dead letter."""

    holidays: Holidays = frozenset[date]()
    """Days on which nothing is sent."""

    daily_cap: Annotated[Whole, Field(ge=1, le=10_000_000)] | None = None
    """How many invitations of the survey are sent in a day. The others wait for the next day."""

    total_cap: Annotated[Whole, Field(ge=1, le=1_000_000_000)] | None = None
    """How many invitations of the survey are sent in all, as far back as `pisano.attempts` is kept. The others are not
    sent."""

    cap: Cap | None = None
    """A quota per value."""

    max_age: Timeout | None = None
    """An invitation is not sent when its change is older than this."""

    recheck_after: Age = 600.0
    """An invitation whose change is older than this is checked again right before its call: `when`, `opted_out` and
    `email` are decided anew with what Salesforce has then. What only the change event says stays as it was. `never`
    checks none."""

    expires_after: Annotated[Wait, AfterValidator(_is_some_time)] = 30 * _DAY
    """How long an invitation may wait after it is due, for send hours, caps, the brake or Pisano."""

    brake: Limit | None = None
    """How many invitations of the survey may be due in a time, such as `500/1h`. When there are more, the survey sends
    no others until a person decides: see [invitations.md](invitations.md)."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.send_between is None and (self.zone is not None or self.holidays):
            raise ValueError("`zone` and `holidays` are parts of `send_between`, which is missing")
        return self

    def templates(self) -> Iterator[Template]:
        """Every template."""
        found = (self.opted_out, self.contact, self.once_per, self.zone)
        yield from (template for template in found if template is not None)
        if self.cap:
            yield from (self.cap.by, self.cap.per_day)


class AnsweredBy(Model):
    """The keys of an answer's body that say who answered. The first key with a value counts."""

    email: tuple[Text, ...] = ("email", "customer_email", "e_mail")
    """Keys that hold the person's e-mail address."""

    phone: tuple[Text, ...] = ("phone", "phone_number", "customer_phone")
    """Keys that hold the person's phone number: +90 533 000 00 00. The account's `phones.region` is the country of one
    that names none."""

    contact: tuple[Text, ...] = ("external_id", "contact_id", "customer_external_id")
    """Keys that hold the person's id in Salesforce, as in a survey's `protect.contact`."""


class ProtectAll(Model):
    """Contact protection over all surveys and accounts."""

    once_per_any: Timeout | None = None
    """The same person is invited at most once in this time, whatever the survey. Surveys with `except_from_any` are
    exceptions. When several surveys of an account want a person at once, the one with the highest `priority` invites;
    of several accounts, the first that claims the person on `pisano.claims`."""

    counts: Counts = "invitations"
    """What `once_per_any` counts from: the last invitation that was sent, the last answer, or either."""

    hash_key: Secret | None = None
    """A secret for the hashes under which persons are remembered on `pisano.attempts`. Without it, somebody who reads
    the topic and knows an address can tell whether it was invited. If you change it, earlier invitations no longer
    count."""

    answered_by: AnsweredBy = AnsweredBy()
    """Who answered."""
