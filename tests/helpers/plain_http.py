"""An HTTP client for doubles, which speak no TLS."""

import ssl
from typing import Any

import httpx

from helpers.waiting import PATIENCE

_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # httpx takes 60 ms to load real ones, for each client


def plain_http(**options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=_NO_CERTIFICATES, timeout=PATIENCE, **options)
