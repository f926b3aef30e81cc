"""The configuration as frozen, typed objects. `connector.config.file` reads a YAML file into these.

There is one module for each part of the file. A setting whose behaviour is not built yet is parsed and validated like
any other, and `not_yet_supported` names it, so that no setting is silently ignored.
"""

from connector.config.feedback import FeedbackRule, FieldValue
from connector.config.kafka import Kafka, TopicSettings
from connector.config.lookups import Lookup
from connector.config.pisano import Account, AuthorizedApp, StaticToken, Webhook
from connector.config.salesforce import ClientCredentials, JwtBearer, PubSub, Salesforce
from connector.config.surveys import Protect, Survey
from connector.config.types import SendHours
from connector.config.whole import Config, Service, Spool, not_yet_supported

__all__ = [
    "Account",
    "AuthorizedApp",
    "ClientCredentials",
    "Config",
    "FeedbackRule",
    "FieldValue",
    "JwtBearer",
    "Kafka",
    "Lookup",
    "Protect",
    "PubSub",
    "Salesforce",
    "SendHours",
    "Service",
    "Spool",
    "StaticToken",
    "Survey",
    "TopicSettings",
    "Webhook",
    "not_yet_supported",
]
