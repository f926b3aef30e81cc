"""The HTTP client that all stages share: httpx's, with two gaps closed through which it loses connections for good.

Both were seen with httpx 0.28.1 and httpcore 1.0.9. A task that is cancelled while its call gives a connection back, or
while it takes one, leaves that connection taken for ever: 2 of 100 calls that are cancelled do. After some rebalances
or time-outs the pool is empty, and every later call waits in vain.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar, cast

import anyio
import httpx

from connector.kafka.uninterrupted import uninterrupted
from connector.observe.tracing import tracing

T = TypeVar("T")

_KEPT = 20  # idle connections; httpx's own default
_CLOSED_WITHIN = 5.0  # seconds for a cancelled call to end; it takes none


class HttpClient(httpx.AsyncClient):
    """Has no most connections, because callers bound their calls: so no call waits for another's connection.

    `saw` is told each answer, and the seconds that it took.
    """

    def __init__(self, saw: Callable[[httpx.Response, float], None] = lambda *_: None) -> None:
        self._saw = saw
        super().__init__(limits=httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT))

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """As httpx, but a cancelled call gives its connection back."""
        began = time.monotonic()
        with tracing.called(request) as note:
            response = await _to_its_end(super().send(request, **options))
            note("http.response.status_code", response.status_code)
        self._saw(response, time.monotonic() - began)
        if not response.is_closed:
            response.stream = _Stream(cast(httpx.AsyncByteStream, response.stream))
        return response


class _Stream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        await _to_its_end(self._stream.aclose())


async def _to_its_end(call: Coroutine[Any, Any, T]) -> T:
    """Runs the call in a task of its own. It is cancelled through anyio, because httpcore cleans up after that."""
    scope = anyio.CancelScope()

    async def scoped() -> T:
        with scope:
            return await call
        raise asyncio.CancelledError

    task = asyncio.create_task(scoped())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        scope.cancel()
        await uninterrupted(_given_back(task), _CLOSED_WITHIN)
        raise


async def _given_back(task: asyncio.Task[Any]) -> None:
    """Waits for the cancelled call, and closes a response that came at the same moment."""
    await asyncio.wait({task})
    if not task.cancelled() and task.exception() is None and isinstance(response := task.result(), httpx.Response):
        await response.aclose()
