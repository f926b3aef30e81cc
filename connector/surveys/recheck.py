"""Checks right before the call whether what was true when an invitation was decided is still true."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from connector.config import Phones, Survey
from connector.errors import Rejected
from connector.reasons import Reason
from connector.records import Invitation, digest
from connector.surveys.addressees import Addressee
from connector.surveys.invitations import NO_REGION, SurveyRule, rendered
from connector.surveys.protection import renewed
from connector.surveys.reader import Reader
from connector.surveys.scopes import nested
from connector.templates import Unread, Values


@dataclass(frozen=True)
class NoLonger:
    """Why an invitation must not be sent any more."""

    reason: Reason
    detail: str | None


class _Now(dict[str, Any]):
    """What Salesforce has now. `changed` and `nulled` are unknown: only the change event said them."""

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
        """The invitation to the person and the address that the record has now, or why it is not sent.

        Raises:
            Rejected: A template cannot be rendered with the record as it is now.
            Fatal, Lasts: From reading Salesforce.
        """
        return await self._rules[invitation.survey].check(invitation)


class _Rule(SurveyRule):
    async def check(self, invitation: Invitation) -> Invitation | NoLonger:
        try:
            scope = _Now(record=await self._record_now(invitation), event=_event(invitation))
        except Rejected as error:
            if error.code not in {"record_gone", "no_record"}:
                raise
            return NoLonger(Reason.RECORD_GONE, str(error))
        scope |= {name: Values({}) for name in self._survey.lookup}
        try:
            return await self._decide_now(invitation, scope)
        except Unread:
            return invitation  # a lookup depends on what only the change event said

    async def _record_now(self, invitation: Invitation) -> Mapping[str, Any]:
        """What Salesforce has now. A platform event stays as it was, and only its lookups are read anew."""
        if self._survey.on.endswith("__e"):
            return Values({"Id": invitation.record_id, **invitation.event_fields})
        row = await self._reader.read(invitation.entity, invitation.record_id, self._fields | {"Id"})
        return nested(self._fields | {"Id"}, row)

    async def _decide_now(self, invitation: Invitation, scope: dict[str, Any]) -> Invitation | NoLonger:
        gone: dict[str, str] = {}
        if self._survey.when is not None:
            for lookups in (frozenset[str](), self._behind_when):
                await self._lookups.read(scope, gone, lookups)
                if not self._survey.when.may_hold(scope):
                    return NoLonger(Reason.NO_LONGER_TRUE, f"`when` does not hold any more: {self._survey.when.source}")
        await self._lookups.read(scope, gone, self._survey.lookup.keys() - self._behind_when)
        with suppress(Unread):
            if out := self._addressees.opted_out(scope, gone):
                return NoLonger(out.reason or Reason.OPTED_OUT, out.detail)
        try:
            each = self._addressees.addresses(scope, gone)
        except Unread:
            return invitation  # the address depends on what only the change event said, so the person stays, too
        found = self._addressee_now(invitation, each)
        if found.reason:
            return NoLonger(found.reason, found.detail)
        field = "email" if self._survey.phone is None else "phone"
        to = invitation.model_copy(update={field: found.address})
        return self._renewed(to, scope, alone=len(each) == 1)

    def _addressee_now(self, invitation: Invitation, each: Sequence[Addressee]) -> Addressee:
        """The invitation's own address if it is still among them, else the one at its place; its id holds that."""
        own = (invitation.address or "").lower()
        if still := [one for one in each if one.address and one.address.lower() == own]:
            return still[0]
        cause = (self.name, invitation.record_id, invitation.cause)
        ids = [digest(*cause), *(digest(*cause, str(place)) for place in range(1, len(each)))]
        if invitation.id not in ids:
            return Addressee(None, Reason.NO_ADDRESS, "the record has fewer addresses now")
        return each[ids.index(invitation.id)]

    def _renewed(self, invitation: Invitation, scope: Mapping[str, Any], *, alone: bool) -> Invitation:
        """What is about the person is that of the person now; the answers only if it is another one."""
        before, survey = invitation.protection, self._survey
        terms = renewed(before, survey, scope, alone=alone)
        new: dict[str, Any] = {
            "protection": terms,
            "custom_attributes": rendered(survey.custom_attributes, scope, [], invitation.custom_attributes),
        }
        if (terms.contact or terms.owner) != (before.contact or before.owner):
            new["built_in_responses"] = rendered(survey.built_in_responses, scope, [], invitation.built_in_responses)
        return invitation.model_copy(update=new)


def _event(invitation: Invitation) -> Values:
    """What an invitation still knows of its change event."""
    happened_at = invitation.protection.happened_at
    return Values(
        {
            "id": invitation.cause,
            "entity": invitation.entity,
            "record_id": invitation.record_id,
            **({"committed_at": happened_at.isoformat()} if happened_at else {}),
        }
    )
