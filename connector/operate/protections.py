"""What contact protection would do with invitations now, from what is on the topics."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from connector.config import Config
from connector.errors import ConnectorError
from connector.kafka.ledger import Memory, read_entry
from connector.kafka.waiting import WAITING
from connector.operate.ledgers import WaitingNow, ledgers
from connector.operate.preview import Ready
from connector.protection import ContactProtection, Stop, Verdict, Wait
from connector.records import Attempt, Invitation, Outcome, Settlement


async def verdicts(config: Config, account: str, invitations: Sequence[Invitation], now: datetime) -> list[Verdict]:
    """What the policy says about an account's invitations, with what its sender would know.

    That is the ledger, what waits, the suppression list, the answers and the operators' decisions.

    It reads these topics from their start, which may take a minute for millions of records.

    Raises:
        Fatal: A topic does not exist.
        Retryable: Kafka is away.
    """
    protection = ContactProtection.of_config(config)
    known = protection.known(account)
    waiting, new = WaitingNow(), {invitation.id: invitation for invitation in invitations}
    async for record in ledgers(config, protection):
        if record.topic == config.kafka.topic_prefix + WAITING:
            waiting.take(record)
        elif settled := _remember(known.memory, account, record.value):
            new.pop(settled.invitation, None)
    waiting.tell({account: known})
    for one in new.values():
        if not waiting.has(account, one.id):
            known.memory.brakes.saw(one.survey, one.protection.happened_at)  # as the sender does when it comes
    return [protection.policy.verdict(invitation, known, now) for invitation in invitations]


async def protected(config: Config, account: str, ready: Sequence[Ready], now: datetime) -> list[Ready]:
    """Adds to what a preview found what the contact protection says. Without Kafka, nobody knows."""
    sent = [one for one in ready if one.body is not None]
    try:
        found = await verdicts(config, account, [one.invitation for one in sent], now) if sent else []
        said = [words(verdict) for verdict in found]
    except ConnectorError as error:
        said = [f"not known: {error}"] * len(sent)
    by_id = {one.invitation.id: text for one, text in zip(sent, said, strict=True)}
    return [replace(one, protection=by_id.get(one.invitation.id)) for one in ready]


def as_sent(protection: ContactProtection, invitation: Invitation, at: datetime) -> dict[str, Any]:
    """The settlement of an invitation that is sent at this time, for a memory. It is one of ours: `brakes.saw` has
    counted the invitation."""
    happened_at = invitation.protection.happened_at
    return {
        "invitation": invitation.id,
        "survey": invitation.survey,
        "record_id": invitation.record_id,
        "outcome": Outcome.SENT,
        "persons": protection.hashes.persons(invitation.protection.contact, invitation.address),
        "cap": invitation.protection.cap and protection.hashes.of(invitation.protection.cap),
        "action": None,
        "happened_at": happened_at.isoformat() if happened_at else None,
        "at": at.isoformat(),
    }


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


def _remember(memory: Memory, account: str, value: bytes | None) -> Settlement | None:
    entry = None if value is None else read_entry(value)
    if entry is None or entry.account != account:
        return None
    if isinstance(entry, Attempt):
        memory.called(entry)
        return None
    memory.settled(entry.model_dump(mode="json"), is_ours=False)
    return entry
