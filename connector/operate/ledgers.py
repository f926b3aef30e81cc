"""What the sender of an account reads when it opens its ledger, for commands that say what it would do."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping

from connector.config import Config
from connector.kafka.inbound import InRecord
from connector.kafka.kept import Progress, kept
from connector.kafka.ledger import ATTEMPTS
from connector.kafka.waiting import WAITING, Waits, what_waits
from connector.protection import ContactProtection, Known
from connector.values.digests import digest_of


async def ledgers(
    config: Config, protection: ContactProtection, progress: Progress = lambda *_: None
) -> AsyncIterator[InRecord]:
    """The records of the ledgers and of what waits, in order per partition. Before that it tells the protection what
    its topics hold: the brake looks at people's decisions when it counts.

    Raises what `kept` raises.
    """
    prefix, takes = config.kafka.topic_prefix, protection.topics()
    async for record in kept(config.kafka, [prefix + name for name in takes], progress=progress):
        takes[record.topic.removeprefix(prefix)](record.key, record.value, record.offset)
    async for record in kept(config.kafka, [prefix + ATTEMPTS, prefix + WAITING], progress=progress):
        yield record


class WaitingNow:
    """The invitations on `pisano.waiting`. Call `take` for its records, then `tell`, and then `has`."""

    def __init__(self) -> None:
        self._waits: defaultdict[str, dict[bytes, Waits]] = defaultdict(dict)  # by account and the invitation's digest

    def take(self, record: InRecord) -> None:
        """Takes a record of the topic. Its key is the account and the invitation."""
        account, _, invitation = (record.key or b"").decode(errors="replace").rpartition("/")
        if record.value is None:
            self._waits[account].pop(digest_of(invitation), None)
        else:
            self._waits[account][digest_of(invitation)] = what_waits(record.headers)

    def tell(self, known: Mapping[str, Known]) -> None:
        """Tells the memories of these accounts, as a sender does when it opens its ledger."""
        for account, one in known.items():
            for survey, until, happened_at in self._waits[account].values():
                one.memory.waits(survey, happened_at, is_held=until is None)

    @property
    def accounts(self) -> set[str]:
        """The accounts of which an invitation waits or has waited."""
        return {*self._waits}

    def has(self, account: str, invitation: str) -> bool:
        """Whether the invitation with this id waits."""
        return digest_of(invitation) in self._waits.get(account, {})
