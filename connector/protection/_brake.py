"""The brake: more invitations of a survey than usual wait until a person has decided about them."""

import hashlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from connector.config import Survey
from connector.decisions import Action
from connector.protection._actions import Actions
from connector.protection._verdict import Stop, Wait
from connector.reasons import Reason
from connector.records import Invitation, Outcome

_PARTS = 12  # of the brake's time, in which invitations are counted
_MOST_PARTS = 20_000  # counters of a survey in memory: two months of them for a brake of one hour

Told = Callable[[str, str | None], None]


class Brakes:
    """The brakes of one account's surveys. Invitations count at the time of their change, so a replay counts the same.

    A decision is about every invitation whose change was made before it; later ones are counted anew. `told(survey,
    why)` is called when a survey begins to wait for a person, and with None when it ends to.
    """

    def __init__(self, surveys: Mapping[str, Survey], actions: Actions) -> None:
        self.told: Told = lambda *_: None
        self._surveys = surveys
        self._actions = actions
        # When the change was made with which the survey was held, and the latest changes since then.
        self._held: dict[str, tuple[datetime, deque[datetime]]] = {}
        self._counted: defaultdict[tuple[str, str], Counter[int]] = defaultdict(Counter)

    def saw(self, survey: str, happened_at: datetime | None) -> None:
        """Counts an invitation that would be sent, or that was sent. Call this once for each."""
        brake = self._surveys[survey].protect.brake if survey in self._surveys else None
        decided = self._actions.brake(survey)
        if brake is None or happened_at is None or (decided and happened_at <= decided.at):
            return
        counted = self._counted[survey, decided.id if decided else ""]
        part = int(happened_at.timestamp() // (brake.seconds / _PARTS))
        counted[part] += 1
        around = [counted.get(part + offset, 0) for offset in range(1 - _PARTS, _PARTS)]
        if any(sum(around[start : start + _PARTS]) > brake.limit for start in range(_PARTS)):
            self._hold(survey, happened_at)
        if survey in self._held:
            self._held[survey][1].append(happened_at)
        if len(counted) > _MOST_PARTS:
            for old in sorted(counted)[: _MOST_PARTS // 2]:
                del counted[old]

    def hold(self, survey: str) -> None:
        """Holds a survey of which invitations waited for a person when the sender was opened."""
        if survey in self._surveys:  # else they end: the policy stops what belongs to no survey
            self._hold(survey, datetime.min.replace(tzinfo=UTC))

    def verdict(self, invitation: Invitation, now: datetime) -> Wait | Stop | None:
        """None when the brake does not stop the invitation."""
        survey, action = invitation.survey, self._actions.brake(invitation.survey)
        if action and survey in self._held and self._held[survey][0] <= action.at:
            _, seen = self._held.pop(survey)
            self.told(survey, None)
            for happened_at in seen:
                self.saw(survey, happened_at)  # counts those that the decision is not about
        if action := self._actions.braked(invitation):
            if action.decision == "drop":
                return Stop(Outcome.SUPPRESSED, Reason.DROPPED, f"by {action.by}: {action.reason}", action.id)
            turn = _turn(invitation, action)
            return Wait(turn, Reason.BRAKE) if turn > now else None
        return Wait(None, Reason.BRAKE) if survey in self._held else None

    def _hold(self, survey: str, happened_at: datetime) -> None:
        if survey not in self._held:
            brake = self._surveys[survey].protect.brake
            self._held[survey] = happened_at, deque(maxlen=brake.limit + 1 if brake else 0)
            self.told(survey, f"more than {brake} invitations" if brake else "a brake that was taken out held them")


def _turn(invitation: Invitation, action: Action) -> datetime:
    """When the invitation's turn is: with `spread`, at a moment in the chosen days that only its id decides."""
    if action.decision != "spread":
        return action.at
    share = int.from_bytes(hashlib.sha256(invitation.id.encode()).digest()[:4]) / (1 << 32)
    return action.at + timedelta(days=float(action.params["days"]) * share)
