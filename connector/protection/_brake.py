"""The brake: more invitations of a survey than usual wait until a person has decided about them."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

from connector.config import Survey
from connector.decisions import Action
from connector.protection._verdict import Stop, Wait
from connector.reasons import Reason
from connector.records import Invitation, Outcome

_PARTS = 12  # of the brake's time, in which invitations are counted
_MOST_PARTS = 20_000  # counters of a survey in memory: two months of them for a brake of one hour


class Brakes:
    """The brakes of one account's surveys. Invitations count at the time of their change, so a replay counts the same.

    `held` has the surveys that wait for a person. A decision is about every invitation whose change was made before it;
    later ones are counted anew.
    """

    def __init__(self, account: str, surveys: Mapping[str, Survey]) -> None:
        self.held: set[str] = set()
        self._account = account
        self._surveys = surveys
        self._counted: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._decided: dict[str, Action] = {}

    def saw(self, survey: str, happened_at: datetime | None) -> None:
        """Counts an invitation that would be sent, or that was sent. Call this once for each."""
        brake = self._surveys[survey].protect.brake if survey in self._surveys else None
        decided = self._decided.get(survey)
        if brake is None or happened_at is None or (decided and happened_at <= decided.at):
            return
        counted, part = self._counted[survey], int(happened_at.timestamp() // (brake.seconds / _PARTS))
        counted[part] += 1
        around = [counted[part + offset] for offset in range(1 - _PARTS, _PARTS)]
        if any(sum(around[start : start + _PARTS]) > brake.limit for start in range(_PARTS)):
            self.held.add(survey)
        if len(counted) > _MOST_PARTS:
            for old in sorted(counted)[: _MOST_PARTS // 2]:
                del counted[old]

    def hold(self, survey: str) -> None:
        """Holds a survey of which invitations waited for a person when the sender was opened."""
        self.held.add(survey)

    def decide(self, action: Action) -> None:
        """Takes a person's decision, if it is about a brake of this account."""
        account, _, survey = action.target.partition("/")
        before = self._decided.get(survey)
        if action.kind == "brake" and account == self._account and (before is None or before.at <= action.at):
            self._decided[survey] = action
            self.held.discard(survey)
            self._counted.pop(survey, None)

    def verdict(self, invitation: Invitation, now: datetime) -> Wait | Stop | None:
        """None when the brake does not stop the invitation."""
        action = self._decided.get(invitation.survey)
        if action and (invitation.protection.happened_at or invitation.created_at) <= action.at:
            if action.decision == "drop":
                return Stop(Outcome.SUPPRESSED, Reason.DROPPED, f"by {action.by}: {action.reason}", action.id)
            turn = _turn(invitation, action)
            return Wait(turn, Reason.BRAKE) if turn > now else None
        return Wait(None, Reason.BRAKE) if invitation.survey in self.held else None


def _turn(invitation: Invitation, action: Action) -> datetime:
    """When the invitation's turn is: with `spread`, at a moment in the chosen days that only its id decides."""
    if action.decision != "spread":
        return action.at
    share = int.from_bytes(hashlib.sha256(invitation.id.encode()).digest()[:4]) / (1 << 32)
    return action.at + timedelta(days=float(action.params["days"]) * share)
