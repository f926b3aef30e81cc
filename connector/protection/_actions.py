"""The decisions of operators about invitations, as `connector.actions` has them: the latest for each target."""

from collections import defaultdict
from collections.abc import Callable

from connector.decisions import Action
from connector.errors import Rejected
from connector.records import Invitation, read

_OURS = {"settle", "brake", "erase"}


class Actions:
    """`take` takes each record of the topic. A listener is called after each decision about invitations."""

    def __init__(self) -> None:
        self._latest: dict[str, Action] = {}
        self._brakes: defaultdict[str, dict[str, Action]] = defaultdict(dict)  # by survey and target
        self._listeners: set[Callable[[], None]] = set()

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """Takes an action, or the end of what a key says. Raises Rejected when it cannot be read."""
        target = (key or b"").decode(errors="replace")
        _, _, survey = target.partition("/")
        if value is None:
            self._latest.pop(target, None)
            self._brakes.get(survey, {}).pop(target, None)
            return
        action = read(Action, value)
        if action.target != target:
            raise Rejected(f"the action's target is {action.target}, and its key {target}", code="unreadable")
        if action.kind not in _OURS:
            return  # a person may work off a hundred thousand dead letters, and no sender needs to remember them
        of_kind = self._brakes[survey] if action.kind == "brake" else self._latest
        of_kind[target] = action
        for listener in list(self._listeners):
            listener()

    def brake(self, survey: str) -> Action | None:
        """The latest decision about a survey's brake, for all accounts: the survey may have had another one before."""
        return max(self._brakes.get(survey, {}).values(), key=lambda action: action.at, default=None)

    def braked(self, invitation: Invitation) -> Action | None:
        """The latest decision about the brake of the invitation's survey, if its change was made before it."""
        action = self.brake(invitation.survey)
        happened_at = invitation.protection.happened_at or invitation.created_at
        return action if action and happened_at <= action.at else None

    def about_invitations(self, account: str) -> list[Action]:
        """The decisions about single invitations of the account: `settle` and `erase`."""
        return [action for target, action in self._latest.items() if target.startswith(f"{account}/")]

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls the listener after each action; the result ends that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)
