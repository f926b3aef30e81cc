"""Turns a change event into an invitation, or into the reason why the customer is not invited."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from connector.config import Phones, Survey
from connector.errors import Rejected
from connector.reasons import Reason
from connector.records import ChangeEvent, Invitation, digest
from connector.surveys.addressees import Addressees
from connector.surveys.lookups import Lookups
from connector.surveys.protection import protection, suppression
from connector.surveys.reader import Gone, Reader
from connector.surveys.scopes import known, nested, scope_of
from connector.templates import RenderError, Template, Unread

_GONE = ("DELETE", "GAP_DELETE")  # for a record that is gone there is nobody to ask
_RESTORED = ("UNDELETE", "GAP_UNDELETE")
_DUMMY_ID = "000000000000000AAA"  # in an overflow event: more records changed than Salesforce names (salesforce §0.5)


NO_REGION = Phones()


@dataclass(frozen=True)
class Decision:
    """A survey's invitations for a change event, and what was known when they were decided.

    `scope` is what the templates could name. `gone` has the reason for each lookup whose record is missing.
    """

    invitations: list[Invitation] = field(default_factory=list)
    scope: Mapping[str, Any] = field(default_factory=dict)
    gone: Mapping[str, str] = field(default_factory=dict)


class SurveyRule:
    """One configured survey, ready to decide about change events. `phones` is its account's setting."""

    def __init__(
        self,
        name: str,
        survey: Survey,
        reader: Reader,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        phones: Phones = NO_REGION,
    ) -> None:
        self.name = name
        self._now = now
        self._survey = survey
        self._reader = reader
        self._lookups = Lookups(survey, reader)
        self._fields = frozenset().union(*(liquid.fields("record") for liquid in survey.templates()))
        self._asks_what_changed = any(
            path.parts[0] in {"changed", "nulled"} for liquid in survey.templates() for path in liquid.paths()
        )
        self._asks_for_restored = survey.when is not None and "change_type" in survey.when.fields("event")
        self._behind_when = self._lookups.behind(survey.when)
        self._addressees = Addressees(survey, self._lookups, phones)

    def is_about(self, event: ChangeEvent) -> bool:
        """Whether the event is of this survey's entity, and of a record that still exists."""
        return event.entity == self._survey.on and event.change_type not in _GONE

    def may_want(self, event: ChangeEvent) -> bool:
        """False when the event alone says that the survey does not want it, as most events do."""
        if not self.is_about(event) or self._survey.when is None:
            return self.is_about(event)
        if event.change_type.startswith("GAP_") or event.change_type in _RESTORED or _names_no_record(event):
            return True
        try:
            return self._holds(scope_of(event, self._survey.lookup)) is not False
        except RenderError:
            return True  # the work raises it

    async def invitations(self, event: ChangeEvent) -> list[Invitation]:
        """The event's invitations, one for each address, suppressed or not. See `decide`."""
        return (await self.decide(event)).invitations

    async def decide(self, event: ChangeEvent, given: Mapping[str, Mapping[str, Any]] | None = None) -> Decision:
        """The event's invitations, and how they came about. Lookups that are `given` are not read.

        Raises:
            Rejected: `when`, `email`, `opted_out` or a lookup's key cannot be rendered with this record, or data that
                is needed cannot be read.
            Fatal, Lasts: From reading Salesforce.
        """
        if not self.is_about(event):
            return Decision()
        restored = event.change_type in _RESTORED and not self._asks_for_restored
        self._require_content(event, restored)
        if restored and self._asks_what_changed:  # the event does not say it, so `when` cannot be decided
            return Decision([self._restored(event)])
        scope, gone = {**scope_of(event, self._survey.lookup), **(given or {})}, dict[str, str]()
        return Decision(await self._decided(event, restored, scope, gone), scope, gone)

    async def _decided(
        self, event: ChangeEvent, restored: bool, scope: dict[str, Any], gone: dict[str, str]
    ) -> list[Invitation]:
        """Decides from the event if that is enough, else from the record, else from the lookups that `when` names."""
        wanted = self._holds(scope)
        if wanted is False:
            return []
        if missing := self._fields - known(event).keys():
            try:
                read = nested(missing, await self._read(event, missing))
            except Gone as error:
                return [self._suppressed(event, Reason.RECORD_GONE, str(error))]
            scope["record"] = {**read, **known(event)}
            wanted = self._holds(scope) if wanted is None else wanted
        if wanted is None:
            await self._lookups.read(scope, gone, self._behind_when)
            wanted = self._holds(scope)
        if not wanted:
            return []
        if restored:
            return [self._restored(event)]
        await self._lookups.read(scope, gone, self._survey.lookup.keys() - self._behind_when)
        return self._to_each(event, scope, gone)

    def _require_content(self, event: ChangeEvent, restored: bool) -> None:
        """Rejects an event that does not say which record changed, or what changed in it, if we need that (§B4)."""
        if _names_no_record(event):
            raise Rejected("many records changed and the event names none of them", code="gap")
        if event.change_type.startswith("GAP_") and self._asks_what_changed and not restored:
            raise Rejected("the survey asks what changed, and the event does not say", code="gap")

    def _holds(self, scope: Mapping[str, Any]) -> bool | None:
        """Whether `when` holds; None while that depends on what was not read yet."""
        when = self._survey.when
        try:
            return when is None or when.holds(scope)
        except Unread:
            return None if when is not None and when.may_hold(scope) else False

    async def _read(self, event: ChangeEvent, fields: frozenset[str]) -> Mapping[str, Any]:
        if event.change_type == "EVENT":
            raise Rejected(f"{event.entity} has no field {', '.join(sorted(fields))}", code="no_such_field")
        return await self._reader.read(event.entity, event.record_id, fields)

    def _to_each(self, event: ChangeEvent, scope: Mapping[str, Any], gone: Mapping[str, str]) -> list[Invitation]:
        left_out: list[str] = []
        values: dict[str, Any] = {
            "custom_attributes": rendered(self._survey.custom_attributes, scope, left_out),
            "built_in_responses": rendered(self._survey.built_in_responses, scope, left_out),
        }
        remark = "; ".join(left_out) or None
        each = self._addressees.of(scope, gone)
        if event.change_type == "EVENT" and self._survey.lookup:  # Salesforce keeps no record of it to check again
            values["event_fields"] = {name: event.fields[name] for name in self._fields & event.fields.keys()}
        values["protection"] = terms = protection(self._survey, event, scope, alone=len(each) == 1)
        invitations: list[Invitation] = []
        for place, (address, reason, detail) in enumerate(each):
            why, words = reason, detail
            if reason is None:
                person = address or event.record_id  # a link needs no address
                why, words = suppression(self.name, self._survey, person, terms, self._now())
            field = "email" if self._survey.phone is None else "phone"
            found = {field: address, "suppressed": why, "detail": words if why else remark}
            invitations.append(self._record(event, place, **found, **values))
        return invitations

    def _restored(self, event: ChangeEvent) -> Invitation:
        return self._suppressed(event, Reason.RESTORED, "the record came back from the recycle bin")

    def _suppressed(self, event: ChangeEvent, reason: Reason, detail: str) -> Invitation:
        return self._record(event, suppressed=reason, detail=detail)

    def _record(self, event: ChangeEvent, place: int = 0, **decided: Any) -> Invitation:
        """The invitation to the address at this `place` among the event's addresses.

        The id holds the place, and not the address: after a replay, a customer with a new address has the same id.
        """
        cause = (self.name, event.record_id, event.id)
        return Invitation(
            id=digest(*cause, str(place)) if place else digest(*cause),
            survey=self.name,
            account=self._survey.account,
            campaign=self._survey.campaign,
            channel=self._survey.channel,
            entity=event.entity,
            record_id=event.record_id,
            cause=event.id,
            created_at=self._now(),
            **{"email": None, **decided},
        )


def _names_no_record(event: ChangeEvent) -> bool:
    return "*" in event.record_id or event.record_id == _DUMMY_ID


def rendered(
    templates: Mapping[str, Template],
    scope: Mapping[str, Any],
    left_out: list[str],
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The values that are not empty. One that cannot be rendered costs only itself: `left_out` gets the reason.

    With the values of `before`, one that needs what is not known now stays as it was.
    """
    values: dict[str, Any] = {}
    for name, template in templates.items():
        try:
            values[name] = template.render(scope)
        except Unread:
            if before is None:
                raise
            values[name] = before.get(name)
        except RenderError as error:
            left_out.append(f"{name} is left out: {error}")
    return {name: value for name, value in values.items() if value is not None}
