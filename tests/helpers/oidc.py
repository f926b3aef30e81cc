"""A small OIDC server: its token endpoint gives the client credentials flow signed tokens."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
from aiohttp import BasicAuth, web
from cryptography.hazmat.primitives.asymmetric import rsa

AUDIENCE, ISSUER, SECRET = "kafka", "made-up-oidc", "made-up/secret"


class Issuer:
    """Signs tokens. `lives` is in seconds; `given` are the subjects so far. With a status in `says`, it gives none."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.lives = 3600
        self.given: list[str] = []
        self.says: int | None = None

    def write_keys(self, file: Path) -> Path:
        """Writes the key set with which others check the tokens."""
        keys: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        file.write_bytes(web.json_response({"keys": [{**keys, "kid": "1", "use": "sig", "alg": "RS256"}]}).body)  # type: ignore[arg-type]
        return file

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """The address of the token endpoint."""
        app = web.Application()
        app.add_routes([web.post("/token", self._token)])
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/token"
        finally:
            await runner.cleanup()

    async def _token(self, request: web.Request) -> web.Response:
        if self.says is not None:
            return web.Response(status=self.says)
        login = BasicAuth.decode(request.headers["Authorization"])
        form = await request.post()
        if login.password != "made-up%2Fsecret" or form["grant_type"] != "client_credentials":
            return web.json_response({"error": "invalid_client"}, status=401)
        self.given.append(login.login)
        now = int(time.time())
        claims = {"sub": login.login, "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + self.lives}
        token = jwt.encode({**claims, "scope": form["scope"]}, self._key, "RS256", {"kid": "1"})
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": self.lives})
