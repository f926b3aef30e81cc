"""What contact protection says about a change: who is not asked, and what the sender must keep to."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from connector.config import Survey
from connector.config.hours import zone
from connector.config.protect import count, period
from connector.errors import Rejected
from connector.reasons import Reason
from connector.records import ChangeEvent, Protection
from connector.templates import Scalar, Template

_PARTS = 1 << 64


def protection(survey: Survey, event: ChangeEvent, scope: Mapping[str, Any], *, alone: bool) -> Protection:
    """Renders the survey's `protect` for a change.

    Unless the customer is invited `alone`, the contact's id counts for the suppression list only: several addresses are
    several persons.

    Raises:
        Rejected: A template cannot be rendered, or gives no duration, number or time zone.
    """
    protect = survey.protect
    not_before = event.committed_at + timedelta(seconds=survey.delay)
    cap = _text(protect.cap.by, scope) if protect.cap else None
    contact = _text(protect.contact, scope)
    return Protection(
        contact=contact if alone else None,
        owner=None if alone else contact,
        happened_at=event.committed_at,
        not_before=not_before,
        expires_at=not_before + timedelta(seconds=protect.expires_after),
        once_per=_parsed("once_per", protect.once_per, scope, period),
        cap=cap,
        cap_per_day=_parsed("cap.per_day", protect.cap.per_day, scope, count) if protect.cap and cap else None,
        zone=_zone(protect.zone, scope),
    )


def suppression(
    name: str, survey: Survey, address: str, protection: Protection, now: datetime
) -> tuple[Reason | None, str | None]:
    """Why the person is not asked, with more words; None twice when nothing in the change speaks against it."""
    protect = survey.protect
    if protect.max_age is not None and protection.happened_at is not None:
        age = (now - protection.happened_at).total_seconds()
        if age > protect.max_age:
            return Reason.TOO_OLD, f"the change is {age / 86400:.1f} days old"
    person = protection.contact or address.lower()
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
