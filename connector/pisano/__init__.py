"""The Pisano side: tokens, e-mail sharings and webhooks. It knows no Kafka and no Salesforce."""

from connector.pisano._bodies import read_body
from connector.pisano.auth import Auth, AuthorizedApp, StaticToken
from connector.pisano.email_sharings import EmailSharings, Recipient, normalise_email
from connector.pisano.errors import Forbidden, Throttled, TokenRenewed
from connector.pisano.webhooks import answer, authentic, content, feedback_id, identity, moment

__all__ = [
    "Auth",
    "AuthorizedApp",
    "EmailSharings",
    "Forbidden",
    "Recipient",
    "StaticToken",
    "Throttled",
    "TokenRenewed",
    "answer",
    "authentic",
    "content",
    "feedback_id",
    "identity",
    "moment",
    "normalise_email",
    "read_body",
]
