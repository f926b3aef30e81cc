"""The token endpoint: client credentials and JWT bearer, and the checks of each (salesforce §D1)."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connector.sandbox.doubles.salesforce.model import Token
from connector.sandbox.doubles.salesforce.state import State

_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_AUDIENCES = ["https://login.salesforce.com", "https://test.salesforce.com"]
_LONGEST_ASSERTION = 300.0  # seconds


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
        instance_url = f"{request.scheme}://{request.host}"
        try:
            self._check_grant(form, instance_url)
        except _RefusedError as refusal:
            error, description = refusal.args
            return web.json_response({"error": error, "error_description": description}, status=400)
        return web.json_response(self._give(form["grant_type"], instance_url))

    def _check_grant(self, form: Mapping[str, str], my_domain: str) -> None:
        grant = form.get("grant_type", "")
        if grant == "client_credentials":
            self._check_client(form)
        elif grant == _JWT_BEARER:
            self._check_assertion(form.get("assertion", ""), my_domain)
        else:
            raise _RefusedError("unsupported_grant_type", "grant type not supported")

    def _check_client(self, form: Mapping[str, str]) -> None:
        pairs = (
            (form.get("client_id"), self._state.client_id),
            (form.get("client_secret"), self._state.client_secret),
        )
        if not all(hmac.compare_digest((have or "").encode(), want.encode()) for have, want in pairs):
            raise _RefusedError("invalid_client", "invalid client credentials")

    def _check_assertion(self, assertion: str, my_domain: str) -> None:
        options: Any = {"verify_exp": False, "verify_aud": False, "require": ["iss", "sub", "aud", "exp"]}
        try:
            claims = jwt.decode(assertion, self.public_key, algorithms=["RS256"], options=options)
        except jwt.PyJWTError:
            raise _RefusedError("invalid_grant", "invalid assertion") from None
        if claims["iss"] != self._state.client_id:
            raise _RefusedError("invalid_client_id", "client identifier invalid")
        if claims["aud"] not in ([*_AUDIENCES, my_domain] if self._state.settings.my_domain_audience else _AUDIENCES):
            raise _RefusedError("invalid_grant", "audience is invalid")
        if claims["sub"] != self._state.username:
            raise _RefusedError("invalid_grant", "user hasn't approved this consumer")
        expires = claims["exp"] if isinstance(claims["exp"], int) else 0
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
