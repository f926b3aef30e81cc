"""The Pisano side: tokens, e-mail sharings and webhooks. It knows no Kafka and no Salesforce."""

from connector.pisano.auth import Auth, AuthorizedApp, StaticToken
from connector.pisano.email_sharings import EmailSharings, Recipient
from connector.pisano.errors import Forbidden, Throttled, TokenRenewed
from connector.pisano.webhooks import authentic, feedback_id, parse

__all__ = [
    "Auth",
    "AuthorizedApp",
    "EmailSharings",
    "Forbidden",
    "Recipient",
    "StaticToken",
    "Throttled",
    "TokenRenewed",
    "authentic",
    "feedback_id",
    "parse",
]
