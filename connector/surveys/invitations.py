"""Turns a change event into an invitation, or into the reason why the customer is not invited."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from connector.config import Lookup, Survey
from connector.errors import Rejected
from connector.reasons import Reason
from connector.records import ChangeEvent, Invitation, digest
from connector.surveys.addresses import normalise_email
from connector.surveys.protection import protection, suppression
from connector.surveys.reader import Gone, Reader
from connector.templates import RenderError, Scalar, Template, Unread

_GONE = ("DELETE", "GAP_DELETE")  # for a record that is gone there is nobody to ask
_RESTORED = ("UNDELETE", "GAP_UNDELETE")
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

    def __init__(self, name: str, survey: Survey, reader: Reader) -> None:
        self.name = name
        self._survey = survey
        self._reader = reader
        self._fields = frozenset().union(*(liquid.fields("record") for liquid in survey.templates()))
        self._asks_what_changed = any(
            path.parts[0] in {"changed", "nulled"} for liquid in survey.templates() for path in liquid.paths()
        )
        self._asks_for_restored = survey.when is not None and "change_type" in survey.when.fields("event")
        self._behind_email = _lookups_behind(survey.email, survey)
        self._behind_opt_out = _lookups_behind(survey.protect.opted_out, survey)

    def is_about(self, event: ChangeEvent) -> bool:
        """Whether the event is of this survey's entity, and of a record that still exists."""
        return event.entity == self._survey.on and event.change_type not in _GONE

    async def invite(self, event: ChangeEvent) -> Invitation | None:
        """The event's invitation, suppressed or not; None when the event does not concern this survey.

        Raises:
            Rejected: `when`, `email`, `opted_out` or a lookup's id cannot be rendered with this record, or data that is
                needed cannot be read.
            Fatal, Lasts: From reading Salesforce.
        """
        if not self.is_about(event):
            return None
        restored = event.change_type in _RESTORED and not self._asks_for_restored
        self._require_content(event, restored)
        if restored and self._asks_what_changed:  # the event does not say it, so `when` cannot be decided
            return self._restored(event)
        return await self._decided(event, restored)

    async def _decided(self, event: ChangeEvent, restored: bool) -> Invitation | None:
        scope = _scope(event)
        try:
            wanted: bool | None = self._holds(scope)
        except Unread:
            wanted = None
        if wanted is False:
            return None
        if missing := self._fields - _known(event).keys():
            try:
                scope["record"] = {**await self._read(event, missing), **_known(event)}
            except Gone as error:
                return self._suppressed(event, Reason.RECORD_GONE, str(error))
        if wanted is None and not self._holds(scope):
            return None
        if restored:
            return self._restored(event)
        gone: dict[str, str] = {}
        for name, lookup in self._survey.lookup.items():
            scope[name] = await self._looked_up(name, lookup, scope, gone)
        return self._invitation(event, scope, gone)

    def _require_content(self, event: ChangeEvent, restored: bool) -> None:
        """Rejects an event that does not say which record changed, or what changed in it, if we need that (§B4)."""
        if "*" in event.record_id or event.record_id == _DUMMY_ID:
            raise Rejected("many records changed and the event names none of them", code="gap")
        if event.change_type.startswith("GAP_") and self._asks_what_changed and not restored:
            raise Rejected("the survey asks what changed, and the event does not say", code="gap")

    def _holds(self, scope: Mapping[str, Any]) -> bool:
        return self._survey.when is None or self._survey.when.holds(scope)

    async def _read(self, event: ChangeEvent, fields: frozenset[str]) -> Mapping[str, Any]:
        if event.change_type == "EVENT":
            raise Rejected(f"{event.entity} has no field {', '.join(sorted(fields))}", code="no_such_field")
        return await self._reader.read(event.entity, event.record_id, fields)

    async def _looked_up(
        self, name: str, lookup: Lookup, scope: Mapping[str, Any], gone: dict[str, str]
    ) -> dict[str, Any]:
        """The fields, all None if there is no such record; then `gone` gets the reason under the lookup's name."""
        record_id = _stripped(lookup.id.render(scope))
        if record_id is None:
            return dict.fromkeys(lookup.fields)
        try:
            row = await self._reader.read_kept(lookup.object, str(record_id), frozenset(lookup.fields))
        except Rejected as error:
            if error.code not in {"record_gone", "no_record"}:
                raise
            gone[name] = str(error)
            return dict.fromkeys(lookup.fields)
        return {field: row[field] for field in lookup.fields}

    def _invitation(self, event: ChangeEvent, scope: Mapping[str, Any], gone: Mapping[str, str]) -> Invitation:
        email, suppressed, detail = self._addressee(scope, gone)
        now, terms = datetime.now(UTC), protection(self._survey, event, scope)
        if suppressed is None and email is not None:
            suppressed, detail = suppression(self.name, self._survey, email, terms, now) or (None, None)
        left_out: list[str] = []
        return self._record(
            event,
            email=email,
            custom_attributes=_rendered(self._survey.custom_attributes, scope, left_out),
            built_in_responses=_rendered(self._survey.built_in_responses, scope, left_out),
            suppressed=suppressed,
            detail=detail if suppressed else "; ".join(left_out) or None,
            protection=terms,
        )

    def _restored(self, event: ChangeEvent) -> Invitation:
        return self._suppressed(event, Reason.RESTORED, "the record came back from the recycle bin")

    def _suppressed(self, event: ChangeEvent, reason: Reason, detail: str) -> Invitation:
        return self._record(event, email=None, suppressed=reason, detail=detail)

    def _record(self, event: ChangeEvent, **decided: Any) -> Invitation:
        return Invitation(
            id=digest(self.name, event.record_id, event.id),
            survey=self.name,
            account=self._survey.account,
            campaign=self._survey.campaign,
            entity=event.entity,
            record_id=event.record_id,
            cause=event.id,
            created_at=datetime.now(UTC),
            **decided,
        )

    def _addressee(
        self, scope: Mapping[str, Any], gone: Mapping[str, str]
    ) -> tuple[str | None, Reason | None, str | None]:
        if unknown := [gone[name] for name in gone if name in self._behind_opt_out]:
            return None, Reason.RECORD_GONE, "; ".join(unknown)  # maybe the customer opted out
        raw = self._survey.email.render(scope)
        if raw is None:
            missing = [gone[name] for name in gone if name in self._behind_email]
            return None, Reason.RECORD_GONE if missing else Reason.NO_ADDRESS, "; ".join(missing) or None
        try:
            email = normalise_email(str(raw))
        except ValueError as error:
            return str(raw), Reason.INVALID_ADDRESS, str(error)
        opted_out = self._survey.protect.opted_out
        if opted_out is not None and _stripped(opted_out.render(scope)) not in {None, False, "false"}:
            return email, Reason.OPTED_OUT, None
        return email, None, None


def _lookups_behind(template: Template | None, survey: Survey) -> frozenset[str]:
    """The lookups that a template's value depends on, also through the ids of other lookups."""
    named = _roots(template) if template else set()
    for name, lookup in reversed(survey.lookup.items()):  # an id may use only the lookups above it
        if name in named:
            named |= _roots(lookup.id)
    return frozenset(named & survey.lookup.keys())


def _roots(template: Template) -> set[str]:
    return {str(path.parts[0]) for path in template.paths()}


def _stripped(value: Scalar | None) -> Scalar | None:
    """A template of several lines writes line breaks around its value."""
    return value.strip() if isinstance(value, str) else value


def _known(event: ChangeEvent) -> dict[str, Any]:
    """The record's values in the event. A change event has the Id only in its header, so it is added here."""
    return {"Id": event.record_id, **event.fields}


def _changed(event: ChangeEvent) -> list[str]:
    """A CREATE names no changed fields (salesforce §B3), but a record can be created in the state that invites."""
    if event.change_type == "CREATE":
        return [field for field, value in event.fields.items() if value is not None]
    return list(event.changed_fields)


def _scope(event: ChangeEvent) -> dict[str, Any]:
    return {
        "record": _Record(_known(event)),
        "changed": _changed(event),
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


def _rendered(templates: Mapping[str, Template], scope: Mapping[str, Any], left_out: list[str]) -> dict[str, Any]:
    """The values that are not empty. One that cannot be rendered costs only itself: `left_out` gets the reason."""
    values: dict[str, Any] = {}
    for name, template in templates.items():
        try:
            values[name] = template.render(scope)
        except RenderError as error:
            left_out.append(f"{name} is left out: {error}")
    return {name: value for name, value in values.items() if value is not None}
