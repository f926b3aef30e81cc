"""The Pisano side: tokens, e-mail sharings and webhooks. It knows no Kafka and no Salesforce."""

from connector.pisano._bodies import read_body
from connector.pisano.answers import AnswerRules, Results, shape
from connector.pisano.auth import Auth, AuthorizedApp, StaticToken
from connector.pisano.email_sharings import Accepted, EmailSharings, Recipient, call_body
from connector.pisano.errors import Forbidden, Throttled, TokenRenewed, Unclear
from connector.pisano.flows import Flow, Kind, kind, mistakes, read_flow
from connector.pisano.webhooks import answer, authentic, content, feedback_id, identity, moment

__all__ = [
    "Accepted",
    "AnswerRules",
    "Auth",
    "AuthorizedApp",
    "EmailSharings",
    "Flow",
    "Forbidden",
    "Kind",
    "Recipient",
    "Results",
    "StaticToken",
    "Throttled",
    "TokenRenewed",
    "Unclear",
    "answer",
    "authentic",
    "call_body",
    "content",
    "feedback_id",
    "identity",
    "kind",
    "mistakes",
    "moment",
    "read_body",
    "read_flow",
    "shape",
]
