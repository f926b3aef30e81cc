"""Asks Kafka and Salesforce whether the connector can work there as it is configured. Changes nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from connector.config import Config, catalogue
from connector.errors import ConnectorError, Fatal
from connector.kafka import acls, preflight, topics
from connector.wiring.found import Found

Limits = Callable[[], Awaitable[Mapping[str, Any]]]
MayFollow = Callable[[str], Awaitable[bool]]

_FEW = 0.1  # of an allowance: what is left should last until midnight in California, when Salesforce counts anew


async def kafka(config: Config) -> AsyncIterator[Found]:
    """The topics, and what each stage needs of groups and transactions."""
    try:
        await topics.require(config.kafka, catalogue.topics_for(config))
    except ConnectorError as error:
        yield Found("error", f"Kafka: {error}")
        return
    yield Found("ok", "Kafka: every topic is there and kept for long enough")
    changes, prefix = [*catalogue.entity_topics(config).values()], config.kafka.topic_prefix
    reads = {
        "trigger": changes,
        "send": [f"{prefix}pisano.invitations"],
        "write": [f"{prefix}pisano.feedback"],
    }
    for stage, names in reads.items():
        try:
            await preflight.require(config.kafka, prefix + stage, names)
            if stage == "send":
                await preflight.require_transactions(config.kafka, stage)
        except ConnectorError as error:
            yield Found("error", f"Kafka: {stage} could not work: {error}")
        else:
            yield Found("ok", f"Kafka: {stage} may read its topics and join its group")
    for stage in ("capture", "trigger", "send", "receive", "write"):
        try:
            lacking = await preflight.missing(config.kafka, acls.rights(config, stage))
        except ConnectorError as error:
            yield Found("note", f"Kafka: what {stage} may do is not known: {error}")
            return
        if said := ", and ".join(f"{operation} on {', '.join(names)}" for operation, names in lacking.items()):
            yield Found(
                "note", f"Kafka: as this user, {stage} would lack {said}; `connector acls` prints what it needs"
            )


async def salesforce(config: Config, limits: Limits, may_follow: MayFollow) -> AsyncIterator[Found]:
    """The login, the day's allowances and the channels."""
    allowances: Mapping[str, Any] = {}
    try:
        allowances = await limits()
    except ConnectorError as error:
        if not isinstance(error, Fatal) or error.whole or "INSUFFICIENT_ACCESS" not in str(error):
            yield Found("error", f"Salesforce: {error}")
            return
        why = "the user may not ask, and need not: that takes View Setup and Configuration"
        yield Found("note", f"Salesforce: the day's allowances are not known; {why}")
    yield Found("ok", "Salesforce: the login works")
    for name, about in (
        ("DailyApiRequests", "API requests"),
        ("DailyDeliveredPlatformEvents", "events that a day may deliver"),
    ):
        if found := _allowance(about, allowances.get(name)):
            yield found
    for channel in config.salesforce.channels:
        try:
            may = await may_follow(channel)
        except ConnectorError as error:
            yield Found("error", f"Salesforce: {channel}: {error}")
        else:
            why = "the user may not subscribe; give View All or the event's read permission"
            yield Found("ok", f"Salesforce: {channel} can be followed") if may else Found("error", f"{channel}: {why}")


def _allowance(about: str, found: Any) -> Found | None:
    if not isinstance(found, dict) or not isinstance(found.get("Max"), int) or found["Max"] <= 0:
        return None
    left = int(found.get("Remaining") or 0)
    said = f"Salesforce: {left:,} of {found['Max']:,} {about} are left today"
    return Found("warning" if left < _FEW * found["Max"] else "ok", said)
