"""Serves the console on a port."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address

from aiohttp import web

from connector.config import Config
from connector.config.types import is_loopback
from connector.console.app import make_app
from connector.console.aside import Aside
from connector.console.collector import Collector
from connector.console.desk import Desk
from connector.console.login import Door
from connector.errors import Fatal
from connector.operate.status import Board

_IDLE = 30.0  # seconds until a connection without a request is closed
_ENDS_WITHIN = 3.0  # seconds at the end for pages that are loading

_unheard = logging.getLogger("connector.console.http")  # aiohttp would log the whole of a request that is not HTTP,
_unheard.disabled = True  # with its cookies; the client gets a 400


@asynccontextmanager
async def serving(config: Config, host: str, port: int, workers: Sequence[str], local: str) -> AsyncIterator[str]:
    """The page's address, while it is served. `local` is who decides when there is no login.

    Raises:
        Fatal: The address is not one of this machine and there is no login, or the port is taken.
    """
    door = Door(config.console, local)
    if door.is_open and not is_loopback(f"[{host}]" if ":" in host else host):
        raise Fatal(
            f"--host {host}: everybody who reaches this address could work as an operator. Set console.users or"
            " console.proxy in the configuration, or listen on 127.0.0.1"
        )
    desk = Desk(config, Collector(Board(config, workers)), door, Aside())
    runner = web.AppRunner(
        make_app(desk), access_log=None, logger=_unheard, keepalive_timeout=_IDLE, shutdown_timeout=_ENDS_WITHIN
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise Fatal(
                f"cannot listen on {host}:{port}: {error.strerror or error}. Give --port a free one, or 0"
            ) from error
        bound, number = runner.addresses[0][:2]
        yield f"http://{f'[{bound}]' if ip_address(bound).version == 6 else bound}:{number}"
    finally:
        await runner.cleanup()
