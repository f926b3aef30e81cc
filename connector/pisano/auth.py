"""The Authorization header: from a static token, or from expiring tokens of an authorized app (pisano §2)."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import httpx
import orjson

from connector.errors import Fatal, Rejected, Retryable
from connector.pisano._http import post_json
from connector.pisano.errors import from_answer, from_transport

Scheme = Literal["bearer", "token"]

TOKEN_PATH = "/v1/authorized_apps/token"  # noqa: S105 - a path
LEEWAY = 30.0  # seconds: we renew a token this long before it expires, because clocks differ and calls take time
_TOKEN_KEYS = ("token", "access_token")
_EXPIRY_KEYS = ("expires_at", "expire_at", "expired_at")
_MILLISECONDS = 1e11  # more than this is milliseconds: as seconds it is in the year 5138, as milliseconds in 1973


class Auth(Protocol):
    """Gives headers: a header is the whole value of `Authorization`."""

    async def header(self) -> str:
        """A valid header. May call Pisano to get it, which is a separate counted call."""

    def current(self) -> str | None:
        """The header if there is a valid one; never calls Pisano."""

    def invalidate(self, header: str) -> bool:
        """Drops this header, which Pisano refused. True if another one can be fetched."""

    async def prove(self) -> None:
        """Checks that Pisano answers, with a call that e-mails nobody, if there is such a call."""


class StaticToken:
    """The token of a dedicated API user."""

    def __init__(self, token: str, *, scheme: Scheme = "bearer") -> None:
        self._header = authorization(token, scheme)

    async def header(self) -> str:
        return self._header

    def current(self) -> str | None:
        return self._header

    def invalidate(self, header: str) -> bool:  # noqa: ARG002 - there is only one header
        return False

    async def prove(self) -> None:
        """Does nothing, because there is no such call."""


class AuthorizedApp:
    """Fetches a token when there is none, one caller at a time, and keeps it until shortly before it expires.

    Each token call spends the same budget as every other call. So it runs inside `counted()`, where the caller counts
    it. `lifetime` (seconds) applies when the answer names no expiry. `clock` returns seconds since the epoch.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        base_url: str,
        client_id: str,
        client_secret: str,
        *,
        counted: Callable[[], AbstractAsyncContextManager[None]],
        id_key: str = "client_id",
        secret_key: str = "client_secret",  # noqa: S107 - the name of a JSON key
        lifetime: float = 600.0,
        scheme: Scheme = "bearer",
        connect_timeout: float = 10.0,
        timeout: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._url = base_url.rstrip("/") + TOKEN_PATH
        self._secret = client_secret
        self._body = orjson.dumps({id_key: client_id, secret_key: client_secret})
        self._counted = counted
        self._lifetime = lifetime
        self._scheme: Scheme = scheme
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._clock = clock
        self._lock = asyncio.Lock()
        self._header: str | None = None
        self._valid_until = 0.0

    async def header(self) -> str:
        """Raise Retryable while no token can be fetched, Fatal if Pisano refuses the app or the answer has no token."""
        async with self._lock:
            current = self.current()
            if current is not None:
                return current
            async with self._counted():
                token, expires = await self._fetch()
            self._valid_until = expires - min(LEEWAY, (expires - self._clock()) / 10)
            self._header = authorization(token, self._scheme)
            return self._header

    def current(self) -> str | None:
        return self._header if self._clock() < self._valid_until else None

    def invalidate(self, header: str) -> bool:
        if header == self._header:  # otherwise another caller has already renewed it
            self._header = None
        return True

    async def prove(self) -> None:
        """Makes a new token call. Raises the same errors as `header`."""
        self._header = None
        await self.header()

    async def _fetch(self) -> tuple[str, float]:
        call = "fetching a token"
        try:
            answer = await post_json(
                self._http, self._url, self._body, connect_timeout=self._connect_timeout, timeout=self._timeout
            )
        except (httpx.HTTPError, TimeoutError) as error:
            raise from_transport(error, call, repeatable=True) from error
        if not 200 <= answer.status < 300:
            refusal = from_answer(answer, call, repeatable=True, hide=(self._secret,), clock=self._clock)
            if isinstance(refusal, Rejected):
                raise Fatal(f"{refusal} Check base_url, client_id, client_secret, id_key and secret_key.", whole=True)
            raise refusal
        if not answer.complete:
            raise Retryable(f"{call}: the answer broke off.")
        return read_token(answer.body, now=self._clock(), lifetime=self._lifetime)


def authorization(token: str, scheme: Scheme) -> str:
    """`Bearer <t>`, or `Token token="<t>"`: quoted, because Rails would split it at , ; or TAB (pisano §2.2)."""
    return f"Bearer {token}" if scheme == "bearer" else f'Token token="{token}"'


def token_of(header: str) -> str:
    """The secret part of a header made by `authorization`."""
    return header.removeprefix("Bearer ").removeprefix('Token token="').removesuffix('"')


def read_token(body: bytes, *, now: float, lifetime: float) -> tuple[str, float]:
    """Read token and expiry (seconds since the epoch). The answer's field names are not documented (pisano §2.1).

    Raise Fatal when there is no token under any name that we know. If the expiry is unreadable or not in the future
    (one of the clocks is wrong), use `lifetime` (seconds) instead.
    """
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    answer = answer if isinstance(answer, dict) else {}
    data = answer.get("data")
    for part in (answer, data if isinstance(data, dict) else {}):
        for key in _TOKEN_KEYS:
            token = part.get(key)
            if isinstance(token, str) and token:
                expires = _expiry({**answer, **part}, now)
                return token, expires if expires is not None and expires > now else now + lifetime
    raise Fatal(
        "The answer of Pisano's token endpoint holds no token, access_token or data.token: ask Pisano for its shape.",
        whole=True,
    )


def names_expiry(body: bytes) -> bool:
    """Whether a token's answer names, under a name that we know, when the token ends."""
    answer = orjson.loads(body)
    data = answer.get("data")
    names = {*answer, *(data if isinstance(data, dict) else ())}
    return not names.isdisjoint(("expires_in", *_EXPIRY_KEYS))


def _expiry(answer: Mapping[str, Any], now: float) -> float | None:
    seconds = _number(answer.get("expires_in"))
    if seconds is not None:
        return now + seconds
    for key in _EXPIRY_KEYS:
        value = answer.get(key)
        epoch = _number(value)
        if epoch is not None:
            return epoch / 1000 if epoch > _MILLISECONDS else epoch
        if isinstance(value, str):
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                continue
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None
