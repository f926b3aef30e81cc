"""How we log in to Kafka: TLS, and the tokens of SASL OAUTHBEARER."""

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import cache
from urllib.parse import quote_plus

import httpx
import structlog
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError, KafkaError, SaslAuthenticationFailed
from aiokafka.protocol.admin import SaslAuthenticateRequest
from pydantic import BaseModel, ValidationError

from connector.certificates import RenewedContext, load_chain
from connector.config import Kafka, OAuth
from connector.errors import Fatal

log = structlog.get_logger(__name__)

_TIMEOUT = 10.0  # seconds for a token; a connection to a broker may take 20 in all
_PASSES = (408, 429)  # too slow, and too many requests: the server may give a token a moment later
_RENEWED_AT = 0.8  # of a token's life; the rest is for slow clocks, and for a token server that is away for a while


def ssl_context(kafka: Kafka) -> ssl.SSLContext | None:
    """None for a protocol without TLS. Each new connection uses the files as they are then.

    Raises:
        Fatal: A certificate or key file cannot be read, or the key wants a passphrase.
    """
    if "SSL" not in kafka.security_protocol:
        return None

    def build() -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=kafka.ssl_ca_file)
        if kafka.ssl_cert_file:
            load_chain(context, kafka.ssl_cert_file, kafka.ssl_key_file)
        return context

    files = tuple(filter(None, (kafka.ssl_ca_file, kafka.ssl_cert_file, kafka.ssl_key_file)))
    try:
        return RenewedContext(build, files)
    except OSError as error:
        raise Fatal(
            f"kafka: a certificate or key file cannot be used ({', '.join(files)}): {error}."
            " Use PEM files without a passphrase."
        ) from error


def token_provider(kafka: Kafka) -> "Tokens | None":
    """The tokens that all clients of the process share; None for another mechanism than OAUTHBEARER."""
    return _tokens(kafka.sasl_oauth) if kafka.sasl_oauth else None


@cache
def _tokens(oauth: OAuth) -> "Tokens":
    return Tokens(oauth)


async def refusal(connection: AIOKafkaConnection) -> str:
    """Why the broker refuses the token with which a connection was made; empty if it does not.

    The broker says so only when it is asked (RFC 7628, section 3.2.3), and aiokafka 0.14 does not ask: such a
    connection gets one empty answer, and then it is closed.
    """
    try:
        answer = await connection.send(SaslAuthenticateRequest(b"\x01"))
    except KafkaError:
        return ""
    if answer.error_code != SaslAuthenticationFailed.errno:
        return ""
    return f"it refuses the token of kafka.sasl_oauth: {answer.error_message}; the broker's log says why"


class Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """Access tokens of the client credentials flow (RFC 6749, section 4.4). `clock` is in seconds.

    It serves any event loop, because Faust's consumers have their own. Callers at the same time share one request.
    """

    def __init__(self, oauth: OAuth, clock: Callable[[], float] = time.monotonic) -> None:
        self._oauth = oauth
        self._clock = clock
        self._lock = threading.Lock()
        self._fetching: Future[str] | None = None
        self._token = ""
        self._renew_at = self._ends_at = -1.0

    async def token(self) -> str:
        """A token with at least a fifth of its life before it, or with less while the server gives no new one.

        Raises:
            AuthenticationFailedError: The server refuses us.
            KafkaConnectionError: The server does not answer, or not with a token, and the last one has ended.
        """
        with self._lock:
            if self._clock() < self._renew_at:
                return self._token
            fetching, is_first = self._fetching, self._fetching is None
            if fetching is None:
                fetching = self._fetching = Future()
        if is_first:
            await self._fetch(fetching)
        return await asyncio.shield(asyncio.wrap_future(fetching))

    def extensions(self) -> Mapping[str, str]:
        """What some clusters want beside the token."""
        return self._oauth.extensions

    async def _fetch(self, result: "Future[str]") -> None:
        try:
            answer = await self._asked()
            with self._lock:
                self._token = answer.access_token or ""
                self._renew_at = self._clock() + answer.expires_in * _RENEWED_AT
                self._ends_at = self._clock() + answer.expires_in
            result.set_result(self._token)
        except KafkaConnectionError as error:
            if self._clock() < self._ends_at:
                log.warning("token_kept", reason=str(error), seconds_left=round(self._ends_at - self._clock()))
                result.set_result(self._token)
            else:
                result.set_exception(error)
        except Exception as error:  # noqa: BLE001 - every caller gets it
            result.set_exception(error)
        finally:
            if not result.done():
                result.set_exception(KafkaConnectionError(f"{self._oauth.token_url}: the request was cancelled"))
            self._fetching = None

    async def _asked(self) -> "_Answer":
        oauth = self._oauth
        form = {"grant_type": "client_credentials", **({"scope": oauth.scope} if oauth.scope else {})}
        # RFC 6749, section 2.3.1: both are encoded like a form before they go into the header
        login = quote_plus(oauth.client_id), quote_plus(oauth.client_secret.get_secret_value())
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT) as http, asyncio.timeout(_TIMEOUT):
                response = await http.post(oauth.token_url, data=form, auth=login)
        except (httpx.HTTPError, TimeoutError) as error:
            raise KafkaConnectionError(f"{oauth.token_url} gave no token: {error!r}") from error
        answer = _answer(response.content)
        if response.is_success and answer.access_token:
            return answer
        said = answer.error_description or answer.error or "there is no access_token in the answer"
        is_refusal = response.is_client_error and response.status_code not in _PASSES
        refused = AuthenticationFailedError if is_refusal else KafkaConnectionError
        raise refused(f"{oauth.token_url} gave no token: {response.status_code}, {said} (kafka.sasl_oauth)")


class _Answer(BaseModel):
    """`expires_in` is in seconds; without it, the token is for one connection only."""

    access_token: str | None = None
    expires_in: float = 0.0
    error: str | None = None
    error_description: str | None = None


def _answer(content: bytes) -> _Answer:
    try:
        return _Answer.model_validate_json(content)
    except ValidationError:
        return _Answer()
