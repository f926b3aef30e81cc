"""What send would do now with invitations, from what is on the topics: for a dry run."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Self

from pydantic import ValidationError

from connector.config import Config
from connector.errors import Fatal, Rejected
from connector.kafka.inbound import InRecord
from connector.kafka.kept import Place, Progress
from connector.kafka.ledger import read_entry
from connector.kafka.waiting import WAITING
from connector.operate.ledgers import WaitingNow, ledgers
from connector.operate.protections import as_sent
from connector.operate.replay import Found, place_of
from connector.protection import ContactProtection, Known, Stop, Wait
from connector.records import Attempt, Invitation, Outcome, read
from connector.values.digests import Digests, digest_of

_OUTCOMES = tuple(Outcome)


class Sending:
    """What the senders of all accounts would know now, if they opened their ledgers. Make it with `load`.

    An invitation that would be sent counts as sent for those that come after it.
    """

    def __init__(self, config: Config) -> None:
        self._accounts = config.pisano
        self._protection = ContactProtection.of_config(config)
        self._known: dict[str, Known] = {name: self._protection.known(name) for name in config.pisano}
        # By account: an invitation's outcome, as its place in `_OUTCOMES`.
        self._settled: defaultdict[str, Digests] = defaultdict(lambda: Digests(width=1))
        self._waiting = WaitingNow()

    @classmethod
    async def load(cls, config: Config, progress: Progress = lambda *_: None) -> Self:
        """Reads the ledgers, what waits, and what people decided, from their start.

        Raises:
            Fatal: A topic does not exist, or a ledger cannot be read.
            Retryable: Kafka is away.
        """
        sending = cls(config)
        async for record in ledgers(config, sending._protection, progress):
            if record.topic == config.kafka.topic_prefix + WAITING:
                sending._waiting.take(record)
                continue
            try:
                sending._entry(record.value)
            except ValidationError as error:
                raise Fatal(f"{place_of(record)} is no ledger entry, so nobody knows who was e-mailed") from error
        sending._waiting.tell(sending._known)
        return sending

    async def work(self, lot: Sequence[InRecord]) -> list[Found]:
        """What would become of records of `pisano.invitations`."""
        return [self._record(record) for record in lot]

    def _record(self, record: InRecord) -> Found:
        place = place_of(record)
        try:
            return self.of(read(Invitation, record.value), place)
        except Rejected as error:
            return Found(place, "would be a dead letter", error.code, is_dead=True)

    def of(self, invitation: Invitation, place: Place) -> Found:
        """What would become of an invitation that the record at this place is, or makes."""
        what, reason, is_dead = self._decided(invitation)
        return Found(place, what, reason, invitation.id, is_dead)

    def elsewhere(self, invitation: Invitation) -> str | None:
        """The other account that has this invitation, for which its survey was configured before: nobody there knows
        of this one, so both would send it.
        """
        digest = digest_of(invitation.id)
        for account in {*self._settled, *self._waiting.accounts} - {invitation.account}:
            if digest in self._settled[account] or self._waiting.has(account, invitation.id):
                return account
        return None

    def _decided(self, invitation: Invitation) -> tuple[str, str | None, bool]:
        digest = digest_of(invitation.id)
        if invitation.account not in self._accounts:
            return "would be a dead letter", "unknown_account", True
        if (settled := self._settled[invitation.account].get(digest)) is not None:
            return "has its outcome already", str(_OUTCOMES[settled[0]]), False
        if self._waiting.has(invitation.account, invitation.id):
            return "waits already", None, False
        if invitation.suppressed is not None:
            return "would not be sent", str(invitation.suppressed), False
        what, reason = self._protected(invitation, datetime.now(UTC))
        return what, reason, False

    def _protected(self, invitation: Invitation, now: datetime) -> tuple[str, str | None]:
        known = self._known[invitation.account]
        known.memory.brakes.saw(invitation.survey, invitation.protection.happened_at)  # as the sender does
        match self._protection.policy.verdict(invitation, known, now):
            case Stop(reason=reason):
                return "would not be sent", str(reason)
            case Wait(reason=reason):
                return "would wait", str(reason)
        self._settle(invitation.account, invitation.id, Outcome.SENT)
        known.memory.settled(as_sent(self._protection, invitation, now), is_ours=True)
        return "would be sent", None

    def _entry(self, value: bytes | None) -> None:
        if value is None:
            return
        entry = read_entry(value)
        known = self._known.get(entry.account)
        if isinstance(entry, Attempt):
            if known:
                known.memory.called(entry)
            return
        self._settle(entry.account, entry.invitation, entry.outcome)
        if known:
            known.memory.settled(entry.model_dump(mode="json"), is_ours=False)

    def _settle(self, account: str, invitation: str, outcome: Outcome) -> None:
        self._settled[account].put(digest_of(invitation), bytes([_OUTCOMES.index(outcome)]))
