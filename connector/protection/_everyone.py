"""Contact protection of a whole process: one policy, and what is known of the persons, account by account."""

from collections.abc import Callable, Mapping
from typing import Self

from connector.config import Config, Phones, ProtectAll, Survey
from connector.protection._actions import Actions
from connector.protection._brake import Brakes
from connector.protection._claims import CLAIMS, Claims
from connector.protection._memory import Memory
from connector.protection._people import People
from connector.protection._persons import Hashes
from connector.protection._policy import Known, Policy

Take = Callable[[bytes | None, bytes | None, int], None]


class ContactProtection:
    """`surveys`, `over_all` and `phones`, which is by account, are the configuration. `people` and `actions` are shared
    by all accounts.
    """

    def __init__(
        self, surveys: Mapping[str, Survey], over_all: ProtectAll, phones: Mapping[str, Phones] | None = None
    ) -> None:
        self.surveys = surveys
        self.over_all = over_all
        self.hashes = Hashes.of_config(over_all)
        self.people = People(self.hashes, over_all.answered_by, phones or {})
        self.actions = Actions()
        accounts = _counted(surveys, over_all, phones or {})
        self.claims = Claims(accounts) if len(accounts) > 1 else None
        self.policy = Policy(surveys, over_all)

    @classmethod
    def of_config(cls, config: Config) -> Self:
        """The protection that the configuration wants."""
        phones = {name: account.phones for name, account in config.pisano.items()}
        return cls(config.surveys, config.protect, phones)

    def topics(self) -> dict[str, Take]:
        """The topics that it learns from, beside the ledgers, and what takes a record's key, value and offset."""
        takes: dict[str, Take] = {
            "pisano.suppressions": lambda key, value, _: self.people.listed(key, value),
            "connector.actions": lambda key, value, _: self.actions.take(key, value),
        }
        if self.claims is not None:
            takes[CLAIMS] = self.claims.take
        counts = {self.over_all.counts, *(survey.protect.counts for survey in self.surveys.values())}
        if counts != {"invitations"}:
            takes["pisano.feedback"] = lambda _, value, __: self.people.answered(value)
        return takes

    def known(self, account: str) -> Known:
        """Nothing is known of the account yet: its ledger has to tell the memory."""
        brakes = Brakes(self.surveys, self.actions)
        return Known(Memory(self.surveys, self.over_all, self.hashes, brakes), self.people, account, self.claims)


def _counted(surveys: Mapping[str, Survey], over_all: ProtectAll, phones: Mapping[str, Phones]) -> set[str]:
    """The accounts whose invitations count for `once_per_any`: also those whose surveys were taken out of the file."""
    if over_all.once_per_any is None or over_all.counts == "answers":
        return set()
    return {*phones, *(survey.account for survey in surveys.values() if not survey.protect.except_from_any)}
