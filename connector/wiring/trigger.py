"""Builds trigger from the configuration."""

from collections.abc import Sequence

from connector.config import catalogue
from connector.kafka.stage_worker import StageWorker
from connector.salesforce import client_of
from connector.stages.trigger import Publish, Trigger
from connector.surveys.invitations import SurveyRule
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader
from connector.wiring.shared import Shared

_IN_FLIGHT = 400  # records of a survey in memory: two full SOQL calls


def build(shared: Shared) -> StageWorker:
    """The worker that reads every entity's topic."""
    trigger = stage(shared, rules(shared), shared.publisher.send, shared.topic("pisano.invitations"))
    topics = [*catalogue.entity_topics(shared.config).values()]
    # An invitation is a pure function of its change event, so the order of a survey's change events does not matter.
    surveys = shared.config.surveys
    return shared.worker("trigger", topics, trigger.plan, in_flight=_IN_FLIGHT, keeps_order=False, configured=surveys)


def rules(shared: Shared) -> list[SurveyRule]:
    """Every survey, ready to decide."""
    reader = Reader(Lookup(shared.rest.find), Lookup(shared.rest.find_deleted))
    return [
        SurveyRule(name, survey, reader, phones=shared.config.pisano[survey.account].phones)
        for name, survey in shared.config.surveys.items()
    ]


def stage(shared: Shared, rules: Sequence[SurveyRule], publish: Publish, topic: str) -> Trigger:
    """The stage itself, which publishes invitations for the topic of this full name."""
    ours = shared.config.salesforce.client_name
    return Trigger(rules, publish, topic, ours=lambda origin: client_of(origin) == ours, metrics=shared.metrics)
