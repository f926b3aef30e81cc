"""Sends a test webhook to the public address, to see whether Pisano's would arrive. Nothing of it is stored."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import httpx
from pydantic import TypeAdapter, ValidationError

from connector.config import Config, Webhook
from connector.config.types import Url
from connector.errors import Fatal
from connector.pisano.webhooks import trial_answer, trial_body
from connector.wiring.found import Found

_WITHIN = 15.0  # seconds; Pisano's own time-out is not documented, and a slower answer is none
_READ = 1_000  # bytes of the answer: ours is one line


async def sent(config: Config, http: httpx.AsyncClient, address: str) -> AsyncIterator[Found]:
    """One line for each account's webhook at the public `address`, such as https://surveys.acme.com.

    Raises:
        Fatal: That is no address, or the secret would go there in plain text.
    """
    try:
        address = TypeAdapter[str](Url).validate_python(address)
    except ValidationError as error:
        reason = str(error.errors()[0]["ctx"]["error"])
        raise Fatal(f"{address} is no public address: {reason}, as in https://surveys.acme.com") from None
    webhooks = {name: account.webhook for name, account in config.pisano.items() if account.webhook}
    if not webhooks:
        yield Found("note", "no account has a webhook, so no test was sent")
    for name, webhook in webhooks.items():
        yield await _sent(name, webhook, http, address.removesuffix(webhook.path))


async def _sent(account: str, webhook: Webhook, http: httpx.AsyncClient, base: str) -> Found:
    where, nonce, secret = base + webhook.path, secrets.token_hex(16), webhook.secret.get_secret_value()
    url = f"{where}/{secret}" if webhook.secret_is_in_path else where
    headers = {"Content-Type": "application/json"} | ({} if webhook.secret_is_in_path else {webhook.header: secret})
    try:
        async with (
            asyncio.timeout(_WITHIN),
            http.stream("POST", url, content=trial_body(nonce), headers=headers, follow_redirects=False) as response,
        ):
            text = b""
            async for part in response.aiter_bytes():
                text += part
                if len(text) > _READ:
                    break
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        said = f"{type(error).__name__} {error}".replace(secret, "***").strip()
        return Found("error", f"webhook {where}: no answer ({said}). Check the name, the certificate and the firewall.")
    if response.status_code == 200 and trial_answer(account, nonce) in text.decode(errors="replace"):
        return Found("ok", f"webhook {where}: a test of {account} arrived with its secret, and was not stored")
    return Found("error", f"webhook {where}: answered {response.status_code}. {_advice(response, webhook)}")


def _advice(response: httpx.Response, webhook: Webhook) -> str:
    header = "the path" if webhook.secret_is_in_path else f"the header {webhook.header}"
    match response.status_code:
        case 200:
            return "Something else answers there, or an older version or another account of the connector."
        case 401 | 403:
            return f"The secret did not arrive as the service has it: does a proxy drop {header}, or ask for a login?"
        case 404 | 405:
            return "No webhook is there: does a proxy change the path, and does the service run with this file?"
        case 502 | 503 | 504:
            return "A proxy answers, and not the service: does it run, and does the proxy know its port?"
        case status if 300 <= status < 400:
            host = response.headers.get("Location", "").split("?")[0].split("/")[2:3]
            return (
                f"It is a redirect to {host[0] if host else 'another path'}: give Pisano the address that it leads to."
            )
    return "Look at the proxy's log."
