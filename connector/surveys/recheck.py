"""Checks right before the call whether what was true when an invitation was decided is still true."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connector.config import Phones, Survey
from connector.errors import Rejected
from connector.reasons import Reason
from connector.records import Invitation, digest
from connector.surveys.invitations import NO_REGION, SurveyRule
from connector.surveys.reader import Reader
from connector.surveys.scopes import nested
from connector.templates import Unread, Values


@dataclass(frozen=True)
class NoLonger:
    """Why an invitation must not be sent any more."""

    reason: Reason
    detail: str | None


class _Now(dict[str, Any]):
    """What Salesforce has now. What only the change event said is unknown."""

    def __missing__(self, name: str) -> Any:
        raise Unread(name)


class Recheck:
    """`after` has the seconds by survey after which an invitation is checked again; a survey that is missing: never.

    `phones` has the accounts' settings.
    """

    def __init__(
        self, surveys: Mapping[str, Survey], reader: Reader, phones: Mapping[str, Phones] | None = None
    ) -> None:
        self.after = {
            name: survey.protect.recheck_after
            for name, survey in surveys.items()
            if survey.protect.recheck_after != "never" and (survey.lookup or not survey.on.endswith("__e"))
        }
        self._rules = {
            name: _Rule(name, survey, reader, phones=(phones or {}).get(survey.account, NO_REGION))
            for name, survey in surveys.items()
        }

    async def check(self, invitation: Invitation) -> Invitation | NoLonger:
        """The invitation with the address that the person has now, or why it is not sent.

        Raises:
            Rejected: A template cannot be rendered with the record as it is now.
            Fatal, Lasts: From reading Salesforce.
        """
        return await self._rules[invitation.survey].check(invitation)


class _Rule(SurveyRule):
    async def check(self, invitation: Invitation) -> Invitation | NoLonger:
        try:
            scope, gone = _Now(record=await self._record_now(invitation)), dict[str, str]()
        except Rejected as error:
            if error.code not in {"record_gone", "no_record"}:
                raise
            return NoLonger(Reason.RECORD_GONE, str(error))
        scope |= {name: Values({}) for name in self._survey.lookup}
        try:
            return await self._decide_now(invitation, scope, gone)
        except Unread:
            return invitation  # it depends on what only the change event said

    async def _record_now(self, invitation: Invitation) -> Mapping[str, Any]:
        """What Salesforce has now. A platform event stays as it was, and only its lookups are read anew."""
        if self._survey.on.endswith("__e"):
            return Values({"Id": invitation.record_id, **invitation.event_fields})
        row = await self._reader.read(invitation.entity, invitation.record_id, self._fields | {"Id"})
        return nested(self._fields | {"Id"}, row)

    async def _decide_now(
        self, invitation: Invitation, scope: dict[str, Any], gone: dict[str, str]
    ) -> Invitation | NoLonger:
        if self._survey.when is not None:
            for lookups in (frozenset[str](), self._behind_when):
                await self._lookups.read(scope, gone, lookups)
                if not self._survey.when.may_hold(scope):
                    return NoLonger(Reason.NO_LONGER_TRUE, f"`when` does not hold any more: {self._survey.when.source}")
        await self._lookups.read(scope, gone, self._survey.lookup.keys() - self._behind_when)
        each = self._addressees(scope, gone)
        place = self._place(invitation, len(each))
        if place is None:
            return NoLonger(Reason.NO_ADDRESS, "the record has fewer addresses now")
        address, reason, detail = each[place]
        field = "email" if self._survey.phone is None else "phone"
        return NoLonger(reason, detail) if reason else invitation.model_copy(update={field: address})

    def _place(self, invitation: Invitation, count: int) -> int | None:
        """The place of the invitation's address among the event's addresses; its id holds it."""
        cause = (self.name, invitation.record_id, invitation.cause)
        ids = [digest(*cause), *(digest(*cause, str(place)) for place in range(1, count))]
        return ids.index(invitation.id) if invitation.id in ids else None
