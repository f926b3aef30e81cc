"""The configuration as frozen, typed objects. `connector.config.file` reads a YAML file into these.

There is one module for each part of the file.
"""

from connector.config.console import Console, Proxy, Role, User
from connector.config.feedback import FeedbackRule, FieldValue
from connector.config.hours import SendHours
from connector.config.kafka import Kafka, OAuth, TopicSettings
from connector.config.lookups import Lookup
from connector.config.pisano import Account, AuthorizedApp, Phones, StaticToken, Webhook
from connector.config.protect import Protect, ProtectAll
from connector.config.salesforce import ClientCredentials, JwtBearer, PubSub, Salesforce
from connector.config.surveys import Survey
from connector.config.whole import Config, Service, Spool

__all__ = [
    "Account",
    "AuthorizedApp",
    "ClientCredentials",
    "Config",
    "Console",
    "FeedbackRule",
    "FieldValue",
    "JwtBearer",
    "Kafka",
    "Lookup",
    "OAuth",
    "Phones",
    "Protect",
    "ProtectAll",
    "Proxy",
    "PubSub",
    "Role",
    "Salesforce",
    "SendHours",
    "Service",
    "Spool",
    "StaticToken",
    "Survey",
    "TopicSettings",
    "User",
    "Webhook",
]
