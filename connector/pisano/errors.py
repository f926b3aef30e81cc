"""What Pisano's answers, and the lack of one, ask of the caller: the only place that translates them.

Retryable            no e-mail can have left: no connection, 503 and whatever else the settings name
├── Throttled        429: someone spent the budget of calls, so everyone waits
└── TokenRenewed     the token had to be renewed: repeat at once, with a permit of its own
Rejected             a 4xx for this very body
└── Forbidden        a 403: a firewall that dislikes this body, or missing rights; whoever calls finds out which
Unknown              the request left and no answer tells: the customer may have been e-mailed (pisano §3)
Fatal                the credentials are refused (whole), or there is no such campaign
"""

import time
from collections.abc import Callable, Collection, Sequence

import httpx

from connector.errors import ConnectorError, Fatal, Rejected, Retryable, Unknown
from connector.masking import mask_emails
from connector.pisano._http import Answer
from connector.retry import retry_after

EXCERPT = 300  # characters of an answer in a message: an error text fits, a page of HTML does not
RETRY_STATUSES = frozenset({429, 503})  # answered before the application was reached (pisano §6)
_NOTHING_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_MISUSE = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


class Throttled(Retryable):
    """A 429. Its `retry_after` may be too short, as a longer window may still block, or None (pisano §6)."""


class Forbidden(Rejected):
    """A 403. `is_page`: it is a page of HTML, which a firewall answers and no API.

    Firewalls refuse a body for a name with a quote or a piece of code in it (public reports of three products).
    """

    def __init__(self, message: str, *, is_page: bool) -> None:
        super().__init__(message, code="403")
        self.is_page = is_page


class TokenRenewed(Retryable):
    """The token was missing or refused, so nothing was carried out. Repeat at once, as a new call."""


def from_transport(error: Exception, call: str, *, repeatable: bool) -> ConnectorError:
    """For an exception of httpx, or a TimeoutError. `repeatable`: doing the call twice does no harm."""
    said = f"{call}: {type(error).__name__}"
    if isinstance(error, _MISUSE):
        return Fatal(f"{said}. The request cannot be written: check base_url and the credentials for stray characters.")
    if isinstance(error, _NOTHING_LEFT):
        return Retryable(f"{said}. Pisano was not reached; nothing was sent.")
    if repeatable:
        return Retryable(f"{said}. No answer came.")
    return Unknown(f"{said}. The request left and no answer came: the e-mail may have been sent.")


def from_answer(
    answer: Answer,
    call: str,
    *,
    repeatable: bool,
    retry_statuses: Collection[int] = RETRY_STATUSES,
    hide: Sequence[str] = (),
    clock: Callable[[], float] = time.time,
) -> ConnectorError:
    """For an answer that is not 2xx. `hide`: secrets that it might repeat. `clock` in seconds since the epoch."""
    status = answer.status
    said = f"{call}: Pisano answered {status}"
    body = excerpt(answer.body, hide)
    if status == 429:
        return Throttled(f"{said}. The call limit is spent.", retry_after=retry_after(answer.headers, clock()))
    unsettled = status == 408 or status >= 500
    if status in retry_statuses or (unsettled and repeatable):
        return Retryable(f"{said} ({body}).", retry_after=retry_after(answer.headers, clock()))
    if unsettled:
        return Unknown(f"{said} ({body}). The e-mail may have been sent.")
    if status == 401 or (status == 403 and repeatable):
        return Fatal(f"{said} ({body}). Check the credentials of this account and the rights of its user.", whole=True)
    if status < 400:
        return Retryable(
            f"{said}, a redirect: maintenance, or a wrong base_url. A call carries credentials, so it is not followed."
        )
    return _refusal(answer, f"{said} ({body}).")


def _refusal(answer: Answer, said: str) -> Rejected:
    if answer.status == 403:
        is_page = answer.body.lstrip()[:1] == b"<"
        return Forbidden(f"{said} Check the rights of this account's user.", is_page=is_page)
    return Rejected(said, code=str(answer.status))


def excerpt(body: bytes, hide: Sequence[str] = ()) -> str:
    """The beginning of an answer, on one line, without secrets and with e-mail addresses masked."""
    text = body.decode(errors="replace")
    for secret in filter(None, hide):
        text = text.replace(secret, "***")
    text = " ".join(mask_emails(text).split())
    return text[:EXCERPT] + "…" if len(text) > EXCERPT else text or "no body"
