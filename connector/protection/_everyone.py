"""Contact protection of a whole process: one policy, and what is known of the persons, account by account."""

from collections.abc import Callable, Mapping

from connector.config import ProtectAll, Survey
from connector.protection._actions import Actions
from connector.protection._brake import Brakes
from connector.protection._memory import Memory
from connector.protection._people import People
from connector.protection._persons import Hashes
from connector.protection._policy import Known, Policy

Take = Callable[[bytes | None, bytes | None], None]


class ContactProtection:
    """`surveys` and `over_all` are the configuration. `people` and `actions` are shared by all accounts."""

    def __init__(self, surveys: Mapping[str, Survey], over_all: ProtectAll) -> None:
        key = over_all.hash_key
        self.surveys = surveys
        self.over_all = over_all
        self.hashes = Hashes(key.get_secret_value() if key else None)
        self.people = People(self.hashes, over_all.answered_by)
        self.actions = Actions()
        self.policy = Policy(surveys, over_all)

    def topics(self) -> dict[str, Take]:
        """The topics that it learns from, beside the ledgers, and what takes a record's key and value."""
        takes: dict[str, Take] = {"pisano.suppressions": self.people.listed, "connector.actions": self.actions.take}
        counts = {self.over_all.counts, *(survey.protect.counts for survey in self.surveys.values())}
        if counts != {"invitations"}:
            takes["pisano.feedback"] = lambda _, value: self.people.answered(value)
        return takes

    def known(self, account: str) -> Known:
        """Nothing is known of the account yet: its ledger has to tell the memory."""
        brakes = Brakes(account, self.surveys, self.actions)
        return Known(Memory(self.surveys, self.over_all, self.hashes, brakes), self.people)
