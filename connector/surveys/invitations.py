"""Turns a change event into an invitation, or into the reason why the customer is not invited."""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from connector.config import Survey
from connector.errors import Rejected
from connector.pisano import normalise_email
from connector.records import ChangeEvent, Invitation, Suppression, digest
from connector.surveys.lookup import Lookup
from connector.templates import Template, Unread

_GONE = ("DELETE", "GAP_DELETE")  # for a record that is gone there is nobody to ask
_DUMMY_ID = "000000000000000AAA"  # in an overflow event: more records changed than Salesforce names (salesforce §0.5)


class _Record(Mapping[str, Any]):
    """The event's values, and for other fields those that were read. Raises Unread for a field that is in neither."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, field: str) -> Any:
        try:
            return self._values[field]
        except KeyError:
            raise Unread(field) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class SurveyRule:
    """One configured survey, ready to decide about change events."""

    def __init__(self, name: str, survey: Survey, lookup: Lookup) -> None:
        self.name = name
        self._survey = survey
        self._lookup = lookup
        self._fields = frozenset().union(*(liquid.fields("record") for liquid in survey.templates()))
        self._asks_what_changed = any(
            path.parts[0] in {"changed", "nulled"} for liquid in survey.templates() for path in liquid.paths()
        )

    def is_about(self, event: ChangeEvent) -> bool:
        """Whether the event is of this survey's entity, and of a record that still exists."""
        return event.entity == self._survey.on and event.change_type not in _GONE

    async def invite(self, event: ChangeEvent) -> Invitation | None:
        """The event's invitation, suppressed or not; None when the event does not concern this survey.

        Raises:
            Rejected: A template cannot be rendered with this record, or data that it needs cannot be read.
            Fatal, Lasts: From reading Salesforce.
        """
        if not self.is_about(event):
            return None
        self._require_content(event)
        scope = _scope(event)
        try:
            wanted: bool | None = self._holds(scope)
        except Unread:
            wanted = None
        if wanted is False:
            return None
        if missing := self._fields - _known(event).keys():
            scope["record"] = {**await self._read(event, missing), **_known(event)}
        if wanted is None and not self._holds(scope):
            return None
        for name, lookup in self._survey.lookup.items():
            scope[name] = await self._looked_up(lookup.object, lookup.id.render(scope), lookup.fields)
        return self._invitation(event, scope)

    def _require_content(self, event: ChangeEvent) -> None:
        """Rejects an event that does not say which record changed, or what changed in it, if we need that (§B4)."""
        if "*" in event.record_id or event.record_id == _DUMMY_ID:
            raise Rejected("many records changed and the event names none of them", code="gap")
        if event.change_type.startswith("GAP_") and self._asks_what_changed:
            raise Rejected("the survey asks what changed, and the event does not say", code="gap")

    def _holds(self, scope: Mapping[str, Any]) -> bool:
        return self._survey.when is None or self._survey.when.holds(scope)

    async def _read(self, event: ChangeEvent, fields: Collection[str]) -> Mapping[str, Any]:
        if event.change_type == "EVENT":
            raise Rejected(f"{event.entity} has no field {', '.join(sorted(fields))}", code="no_such_field")
        row = await self._lookup.read(event.entity, event.record_id, fields)
        if row is None:
            raise Rejected(
                f"Salesforce has no {event.entity} {event.record_id}, or the user may not see it", code="no_record"
            )
        return row

    async def _looked_up(self, object_name: str, record_id: object, fields: Collection[str]) -> dict[str, Any]:
        row = await self._lookup.read(object_name, str(record_id), fields) if record_id is not None else None
        return dict.fromkeys(fields) if row is None else {field: row[field] for field in fields}

    def _invitation(self, event: ChangeEvent, scope: Mapping[str, Any]) -> Invitation:
        survey = self._survey
        email, suppressed, detail = self._addressee(scope)
        return Invitation(
            id=digest(self.name, event.record_id, event.id),
            survey=self.name,
            account=survey.account,
            campaign=survey.campaign,
            email=email,
            custom_attributes=_rendered(survey.custom_attributes, scope),
            built_in_responses=_rendered(survey.built_in_responses, scope),
            entity=event.entity,
            record_id=event.record_id,
            cause=event.id,
            suppressed=suppressed,
            detail=detail,
            created_at=datetime.now(UTC),
        )

    def _addressee(self, scope: Mapping[str, Any]) -> tuple[str | None, Suppression | None, str | None]:
        raw = self._survey.email.render(scope)
        if raw is None:
            return None, Suppression.NO_ADDRESS, None
        try:
            email = normalise_email(str(raw))
        except ValueError as error:
            return str(raw), Suppression.INVALID_ADDRESS, str(error)
        opted_out = self._survey.protect.opted_out
        if opted_out is not None and opted_out.render(scope) not in {None, False, "false"}:
            return email, Suppression.OPTED_OUT, None
        return email, None, None


def _known(event: ChangeEvent) -> dict[str, Any]:
    """The record's values in the event. A change event has the Id only in its header, so it is added here."""
    return {"Id": event.record_id, **event.fields}


def _scope(event: ChangeEvent) -> dict[str, Any]:
    return {
        "record": _Record(_known(event)),
        "changed": list(event.changed_fields),
        "nulled": list(event.nulled_fields),
        "event": {
            "id": event.id,
            "change_type": event.change_type,
            "entity": event.entity,
            "record_id": event.record_id,
            "committed_at": event.committed_at.isoformat(),
            "origin": event.change_origin,
            "user": event.commit_user,
            "channel": event.channel,
        },
    }


def _rendered(templates: Mapping[str, Template], scope: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: template.render(scope) for name, template in templates.items()}
    return {name: value for name, value in values.items() if value is not None}
