"""One POST to Pisano with every wait and the answer's size bounded."""

import asyncio
from dataclasses import dataclass

import httpx

MAX_ANSWER = 64 * 1024  # bytes; what an answer holds is not documented, and we only keep it for a person to read


@dataclass(frozen=True)
class Answer:
    """`complete` is False when the connection broke, or `MAX_ANSWER` was reached, within the body."""

    status: int
    headers: httpx.Headers
    body: bytes
    complete: bool


async def post_json(
    http: httpx.AsyncClient,
    url: str,
    body: bytes,
    *,
    authorization: str | None = None,
    connect_timeout: float,
    timeout: float,
) -> Answer:
    """Raise httpx.HTTPError or TimeoutError where no status came. Where one came, a body that breaks off is cut there.

    Time-outs in seconds. httpx's own are per read, so one more bounds the whole call.
    """
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
    if authorization:
        headers["Authorization"] = authorization
    limits = httpx.Timeout(timeout, connect=connect_timeout, pool=connect_timeout)
    response: httpx.Response | None = None
    parts = bytearray()
    complete = False
    try:
        async with (
            asyncio.timeout(connect_timeout + timeout),
            http.stream("POST", url, content=body, headers=headers, timeout=limits, follow_redirects=False) as response,
        ):
            async for part in response.aiter_bytes():
                parts += part
                if len(parts) > MAX_ANSWER:
                    break
            else:
                complete = True
    except (httpx.HTTPError, TimeoutError):
        if response is None:
            raise
    return Answer(response.status_code, response.headers, bytes(parts[:MAX_ANSWER]), complete)
