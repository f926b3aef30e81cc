"""The client of one Pisano account, as its configuration says."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx

from connector import pisano
from connector.config import Account, AuthorizedApp

Counted = Callable[[], AbstractAsyncContextManager[None]]


def auth_of(account: Account, http: httpx.AsyncClient, counted: Counted) -> pisano.Auth:
    """How the account logs in. Each token call runs inside `counted()`."""
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


def sharings_of(
    account: Account, http: httpx.AsyncClient, auth: pisano.Auth, saw: Callable[[int, bytes], None]
) -> pisano.Sharings:
    """The calls that share a survey. `saw` takes the status and the body of each answer."""
    answers, results = account.answers, account.answers.results
    rules = pisano.AnswerRules(
        answers.sent_when,
        answers.refused_when,
        pisano.Results(results.path, results.address, results.refused_when) if results else None,
        answers.campaign_off_when,
        answers.link,
    )
    return pisano.Sharings(
        http,
        account.base_url,
        auth,
        rules=rules,
        saw=saw,
        retry_statuses=account.retry_statuses,
        phone_form=account.phones.form,
        connect_timeout=account.connect_timeout,
        timeout=account.timeout,
    )
