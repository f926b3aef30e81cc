"""Tries the login in the forms that Pisano might take, because Pisano documents none (pisano §2). It e-mails nobody."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import httpx
import orjson

from connector.errors import ConnectorError
from connector.pisano._http import Answer, get_json, post_json
from connector.pisano.auth import TOKEN_PATH, Scheme, authorization, names_expiry, read_token
from connector.pisano.errors import excerpt

# Names that public clients of similar systems use for the two values (pisano §2.1).
NAMES = (
    ("client_id", "client_secret"),
    ("app_id", "app_secret"),
    ("app_id", "secret"),
    ("access_key", "secret_key"),
    ("key", "secret"),
)
SCHEMES: tuple[Scheme, ...] = ("bearer", "token")
_WITHIN = 10.0  # seconds for a call
_MOVED = {301, 302, 307, 308, 404, 405}  # what a server answers that wants the path with, or without, a slash
_REFUSED = {401, 403}


@dataclass(frozen=True)
class Login:
    """One try. `said` is what came, without secrets; `token` is there if the login worked."""

    id_key: str
    secret_key: str
    with_slash: bool
    said: str
    token: str | None = None
    names_expiry: bool = False


async def try_logins(
    http: httpx.AsyncClient, base_url: str, app: tuple[str, str], first: tuple[str, str]
) -> AsyncIterator[Login]:
    """Tries the names `first`, then the others, until one works or Pisano answers none any more.

    `app` is the id and the secret. Each try is a call of the account; there are seven at most.
    """
    for id_key, secret_key in dict.fromkeys((first, *NAMES)):
        body = orjson.dumps({id_key: app[0], secret_key: app[1]})
        for with_slash in (False, True):
            answer = await _answer(http, base_url.rstrip("/") + TOKEN_PATH + "/" * with_slash, body)
            if isinstance(answer, str):
                yield Login(id_key, secret_key, with_slash, answer)
                return
            login = _read(answer, id_key, secret_key, app[1], with_slash=with_slash)
            yield login
            if login.token or answer.status == 429 or answer.status >= 500 or (with_slash and answer.status in _MOVED):
                return
            if answer.status not in _MOVED:
                break


async def try_schemes(http: httpx.AsyncClient, base_url: str, token: str, flow: str) -> dict[Scheme, bool | None]:
    """Whether Pisano takes the token in each form of the header: it reads a flow. None when that cannot be told."""
    found: dict[Scheme, bool | None] = {}
    url = f"{base_url.rstrip('/')}/external/v1/flows/{quote(flow, safe='')}"
    for scheme in SCHEMES:
        header = authorization(token, scheme)
        try:
            answer = await get_json(http, url, authorization=header, connect_timeout=_WITHIN, timeout=_WITHIN)
        except (httpx.HTTPError, TimeoutError):
            found[scheme] = None
        else:
            found[scheme] = None if answer.status == 429 or answer.status >= 500 else answer.status not in _REFUSED
    return found


async def _answer(http: httpx.AsyncClient, url: str, body: bytes) -> Answer | str:
    """The answer, or why there is none."""
    try:
        return await post_json(http, url, body, connect_timeout=_WITHIN, timeout=_WITHIN)
    except (httpx.HTTPError, TimeoutError) as error:
        return f"no answer ({type(error).__name__})"


def _read(answer: Answer, id_key: str, secret_key: str, secret: str, *, with_slash: bool) -> Login:
    said = f"{answer.status} ({excerpt(answer.body, (secret,))})"
    if not 200 <= answer.status < 300:
        return Login(id_key, secret_key, with_slash, said)
    try:
        token, _ = read_token(answer.body, now=0.0, lifetime=1.0)
    except ConnectorError:
        names = ", ".join(_names(answer.body)) or "nothing that is JSON"
        return Login(id_key, secret_key, with_slash, f"{answer.status} without a token that we know; it holds {names}")
    return Login(id_key, secret_key, with_slash, str(answer.status), token, names_expiry(answer.body))


def _names(body: bytes) -> Sequence[str]:
    """The keys of a JSON object and of the objects in it, but no values: one of them is the token."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    if not isinstance(found, dict):
        return []
    inner = [f"{name}.{each}" for name, value in found.items() if isinstance(value, dict) for each in value]
    return [*found, *inner]
