"""The double itself: a server and the state of one account."""

from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web

from connector.sandbox.doubles.pisano import control
from connector.sandbox.doubles.pisano.api import Api
from connector.sandbox.doubles.pisano.state import State


class PisanoDouble(State):
    """One Pisano account on a port: `async with PisanoDouble() as pisano`. Entered again, it keeps its port.

    All calls count against one limit, whatever their credential, because Pisano may count by token or by address.
    Set it up with `add_campaign`, `flows`, `campaigns`, `customers` (by address in lower case), `webhook`,
    `configure` and `fail`. Query it with `calls`, `emails()`, `deliveries`, `violations()` and `second_emails()`.
    `/_control/` offers the same as JSON and does not count as calls. `account` holds the settings of `State`.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, **account: Any) -> None:
        super().__init__(**account)
        self.base_url = ""
        self._host, self._port = host, port
        self._closing: AsyncExitStack

    async def __aenter__(self) -> "PisanoDouble":
        self.stopping.clear()
        app = web.Application(client_max_size=4 * 1024 * 1024)  # a thousand recipients and their attributes
        Api(self).add_to(app)
        control.add_to(app, self)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.webhooks)  # closed last: calls that are ending still make webhooks
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, self._host, self._port).start()
            self._closing = stack.pop_all()
        self._port = runner.addresses[0][1]
        self.base_url = f"http://{self._host}:{self._port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopping.set()
        await self._closing.aclose()
