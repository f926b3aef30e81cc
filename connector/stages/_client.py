"""The client of one Pisano account, as its configuration says."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx

from connector import pisano
from connector.config import Account, AuthorizedApp

Counted = Callable[[], AbstractAsyncContextManager[None]]


def client(
    account: Account, http: httpx.AsyncClient, counted: Counted, saw: Callable[[int, bytes], None]
) -> tuple[pisano.EmailSharings, pisano.Auth]:
    """The call that shares a survey, and what authorises it. `counted` counts the calls that fetch a token."""
    auth = _auth(account, http, counted)
    sharings = pisano.EmailSharings(
        http,
        account.base_url,
        auth,
        rules=_rules(account),
        saw=saw,
        retry_statuses=account.retry_statuses,
        connect_timeout=account.connect_timeout,
        timeout=account.timeout,
    )
    return sharings, auth


def _auth(account: Account, http: httpx.AsyncClient, counted: Counted) -> pisano.Auth:
    if not isinstance(account.auth, AuthorizedApp):
        return pisano.StaticToken(account.auth.token.get_secret_value(), scheme=account.auth.scheme)
    return pisano.AuthorizedApp(
        http,
        account.base_url,
        account.auth.client_id,
        account.auth.client_secret.get_secret_value(),
        counted=counted,
        id_key=account.auth.id_key,
        secret_key=account.auth.secret_key,
        lifetime=account.auth.lifetime,
        scheme=account.auth.scheme,
        connect_timeout=account.connect_timeout,
        timeout=account.timeout,
    )


def _rules(account: Account) -> pisano.AnswerRules:
    answers, results = account.answers, account.answers.results
    return pisano.AnswerRules(
        answers.sent_when,
        answers.refused_when,
        pisano.Results(results.path, results.address, results.refused_when) if results else None,
    )
