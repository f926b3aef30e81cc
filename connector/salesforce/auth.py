"""Access tokens: the client credentials and the JWT bearer flow (contract: salesforce §D1).

Salesforce does not say when a token ends, so we keep it until Salesforce refuses it, or until `max_age`.
"""

import asyncio
import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import orjson

from connector.errors import ConnectorError, Fatal
from connector.salesforce import errors

_TIMEOUT = 30.0  # seconds for one call; a login takes about half a second
_ASSERTION_LIFETIME = 180  # seconds; the shortest that the contract names, because clocks differ
_PAUSE = 1.0  # seconds before another try after a failure: many callers wait for the same token
_PAUSE_AFTER_REFUSAL = 60.0  # seconds; Salesforce locks the user out after repeated refusals


@dataclass(frozen=True)
class Token:
    """What a call to Salesforce needs. `org_id` has 18 characters and comes from the answer's `id` address."""

    access_token: str = field(repr=False)
    instance_url: str
    org_id: str


class TokenSource(ABC):
    """Gives the current token. When there is none, one caller at a time gets one from Salesforce.

    `max_age` is in seconds; None keeps a token until Salesforce refuses it.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        login_url: str,
        *,
        max_age: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._url = f"{login_url.rstrip('/')}/services/oauth2/token"
        self._max_age = max_age
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._token: Token | None = None
        self._obtained_at = 0.0
        self._failure: ConnectorError | None = None
        self._not_before = 0.0

    @abstractmethod
    def _form(self) -> dict[str, str]:
        """The body of the token call."""

    async def token(self) -> Token:
        """The current token, fetched from Salesforce if there is none.

        Raises:
            Retryable: Salesforce cannot be reached or is busy; also shortly after a failure, without another call.
            Fatal: Salesforce refused the credentials; also shortly after a refusal, without another call.
        """
        async with self._one_at_a_time:
            if self._token and self._max_age is not None and self._clock() - self._obtained_at >= self._max_age:
                self._token = None
            return self._token or await self._renew()

    @property
    def age(self) -> float | None:
        """Seconds since the current token came; None while there is none."""
        return self._clock() - self._obtained_at if self._token else None

    def invalidate(self, token: Token) -> None:
        """Drops a token that Salesforce refused. Does nothing if the token has been replaced meanwhile."""
        if self._token is token:
            self._token = None

    async def _renew(self) -> Token:
        if self._failure and self._clock() < self._not_before:
            raise copy.copy(self._failure)
        try:
            self._token = await self._obtain()
        except ConnectorError as error:
            pause = _PAUSE_AFTER_REFUSAL if isinstance(error, Fatal) else getattr(error, "retry_after", None) or _PAUSE
            self._failure, self._not_before = error, self._clock() + pause
            raise
        self._failure, self._obtained_at = None, self._clock()
        return self._token

    async def _obtain(self) -> Token:
        try:
            async with asyncio.timeout(_TIMEOUT):
                response = await self._http.post(self._url, data=self._form(), timeout=_TIMEOUT)
        except (httpx.HTTPError, TimeoutError) as error:
            raise errors.from_exception(error, "token") from error
        if response.status_code != httpx.codes.OK:
            raise errors.from_token_response(response)
        return _read(response.content)


class ClientCredentials(TokenSource):
    """The client credentials flow; `login_url` is the org's My Domain."""

    def __init__(
        self, http: httpx.AsyncClient, login_url: str, *, client_id: str, client_secret: str, **options: Any
    ) -> None:
        super().__init__(http, login_url, **options)
        self._client_id = client_id
        self._client_secret = client_secret

    def _form(self) -> dict[str, str]:
        return {"grant_type": "client_credentials", "client_id": self._client_id, "client_secret": self._client_secret}


class JwtBearer(TokenSource):
    """The JWT bearer flow; `private_key` is a PEM text, `audience` the login host that Salesforce expects in the claim.

    Raises:
        Fatal: When the private key cannot be read.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        login_url: str,
        *,
        client_id: str,
        username: str,
        private_key: str,
        audience: str = "https://login.salesforce.com",
        wall_clock: Callable[[], float] = time.time,
        **options: Any,
    ) -> None:
        import jwt  # noqa: PLC0415 - with cryptography it takes 10 MB, and the other flow needs neither

        super().__init__(http, login_url, **options)
        self._claims = {"iss": client_id, "sub": username, "aud": audience}
        self._wall_clock = wall_clock
        try:
            key = jwt.get_algorithm_by_name("RS256").prepare_key(private_key)
        except (ValueError, TypeError, jwt.PyJWTError):
            raise Fatal("salesforce.auth.private_key is not an RSA key in PEM form without a passphrase") from None
        self._sign = partial(jwt.encode, key=key, algorithm="RS256")

    def _form(self) -> dict[str, str]:
        claims = {**self._claims, "exp": int(self._wall_clock()) + _ASSERTION_LIFETIME}
        return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": self._sign(claims)}


def _read(content: bytes) -> Token:
    try:
        body = orjson.loads(content)
        org_id = str(body["id"]).rstrip("/").split("/")[-2]
        return Token(str(body["access_token"]), str(body["instance_url"]).rstrip("/"), org_id)
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        raise Fatal(
            "the answer to the token call is not a token. Check salesforce.login_url: it is the org's My Domain."
        ) from None
