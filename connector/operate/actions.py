"""Writes the decisions of operators, which the owner of the account carries out."""

import uuid
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ValidationError

from connector.config import Config, Kafka, Protect
from connector.decisions import Action, Kind
from connector.errors import Fatal, Rejected
from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.dead_letters import DEAD_LETTERS
from connector.kafka.kept import kept
from connector.kafka.ledger import ATTEMPTS, read_entry
from connector.kafka.waiting import WAITING, what_waits
from connector.operate._writing import written
from connector.records import Invitation, Outcome, Settlement, read

ACTIONS = "connector.actions"
INVITATIONS = "pisano.invitations"

_DAY = 86400.0  # seconds
_FEWEST_DAYS = 0.1  # a brake of less is none
_MOST_DAYS = 30  # then nobody remembers what the survey was about


async def settle(
    config: Config, id_: str, decision: Literal["sent", "resend", "drop"], *, by: str, reason: str
) -> Action:
    """Decides about an invitation whose outcome is unknown.

    Raises:
        Fatal: There is no such invitation, its outcome is another one, or its record is gone.
    """
    settlement = await _settlement(config, id_)
    if settlement.outcome is not Outcome.UNKNOWN:
        raise Fatal(f"the outcome of the invitation {id_} is {settlement.outcome}: only an unknown one can be settled")
    invitation = await _invitation(config, id_)
    target = f"{settlement.account}/{id_}"
    params = {"invitation": invitation.model_dump(mode="json"), "unknown_at": settlement.at.isoformat()}
    return await write(config, action_of("settle", target, decision, by=by, reason=reason, params=params))


async def brake(
    config: Config, survey: str, decision: Literal["release", "drop", "spread"], days: float, *, by: str, reason: str
) -> Action:
    """Decides about the invitations that a survey's brake holds.

    Raises:
        Fatal: There is no such survey, it has no brake and none of its invitations waits for a person, or the days are
            too few or too many, also for the survey's own limits.
    """
    if survey not in config.surveys:
        raise Fatal(f"there is no survey {survey} in the configuration; there is {', '.join(sorted(config.surveys))}")
    if not _FEWEST_DAYS <= days <= _MOST_DAYS:
        raise Fatal(f"nothing was done: an invitation can be spread over {_FEWEST_DAYS} to {_MOST_DAYS} days")
    if decision == "spread":
        _require_in_time(survey, config.surveys[survey].protect, days)
    if config.surveys[survey].protect.brake is None and not await _waits_for_a_person(config.kafka, survey):
        raise Fatal(
            f"nothing was done: {survey} has no `brake`, and none of its invitations waits for a person. Was another"
            " survey meant? A decision would also be about what waits for other reasons, such as a `delay`"
        )
    target, params = f"{config.surveys[survey].account}/{survey}", {"days": days} if decision == "spread" else {}
    return await write(config, action_of("brake", target, decision, by=by, reason=reason, params=params))


async def _waits_for_a_person(kafka: Kafka, survey: str) -> bool:
    """Also when the brake that held the invitations was taken out of the configuration since."""
    held: set[bytes | None] = set()
    async for record in kept(kafka, [kafka.topic_prefix + WAITING]):
        waits = None if record.value is None else what_waits(record.headers)
        (held.add if waits and waits.survey == survey and waits.until is None else held.discard)(record.key)
    return bool(held)


def _require_in_time(survey: str, protect: Protect, days: float) -> None:
    """Raises Fatal when invitations would have their turn after they have ended."""
    lasts = {"expires_after": protect.expires_after, "max_age": protect.max_age}
    name, most = min(((name, each) for name, each in lasts.items() if each is not None), key=lambda pair: pair[1])
    if days * _DAY > most:
        raise Fatal(
            f"nothing was done: with `{name}: {most / _DAY:g}d` of {survey}, many that are spread over {days:g} days"
            " would end before their turn. Spread them over fewer days, or release them"
        )


def action_of(kind: Kind, target: str, decision: str, *, by: str, reason: str, params: Any = None) -> Action:
    """A decision that is made now."""
    return Action(
        id=uuid.uuid4().hex,
        kind=kind,
        target=target,
        decision=decision,
        by=by,
        reason=reason,
        at=datetime.now(UTC),
        params=params or {},
    )


def record_of(kafka: Kafka, action: Action) -> OutRecord:
    """The action in the form for its topic."""
    return to_record(
        kafka.topic_prefix + ACTIONS,
        action.target,
        action,
        ce_type=f"connector.action.{action.kind}",
        ce_source="/command-line",
        ce_id=action.id,
        ce_time=action.at,
    )


async def trail(kafka: Kafka) -> list[Action]:
    """The decisions that the topic holds, the newest first, without the invitations that some hold.

    Raises what `kept` raises.

    The topic keeps the last decision about each target.
    """
    found: dict[str, Action] = {}
    async for record in kept(kafka, [kafka.topic_prefix + ACTIONS]):
        if record.value is None:
            found.pop((record.key or b"").decode(errors="replace"), None)
            continue
        try:
            action = read(Action, record.value)
        except Rejected:
            continue  # the sender says so
        found[action.target] = without_invitation(action)
    return sorted(found.values(), key=lambda action: action.at, reverse=True)


def without_invitation(action: Action) -> Action:
    """The same action without the invitation that it may hold."""
    return action.model_copy(
        update={"params": {name: it for name, it in action.params.items() if name != "invitation"}}
    )


async def write(config: Config, action: Action) -> Action:
    """Returns when the action is durable. Raises what `Publisher` raises."""
    await written(config.kafka, [record_of(config.kafka, action)])
    return action


async def _settlement(config: Config, id_: str) -> Settlement:
    found: Settlement | None = None
    async for record in kept(config.kafka, [config.kafka.topic_prefix + ATTEMPTS]):
        if record.value is not None and (record.key or b"").endswith(f"/{id_}".encode()):
            entry = read_entry(record.value)
            found = entry if isinstance(entry, Settlement) else found
    if found is None:
        raise Fatal(f"there is no outcome of an invitation {id_}")
    return found


async def _invitation(config: Config, id_: str) -> Invitation:
    for topic in (INVITATIONS, DEAD_LETTERS):  # a letter holds its record whole, and is kept for longer
        async for record in kept(config.kafka, [config.kafka.topic_prefix + topic]):
            if id_.encode() in (record.value or b""):
                try:
                    invitation = Invitation.model_validate_json(record.value or b"")
                except ValidationError:
                    continue
                if invitation.id == id_:
                    return invitation
    raise Fatal(
        f"the record of the invitation {id_} is no longer on {INVITATIONS} or {DEAD_LETTERS}, so nobody can settle it"
    )
