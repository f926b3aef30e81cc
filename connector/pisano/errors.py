"""Translates Pisano's answers, and missing answers, into our errors. Only this module does so.

Retryable            no e-mail can have been sent: no connection, a 503, or a status that the settings name
├── Throttled        429: the budget of calls is spent, so every caller waits
└── TokenRenewed     the token had to be renewed: repeat at once, with a new permit
Rejected             a 4xx for this body
└── Forbidden        a 403: a firewall refuses this body, or rights are missing; the caller finds out which
Unknown              we sent the request and got no clear answer: the customer may have been e-mailed (pisano §3)
└── Unclear          a 2xx from which the settings cannot tell what was sent; the same call would get the same answer
Fatal                Pisano refuses the credentials (whole), or there is no such campaign
"""

import json
import time
from collections.abc import Callable, Collection, Sequence

import httpx

from connector.errors import ConnectorError, Fatal, Rejected, Retryable, Unknown
from connector.masking import mask_emails
from connector.pisano._http import Answer
from connector.retry import retry_after

_READ = 64 * 1024  # bytes of an answer that a person may read; messages and records keep less of it
EXCERPT = 300  # characters of an answer in a message: an error text fits, a page of HTML does not
RETRY_STATUSES = frozenset({429, 503})  # Pisano answers these before a call reaches its application (pisano §6)
_NOTHING_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_MISUSE = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


class Throttled(Retryable):
    """A 429. Its `retry_after` may be None, or too short because a longer window may still block (pisano §6)."""


class Forbidden(Rejected):
    """A 403. `is_page`: the answer is an HTML page, so it comes from a firewall and not from an API.

    Firewalls refuse a body if a name in it holds a quote or a piece of code (public reports of three products).
    """

    def __init__(self, message: str, *, is_page: bool) -> None:
        super().__init__(message, code="403")
        self.is_page = is_page


class TokenRenewed(Retryable):
    """The token was missing or refused, so nothing was carried out. Repeat at once, as a new call."""


class Unclear(Unknown):
    """Pisano answered 2xx, and the account's `answers` do not tell from it what was sent."""


def from_transport(error: Exception, call: str, *, repeatable: bool) -> ConnectorError:
    """Translates an exception of httpx, or a TimeoutError. `repeatable`: making the call twice does no harm."""
    said = f"{call}: {type(error).__name__}"
    if isinstance(error, _MISUSE):
        return Fatal(f"{said}. The request cannot be written: check base_url and the credentials for stray characters.")
    if isinstance(error, _NOTHING_LEFT):
        return Retryable(f"{said}. Pisano was not reached; nothing was sent.")
    if repeatable:
        return Retryable(f"{said}. No answer came.")
    return Unknown(f"{said}. The request was sent and no answer came: the survey may have been sent.")


def from_answer(
    answer: Answer,
    call: str,
    *,
    repeatable: bool,
    retry_statuses: Collection[int] = RETRY_STATUSES,
    hide: Sequence[str] = (),
    clock: Callable[[], float] = time.time,
) -> ConnectorError:
    """Translates an answer that is not 2xx. `hide`: secrets that it might repeat. `clock`: seconds since the epoch."""
    status = answer.status
    said = f"{call}: Pisano answered {status}"
    body = excerpt(answer.body, hide)
    if status == 429:
        return Throttled(f"{said}. The call limit is spent.", retry_after=retry_after(answer.headers, clock()))
    was_made = status == 303 and not repeatable  # "See Other" leads to what a call has made
    unsettled = status == 408 or status >= 500 or was_made
    if status in retry_statuses or (unsettled and repeatable):
        return Retryable(f"{said} ({body}).", retry_after=retry_after(answer.headers, clock()))
    if unsettled:
        return Unknown(f"{said} ({body}). The survey may have been sent.")
    if status == 401 or (status == 403 and repeatable):
        return Fatal(f"{said} ({body}). Check the credentials of this account and the rights of its user.", whole=True)
    if status < 400:
        return Retryable(
            f"{said}, a redirect: maintenance, or a wrong base_url. The connector does not follow it, as a call carries"
            " credentials."
        )
    return _refusal(answer, f"{said} ({body}).")


def _refusal(answer: Answer, said: str) -> Rejected:
    if answer.status == 403:
        is_page = answer.body.lstrip()[:1] == b"<"
        return Forbidden(f"{said} Check the rights of this account's user.", is_page=is_page)
    return Rejected(said, code=str(answer.status))


def excerpt(body: bytes, hide: Sequence[str] = ()) -> str:
    """The beginning of an answer, on one line, without secrets and with e-mail addresses masked."""
    text = " ".join(masked(body, hide).split())
    return text[:EXCERPT] + "…" if len(text) > EXCERPT else text or "no body"


def masked(body: bytes, hide: Sequence[str] = ()) -> str:
    """The first 64 kB of an answer as text, without secrets and with e-mail addresses masked."""
    text = body[:_READ].decode(json.detect_encoding(body), errors="replace")
    for secret in filter(None, hide):
        text = text.replace(secret, "***")
    return mask_emails(text)
