"""Makes one POST to Pisano, with a limit on every wait and on the answer's size."""

import asyncio
from dataclasses import dataclass

import httpx

MAX_ANSWER = 1024 * 1024  # bytes; a call has at most 1,000 recipients, and this leaves 1 kB for the result of each


@dataclass(frozen=True)
class Answer:
    """`complete` is False when the body is cut: the connection broke, or the body exceeded `MAX_ANSWER`."""

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
    """Raise httpx.HTTPError or TimeoutError if no status came. If only the body broke off, return the part that came.

    Time-outs are in seconds. httpx applies its own per read, so another one limits the whole call.
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
