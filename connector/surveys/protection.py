"""What contact protection says about a change: who is not asked, and what the sender must keep to."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from connector.config import Survey
from connector.config.hours import zone
from connector.config.protect import count, period
from connector.errors import Rejected
from connector.reasons import Reason
from connector.records import ChangeEvent, Protection
from connector.salesforce.record_ids import full
from connector.templates import Scalar, Template, Unread

_PARTS = 1 << 64


def protection(survey: Survey, event: ChangeEvent, scope: Mapping[str, Any], *, alone: bool) -> Protection:
    """Renders the survey's `protect` for a change.

    Unless the customer is invited `alone`, the contact's id counts for the suppression list only: several addresses are
    several persons.

    Raises:
        Rejected: A template cannot be rendered, or gives no duration, number or time zone.
    """
    not_before = event.committed_at + timedelta(seconds=survey.delay)
    ends = timedelta(seconds=survey.protect.expires_after)
    terms = Protection(happened_at=event.committed_at, not_before=not_before, expires_at=not_before + ends)
    return renewed(terms, survey, scope, alone=alone)


def renewed(before: Protection, survey: Survey, scope: Mapping[str, Any], *, alone: bool) -> Protection:
    """The same terms for the person that the `scope` leads to. What the scope does not know stays as it was.

    Raises:
        Rejected: As `protection`.
    """
    protect, quota = survey.protect, survey.protect.cap
    contact = _kept(partial(_text, protect.contact, scope), before.contact or before.owner)
    cap = _kept(partial(_text, quota.by, scope), before.cap) if quota else None
    per_day = partial(_parsed, "cap.per_day", quota.per_day if quota else None, scope, count)
    return before.model_copy(
        update={
            "contact": contact if alone else None,
            "owner": None if alone else contact,
            "once_per": _kept(partial(_parsed, "once_per", protect.once_per, scope, period), before.once_per),
            "cap": cap,
            "cap_per_day": _kept(per_day, before.cap_per_day) if cap else None,
            "zone": _kept(partial(_zone, protect.zone, scope), before.zone),
        }
    )


def _kept(render: Callable[[], Any], before: Any) -> Any:
    try:
        return render()
    except Unread:
        return before


def suppression(
    name: str, survey: Survey, address: str, protection: Protection, now: datetime
) -> tuple[Reason | None, str | None]:
    """Why the person is not asked, with more words; None twice when nothing in the change speaks against it."""
    protect = survey.protect
    if protect.max_age is not None and protection.happened_at is not None:
        age = (now - protection.happened_at).total_seconds()
        if age > protect.max_age:
            return Reason.TOO_OLD, f"the change is {age / 86400:.1f} days old"
    person = full(protection.contact) if protection.contact else address.lower()
    if not is_sampled(person, protect.seed or name, protect.sample):
        return Reason.NOT_SAMPLED, None
    return None, None


def is_sampled(person: str, seed: str, share: float) -> bool:
    """Whether the person is in the sample that `seed` draws. A larger `share` only adds persons."""
    drawn = int.from_bytes(hashlib.sha256(f"{len(seed)}:{seed}{person}".encode()).digest()[:8])
    return drawn < share * _PARTS


def _text(template: Template | None, scope: Mapping[str, Any]) -> str | None:
    value = None if template is None else template.render(scope)
    return None if value is None else str(value).strip()


def _parsed(name: str, template: Template | None, scope: Mapping[str, Any], parse: Any) -> Any:
    if template is None:
        return None
    value: Scalar | None = template.render(scope)
    try:
        return parse(value)
    except ValueError as error:
        raise Rejected(f"protect.{name}: {template} cannot be used: {error}", code="protection") from error


def _zone(template: Template | None, scope: Mapping[str, Any]) -> str | None:
    name = _text(template, scope)
    if name is not None:
        try:
            zone(name)
        except ValueError as error:
            raise Rejected(f"protect.zone: {template} cannot be used: {error}", code="protection") from error
    return name
