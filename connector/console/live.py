"""Sends the open pages what has changed on them, as server-sent events."""

import asyncio
import json

from aiohttp import web
from aiohttp.client_exceptions import ClientConnectionResetError

from connector.console import overview
from connector.console.collector import Snapshot
from connector.console.desk import Desk

_MOST = 200  # pages that are open at a time
_QUIET = 15.0  # seconds until a page hears something in any case; else proxies end the connection
_WRITTEN_WITHIN = 10.0  # seconds; a page that takes nothing so long is gone


class Live:
    """`stop` ends all streams."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._made: tuple[int, dict[str, dict[str, str]]] = (0, {})  # the number of a look, and its parts by page
        self._streams: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        """The address of the stream."""
        return [web.get("/live", self._stream)]

    @property
    def open(self) -> int:
        """How many pages are open."""
        return len(self._streams)

    def stop(self) -> None:
        """Ends all streams."""
        for stream in self._streams:
            stream.cancel()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.open >= _MOST:
            raise web.HTTPServiceUnavailable(text=f"{_MOST} pages are open already; this one stands still")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        stream = asyncio.create_task(self._send(request, response))
        self._streams.add(stream)
        try:
            await asyncio.wait([stream])
            if not stream.cancelled():
                stream.result()
        finally:
            stream.cancel()
            self._streams.discard(stream)
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse) -> None:
        page, sent, number = request.query.get("page", ""), dict[str, str](), 0
        while self._desk.door.who(request) is not None:
            try:
                snapshot = await self._desk.collector.newer(number, _QUIET)
            except TimeoutError:
                event = ": nothing new\n\n"
            else:
                number, parts = snapshot.number, self._parts(snapshot, page)
                news = {name: html for name, html in parts.items() if sent.get(name) != html}
                sent = parts
                event = f"data: {json.dumps(news)}\n\n"
            try:
                async with asyncio.timeout(_WRITTEN_WITHIN):
                    await response.write(event.encode())
            except (TimeoutError, ClientConnectionResetError):
                return

    def _parts(self, snapshot: Snapshot, page: str) -> dict[str, str]:
        """The parts of a page. They are made once for all pages of a kind."""
        if self._made[0] != snapshot.number:
            self._made = snapshot.number, {}
        made = self._made[1]
        if page not in overview.PAGES:
            page = ""
        if page not in made:
            made[page] = overview.parts(self._desk, page)
        return made[page]
