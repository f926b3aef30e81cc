"""Shows what a survey would do with one change, and why: conditions, reads, addresses, and the call's body."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from connector.config import Phones, Survey
from connector.errors import ConnectorError
from connector.pisano import call_body, recipient
from connector.records import ChangeEvent, Invitation
from connector.salesforce.soql import Source, Value
from connector.surveys.invitations import NO_REGION, Decision, SurveyRule
from connector.surveys.lookup import Find, Lookup
from connector.surveys.reader import Reader
from connector.templates import Condition, RenderError, Unread
from connector.values import exact


@dataclass(frozen=True)
class Part:
    """A part of a condition, with the values that it names.

    `holds` is None when it was not needed for the decision, or cannot be decided; then `why` says so.
    """

    text: str
    holds: bool | None
    values: dict[str, Any]
    why: str | None = None


@dataclass(frozen=True)
class Reading:
    """A call that read records from Salesforce: what was asked for, and the rows that came."""

    object: str
    by: str
    values: list[Value]
    rows: list[dict[str, Any]]
    deleted: bool = False


@dataclass(frozen=True)
class Ready:
    """An invitation, and the body of a call that carries only it; None when it is not sent.

    `protection` says what the contact protection would do with it now.
    """

    invitation: Invitation
    body: dict[str, Any] | None
    protection: str | None = None


@dataclass(frozen=True)
class Preview:
    """What a survey would do with a change. `refused` is why the change would be a dead letter, or hold the survey."""

    survey: str
    event: ChangeEvent
    conditions: list[Part] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    invitations: list[Ready] = field(default_factory=list)
    refused: str | None = None


async def preview(
    name: str,
    survey: Survey,
    event: ChangeEvent,
    find: Find,
    find_deleted: Find,
    given: Mapping[str, Mapping[str, Any]] | None = None,
    phones: Phones = NO_REGION,
) -> Preview:
    """Decides as `trigger` would, and sends nothing. Lookups that are `given` are not read from Salesforce."""
    readings: list[Reading] = []
    reader = Reader(Lookup(_noted(find, readings)), Lookup(_noted(find_deleted, readings, deleted=True)))
    rule = SurveyRule(name, survey, reader, phones=phones)
    if not rule.is_about(event):
        about = f"{event.change_type} of {event.entity}"
        return Preview(name, event, refused=f"the survey is about changes of {survey.on}; this is {about}")
    try:
        decision = await rule.decide(event, given)
    except ConnectorError as error:
        return Preview(name, event, readings=readings, refused=str(error))
    return Preview(
        name,
        event,
        _parts(survey.when, decision),
        readings,
        dict(decision.gone),
        [Ready(invitation, _body(invitation, phones)) for invitation in decision.invitations],
    )


def _noted(find: Find, readings: list[Reading], *, deleted: bool = False) -> Find:
    async def noted(source: Source, fields: Iterable[str], values: list[Value]) -> list[dict[str, Any]]:
        rows = await find(source, fields, values)
        readings.append(Reading(source.object, source.by, values, rows, deleted))
        return rows

    return noted


def _parts(when: Condition | None, decision: Decision) -> list[Part]:
    return [_part(part, decision.scope) for part in when.comparisons()] if when and decision.scope else []


def _part(part: Condition, scope: Mapping[str, Any]) -> Part:
    values: dict[str, Any] = {}
    for path in part.paths():
        try:
            values[str(path)] = _value(scope, path.parts)
        except Unread:
            return Part(str(part), None, values, f"{path} was not read: it was not needed")
    try:
        return Part(str(part), part.holds(scope), values)
    except RenderError as error:
        return Part(str(part), None, values, str(error))


def _value(scope: Mapping[str, Any], parts: Iterable[object]) -> Any:
    value: Any = scope
    for part in parts:
        if not isinstance(value, Mapping):
            break  # what Liquid itself offers on a value, such as `size`
        value = value[part] if part in value or not isinstance(part, str) else value.get(part)
    return value


def _body(invitation: Invitation, phones: Phones) -> dict[str, Any] | None:
    if invitation.suppressed is not None:
        return None
    body = exact.loads(call_body([recipient(invitation)], phones.form))
    return body if isinstance(body, dict) else None
