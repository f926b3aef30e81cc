"""Settles what Pisano does not document about its login, and says which settings to paste. E-mails nobody."""

from collections.abc import AsyncIterator

import httpx

from connector.config import Account, AuthorizedApp, Config
from connector.pisano.logins import Login, try_logins, try_schemes
from connector.wiring.found import Found

_ANY_FLOW = "connector-check"  # a flow that is not there: Pisano refuses a wrong header before it looks for the flow


async def settled(config: Config, http: httpx.AsyncClient) -> AsyncIterator[Found]:
    """What each account's login takes. Costs up to nine calls of an account, which are not in its ledger."""
    for name, account in config.pisano.items():
        flows = [survey.flow for survey in config.surveys.values() if survey.account == name and survey.flow]
        flow = flows[0] if flows else _ANY_FLOW
        if not isinstance(account.auth, AuthorizedApp):
            async for found in _scheme(name, account, account.auth.token.get_secret_value(), flow, http, {}):
                yield found
            continue
        auth, login = account.auth, None
        app = auth.client_id, auth.client_secret.get_secret_value()
        async for login in try_logins(http, account.base_url, app, (auth.id_key, auth.secret_key)):
            if login.token is None:
                yield Found("note", f"pisano.{name}: a login with {_names(login)} is answered {login.said}")
        if login is None or login.token is None:
            yield Found("error", f"pisano.{name}: no login works: check base_url, client_id and client_secret")
            continue
        if login.with_slash:
            what = "its login wants a slash at the end of the path, which no setting adds: report it to the developers"
            yield Found("error", f"pisano.{name}: {what}")
        async for found in _scheme(name, account, login.token, flow, http, _keys(auth, login)):
            yield found
        if not login.names_expiry:
            kept = f"a token is used for {auth.lifetime:g} s (lifetime), or until Pisano refuses it"
            yield Found("note", f"pisano.{name}: the login's answer names no time at which the token ends: {kept}")


async def _scheme(
    name: str, account: Account, token: str, flow: str, http: httpx.AsyncClient, changes: dict[str, str]
) -> AsyncIterator[Found]:
    """Which form of the header works, and the settings that differ from the file's."""
    taken = await try_schemes(http, account.base_url, token, flow)
    works = [scheme for scheme, is_taken in taken.items() if is_taken]
    if not works:
        known = "refuses the token" if False in taken.values() else "gives no clear answer"
        yield Found(
            "error", f"pisano.{name}: Pisano {known} in either form of the header: check the rights of its user"
        )
    elif account.auth.scheme not in works:
        changes |= {"scheme": works[0]}
    if changes:
        pasted = ", ".join(f"{key}: {value}" for key, value in changes.items())
        yield Found(
            "error", f"pisano.{name}: the file differs from what works. Set pisano.{name}.auth: {{{pasted}, …}}"
        )
    elif works:
        yield Found("ok", f"pisano.{name}: the names of the login and the form of the header are right")


def _keys(auth: AuthorizedApp, login: Login) -> dict[str, str]:
    found = {"id_key": login.id_key, "secret_key": login.secret_key}
    return {key: value for key, value in found.items() if getattr(auth, key) != value}


def _names(login: Login) -> str:
    return f"{login.id_key} and {login.secret_key}" + (", and a slash after the path," if login.with_slash else "")
