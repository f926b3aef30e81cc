"""The Pisano side: tokens, flows, sharings and webhooks. It knows no Kafka and no Salesforce."""

from connector.pisano._bodies import read_body
from connector.pisano.answers import AnswerRules, Results, shape
from connector.pisano.auth import Auth, AuthorizedApp, StaticToken
from connector.pisano.errors import Forbidden, Throttled, TokenRenewed, Unclear
from connector.pisano.flows import Flow, Kind, kind, mistakes, read_flow
from connector.pisano.sharings import Accepted, Recipient, Sharings, call_body, recipient
from connector.pisano.webhooks import answer, authentic, content, feedback_id, identity, moment

__all__ = [
    "Accepted",
    "AnswerRules",
    "Auth",
    "AuthorizedApp",
    "Flow",
    "Forbidden",
    "Kind",
    "Recipient",
    "Results",
    "Sharings",
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
    "recipient",
    "shape",
]
