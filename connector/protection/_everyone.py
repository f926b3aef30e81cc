"""Contact protection of a whole process: one policy, and what is known of the persons, account by account."""

from collections.abc import Mapping

from connector.config import ProtectAll, Survey
from connector.protection._memory import Memory
from connector.protection._people import People
from connector.protection._persons import Hashes
from connector.protection._policy import Known, Policy


class ContactProtection:
    """`surveys` and `over_all` are the configuration. `people` is shared by all accounts."""

    def __init__(self, surveys: Mapping[str, Survey], over_all: ProtectAll) -> None:
        key = over_all.hash_key
        self.surveys = surveys
        self.over_all = over_all
        self.hashes = Hashes(key.get_secret_value() if key else None)
        self.people = People(self.hashes, over_all.answered_by)
        self.policy = Policy(surveys, over_all)

    def known(self, account: str) -> Known:
        """Nothing is known of the account yet: its ledger has to tell the memory."""
        return Known(Memory(account, self.surveys, self.over_all, self.hashes), self.people)
