"""Makes one call to Pisano, with a limit on every wait and on the answer's size."""

import asyncio
from collections.abc import Mapping
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
    """A POST; see `_call`."""
    headers = {"Content-Type": "application/json"}
    if authorization:
        headers["Authorization"] = authorization
    return await _call(http, "POST", url, headers, body, connect_timeout, timeout)


async def get_json(
    http: httpx.AsyncClient, url: str, *, authorization: str, connect_timeout: float, timeout: float
) -> Answer:
    """A GET; see `_call`."""
    return await _call(http, "GET", url, {"Authorization": authorization}, None, connect_timeout, timeout)


async def _call(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    connect_timeout: float,
    timeout: float,
) -> Answer:
    """Raise httpx.HTTPError or TimeoutError if no status came. If only the body broke off, return the part that came.

    Time-outs are in seconds. httpx applies its own per read, so another one limits the whole call.
    """
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
    limits = httpx.Timeout(timeout, connect=connect_timeout, pool=connect_timeout)
    response: httpx.Response | None = None
    parts = bytearray()
    complete = False
    try:
        async with (
            asyncio.timeout(connect_timeout + timeout),
            http.stream(method, url, content=body, headers=headers, timeout=limits, follow_redirects=False) as response,
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
