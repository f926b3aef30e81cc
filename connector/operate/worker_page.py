"""A worker's page /status, read by somebody who does not trust it: another version or another program may answer."""

import asyncio
from typing import Any

import httpx
from pydantic import BaseModel, PositiveInt, ValidationError

from connector.config import Service

_WITHIN = 3.0  # seconds for a worker to answer


class Stage(BaseModel):
    """Figures are None where the worker does not know them."""

    ready: bool
    hanging_transactions: float | None = None
    in_flight: float | None = None
    parked: float | None = None
    per_minute: float | None = None


class Window(BaseModel):
    """`used` of `limit` calls in the last `seconds`."""

    seconds: float
    limit: PositiveInt
    used: int


class Account(BaseModel):
    """The limiter of a Pisano account; `closed_for` is in seconds."""

    windows: list[Window]
    closed_for: float | None = None
    waiting: float | None = None


class Api(BaseModel):
    """The org's calls in 24 hours."""

    used: int
    limit: PositiveInt


class Salesforce(BaseModel):
    """`token_age` is in seconds."""

    token_age: float | None = None
    api: Api | None = None


class Held(BaseModel):
    """A held cell, why, and since when."""

    cell: str
    kind: str
    reason: str
    since: str


class Page(BaseModel):
    """What `connector status` needs of the page."""

    stages: dict[str, Stage]
    accounts: dict[str, Account]
    salesforce: Salesforce
    held: list[Held]
    errors: list[dict[str, str]]


def address(service: Service) -> str | None:
    """Where this configuration's service answers on this machine; None if its port is not known."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(service.host, service.host)  # noqa: S104 - we connect, not listen
    scheme = "https" if service.tls else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{service.port}" if service.port else None


def asking() -> httpx.AsyncClient:
    """A client for workers. On this machine it takes any certificate: a worker's is for the name that Pisano calls."""
    here = httpx.AsyncHTTPTransport(verify=False)
    names = ("127.0.0.1", "[::1]", "localhost")
    return httpx.AsyncClient(timeout=_WITHIN, trust_env=False, mounts={f"https://{name}": here for name in names})


async def page(http: httpx.AsyncClient, url: str) -> dict[str, Any] | None:
    """The page of the worker at this address; None if nobody answers there as a worker does."""
    try:
        async with asyncio.timeout(_WITHIN):
            answer = (await http.get(f"{url}/status")).raise_for_status()
        return Page.model_validate_json(answer.content).model_dump()
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValidationError):
        return None
