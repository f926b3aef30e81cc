"""The Pisano side: tokens, e-mail sharings and webhooks. It knows no Kafka and no Salesforce."""

from connector.pisano.answers import AnswerRules, Results, shape
from connector.pisano.auth import Auth, AuthorizedApp, StaticToken
from connector.pisano.email_sharings import Accepted, EmailSharings, Recipient
from connector.pisano.errors import Forbidden, Throttled, TokenRenewed
from connector.pisano.webhooks import authentic, feedback_id, parse

__all__ = [
    "Accepted",
    "AnswerRules",
    "Auth",
    "AuthorizedApp",
    "EmailSharings",
    "Forbidden",
    "Recipient",
    "Results",
    "StaticToken",
    "Throttled",
    "TokenRenewed",
    "authentic",
    "feedback_id",
    "parse",
    "shape",
]
