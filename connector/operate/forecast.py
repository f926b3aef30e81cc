"""What all surveys would have done with the change events that are kept: how many invitations, and why not more."""

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from connector.config import Account, Config, catalogue
from connector.errors import Rejected
from connector.kafka.kept import Progress, kept
from connector.operate.protections import as_sent
from connector.protection import ContactProtection, Go, Known, Stop, Wait
from connector.records import ChangeEvent, Invitation, read
from connector.salesforce import client_of
from connector.surveys.invitations import SurveyRule
from connector.surveys.reader import Reader


@dataclass
class Forecast:
    """Of one survey. `not_invited` and `waits` count by reason; `refused` counts dead letters by their code."""

    survey: str
    events: int = 0
    invited: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    not_invited: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def counters(self) -> tuple[Counter[str], Counter[str], Counter[str]]:
        """The three counts by reason."""
        return self.waits, self.not_invited, self.refused


@dataclass(frozen=True)
class Load:
    """What an account's invitations need: full calls, and the hours that its limits allow them in."""

    account: str
    invitations: int
    calls: int
    hours: float


async def forecast(
    config: Config, reader: Reader, since: datetime, progress: Progress = lambda *_: None
) -> tuple[list[Forecast], list[Load]]:
    """Decides about each kept change event as if it had just come, with nobody invited before. Sends nothing.

    Lookups read Salesforce as it is now. An invitation that would wait counts as invited, and its reason as well. A
    brake that holds goes on holding, because nobody decides about it here.

    Raises:
        Fatal, Retryable: Kafka or Salesforce cannot be read.
    """
    now = since  # the time of the event that is decided
    rules = [
        SurveyRule(name, survey, reader, lambda: now, config.pisano[survey.account].phones)
        for name, survey in config.surveys.items()
    ]
    found = {rule.name: Forecast(rule.name) for rule in rules}
    protection = ContactProtection.of_config(config)
    known = {account: protection.known(account) for account in config.pisano}
    campaigns: Counter[tuple[str, str, str]] = Counter()
    topics = list(catalogue.entity_topics(config).values())
    async for record in kept(config.kafka, topics, since=since, progress=progress):
        try:
            event = read(ChangeEvent, record.value)
        except Rejected:
            continue  # trigger has made a dead letter of it
        if client_of(event.change_origin) == config.salesforce.client_name:
            continue
        now = event.committed_at
        for rule in (rule for rule in rules if rule.may_want(event)):
            survey = found[rule.name]
            survey.events += 1
            try:
                invitations = await rule.invitations(event)
            except Rejected as error:
                survey.refused[error.code or "rejected"] += 1
                continue
            for invitation in invitations:
                if _take(invitation, event.committed_at, protection, known[invitation.account], survey):
                    campaigns[invitation.account, invitation.channel, invitation.campaign] += 1
    return list(found.values()), [_load(name, account, campaigns) for name, account in config.pisano.items()]


def _take(invitation: Invitation, at: datetime, protection: ContactProtection, known: Known, survey: Forecast) -> bool:
    """Whether the invitation would be sent, now or later."""
    if invitation.suppressed is not None:
        survey.not_invited[invitation.suppressed] += 1
        return False
    known.memory.brakes.saw(invitation.survey, invitation.protection.happened_at)  # as the sender does
    match protection.policy.verdict(invitation, known, at):
        case Stop(reason=reason):
            survey.not_invited[reason] += 1
            return False
        case Wait(reason=reason):
            survey.waits[reason] += 1
        case Go():
            pass
    survey.invited += 1
    known.memory.settled(as_sent(protection, invitation, at), is_ours=True)
    return True


def _load(name: str, account: Account, campaigns: Counter[tuple[str, str, str]]) -> Load:
    counts = [(channel, count) for (owner, channel, _), count in campaigns.items() if owner == name]
    most = {"link": 1}  # recipients of a call
    calls = sum(math.ceil(count / most.get(channel, account.max_recipients_per_call)) for channel, count in counts)
    rate = min(window.limit / window.seconds for window in account.limits) * (1 - account.limit_reserved)
    burst = min(window.limit for window in account.limits)
    return Load(name, sum(count for _, count in counts), calls, max(0.0, calls - burst) / rate / 3600)
