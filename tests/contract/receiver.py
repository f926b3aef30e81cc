"""A receiver of webhooks, in plain aiohttp."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


class Receiver:
    """Takes webhooks at `url`. Answers with the next of `statuses`, then with 200."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.secrets: list[str | None] = []
        self.statuses: list[int] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.secrets.append(request.headers.get("X-Webhook-Secret"))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/pisano/main", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/pisano/main"
    try:
        yield receiver
    finally:
        await runner.cleanup()
