"""The token endpoint: client credentials, JWT bearer, web server with PKCE, refresh (salesforce §D1).

A log-in with a password exists neither here nor in an org made since Summer '26 (salesforce §0.10).
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urlencode

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connector.sandbox.doubles.salesforce.model import Approval, Token
from connector.sandbox.doubles.salesforce.state import State

_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_AUDIENCES = ["https://login.salesforce.com", "https://test.salesforce.com"]
_LONGEST_ASSERTION = 300.0  # seconds
_CODE_LIFETIME = 900.0  # seconds of an authorization code (the OAuth guide)


class _RefusedError(Exception):
    pass


def make_key() -> str:
    """A private key as PEM, of the shortest length that RS256 accepts."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _public_half(private_key: str) -> str:
    key = serialization.load_pem_private_key(private_key.encode(), None)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def my_domain(request: web.Request) -> str:
    """The address under which the client reached the org. A proxy before the double may speak TLS."""
    return f"{request.headers.get('X-Forwarded-Proto', request.scheme)}://{request.host}"


def _basic(authorization: str) -> dict[str, str]:
    """The client's credentials in the header of a call, which may stand there instead of in the form (RFC 6749)."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        client_id, _, client_secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return {}
    return {"client_id": unquote(client_id), "client_secret": unquote(client_secret)}


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _page(error: str, description: str) -> web.Response:
    return web.Response(status=400, text=f"error={error}&error_description={description}")


class OAuth:
    """Gives tokens."""

    def __init__(self, state: State, public_key: str | None) -> None:
        """`public_key` verifies the assertions; without it, the double makes a key pair when it needs one."""
        self._state, self._public_key = state, public_key

    @cached_property
    def private_key(self) -> str:
        return "" if self._public_key else make_key()

    @cached_property
    def public_key(self) -> str:
        return self._public_key or _public_half(self.private_key)

    async def token(self, request: web.Request) -> web.Response:
        is_form = request.content_type == "application/x-www-form-urlencoded"
        form = {key: str(value) for key, value in (await request.post()).items()} if is_form else {}
        form |= _basic(request.headers.get("Authorization", ""))
        instance_url = my_domain(request)
        try:
            more = self._check_grant(form, instance_url)
        except _RefusedError as refusal:
            error, description = refusal.args
            return web.json_response({"error": error, "error_description": description}, status=400)
        return web.json_response(self._give(form["grant_type"], instance_url) | more)

    def _check_grant(self, form: Mapping[str, str], domain: str) -> dict[str, str]:
        """What the answer holds besides the access token."""
        grant = form.get("grant_type", "")
        if grant == "client_credentials":
            self._check_client(form)
        elif grant == _JWT_BEARER:
            self._check_assertion(form.get("assertion", ""), domain)
        elif grant == "authorization_code":
            return {"refresh_token": self._approved(form)}
        elif grant == "refresh_token":
            self._check_client(form, secret_is_optional=True)
            if form.get("refresh_token") not in self._state.refresh_tokens:
                raise _RefusedError("invalid_grant", "expired access/refresh token")
        else:
            raise _RefusedError("unsupported_grant_type", "grant type not supported")
        return {}

    def _check_client(self, form: Mapping[str, str], *, secret_is_optional: bool = False) -> None:
        pairs = [(form.get("client_id"), self._state.client_id)]
        if "client_secret" in form or not secret_is_optional:
            pairs.append((form.get("client_secret"), self._state.client_secret))
        if not all(hmac.compare_digest((have or "").encode(), want.encode()) for have, want in pairs):
            raise _RefusedError("invalid_client", "invalid client credentials")

    def _approved(self, form: Mapping[str, str]) -> str:
        """The refresh token for an authorization code, which holds once. PKCE may stand for the secret."""
        approval = self._state.approvals.pop(form.get("code", ""), None)
        if approval is None:
            raise _RefusedError("invalid_grant", "invalid authorization code")
        if self._state.clock() - approval.at > _CODE_LIFETIME:
            raise _RefusedError("invalid_grant", "expired authorization code")
        if form.get("redirect_uri") != approval.redirect_uri:
            raise _RefusedError("redirect_uri_mismatch", "redirect_uri must match configuration")
        self._check_client(form, secret_is_optional=bool(approval.challenge))
        if approval.challenge and approval.challenge != _challenge(form.get("code_verifier", "")):
            raise _RefusedError("invalid_grant", "invalid code verifier")
        refresh_token = f"5Aep{secrets.token_urlsafe(60)}"
        self._state.refresh_tokens.add(refresh_token)
        return refresh_token

    async def authorize(self, request: web.Request) -> web.Response:
        """The page of the web server flow. The double's user is logged in and approves at once."""
        asked, state = request.query, self._state
        redirect_uri = asked.get("redirect_uri", "")
        if asked.get("client_id") != state.client_id:
            return _page("invalid_client_id", "client identifier invalid")
        if redirect_uri not in state.settings.callback_urls:
            return _page("redirect_uri_mismatch", "redirect_uri must match configuration")
        if asked.get("response_type") != "code":
            answer = {"error": "unsupported_response_type", "error_description": "response type not supported"}
        else:
            code = f"aPrx{secrets.token_urlsafe(48)}"
            state.approvals[code] = Approval(state.clock(), redirect_uri, asked.get("code_challenge", ""))
            answer = {"code": code}
        answer |= {"state": asked["state"]} if "state" in asked else {}
        raise web.HTTPFound(f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{urlencode(answer)}")

    def _check_assertion(self, assertion: str, domain: str) -> None:
        options: Any = {"verify_exp": False, "verify_aud": False, "require": ["iss", "sub", "aud", "exp"]}
        try:
            claims = jwt.decode(assertion, self.public_key, algorithms=["RS256"], options=options)
        except jwt.PyJWTError:
            raise _RefusedError("invalid_grant", "invalid assertion") from None
        if claims["iss"] != self._state.client_id:
            raise _RefusedError("invalid_client_id", "client identifier invalid")
        if claims["aud"] not in ([*_AUDIENCES, domain] if self._state.settings.my_domain_audience else _AUDIENCES):
            raise _RefusedError("invalid_grant", "audience is invalid")
        if claims["sub"] != self._state.username:
            raise _RefusedError("invalid_grant", "user hasn't approved this consumer")
        expires = int(claims["exp"]) if str(claims["exp"]).isdecimal() else 0  # clients also write it as text
        if not 0 < expires - self._state.clock() <= _LONGEST_ASSERTION:
            raise _RefusedError("invalid_grant", "invalid assertion")

    def _give(self, grant: str, instance_url: str) -> dict[str, str]:
        state, now = self._state, self._state.clock()
        access_token = f"{state.org_id[:15]}!{secrets.token_urlsafe(60)}"
        expires_at = now + state.settings.token_lifetime
        token = Token(at=now, grant=grant, token=access_token, instance_url=instance_url, expires_at=expires_at)
        state.add_token(token)
        identity, issued_at = f"{instance_url}/id/{state.org_id}/{state.user_id}", str(int(now * 1000))
        signature = hmac.digest(state.client_secret.encode(), (identity + issued_at).encode(), hashlib.sha256)
        return {
            "access_token": access_token,
            "signature": base64.b64encode(signature).decode(),
            "scope": "api",
            "instance_url": instance_url,
            "id": identity,
            "token_type": "Bearer",
            "issued_at": issued_at,
        }
