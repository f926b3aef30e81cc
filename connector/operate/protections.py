"""What contact protection would do with invitations now, from what is on the topics."""

from collections.abc import Callable, Sequence
from datetime import datetime

from connector.config import Config
from connector.kafka.inbound import InRecord
from connector.kafka.kept import kept
from connector.kafka.ledger import ATTEMPTS, Memory, read_entry
from connector.protection import ContactProtection, Stop, Verdict, Wait
from connector.records import Attempt, Invitation


async def verdicts(config: Config, account: str, invitations: Sequence[Invitation], now: datetime) -> list[Verdict]:
    """What the policy says about an account's invitations, with what its sender would know.

    That is the ledger, the suppression list, the answers and the operators' decisions.

    It reads these topics from their start, which may take a minute for millions of records.

    Raises:
        Fatal: A topic does not exist.
        Retryable: Kafka is away.
    """
    protection = ContactProtection(config.surveys, config.protect)
    known = protection.known(account)
    prefix = config.kafka.topic_prefix
    takes: dict[str, Callable[[InRecord], None]] = {
        prefix + "pisano.suppressions": lambda record: protection.people.listed(record.key, record.value),
        prefix + "connector.actions": lambda record: protection.actions.take(record.key, record.value),
        prefix + "pisano.feedback": lambda record: protection.people.answered(record.value),
        prefix + ATTEMPTS: lambda record: _remember(known.memory, account, record),
    }
    async for record in kept(config.kafka, list(takes)):
        takes[record.topic](record)
    return [protection.policy.verdict(invitation, known, now) for invitation in invitations]


def words(verdict: Verdict) -> str:
    """A verdict for a person to read."""
    match verdict:
        case Wait(until=None, reason=reason):
            return f"waits for a person to decide ({reason})"
        case Wait(until=until, reason=reason):
            return f"waits until {until:%F %T} UTC ({reason}), and is asked again then"
        case Stop(outcome=outcome, reason=reason, detail=detail):
            return f"not sent: {outcome} ({reason})" + (f": {detail}" if detail else "")
    return "nothing holds it: it would be sent with the next call"


def _remember(memory: Memory, account: str, record: InRecord) -> None:
    if record.value is None:
        return
    entry = read_entry(record.value)
    if entry.account != account:
        return
    if isinstance(entry, Attempt):
        memory.called(entry)
    else:
        memory.settled(entry.model_dump(mode="json"))
