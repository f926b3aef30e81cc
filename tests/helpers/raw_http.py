"""A client that writes any bytes to the connector, at any speed."""

import asyncio
import socket
from contextlib import suppress
from urllib.parse import urlsplit

from helpers.waiting import PATIENCE


class Connection:
    """One TCP connection to `address`, such as http://127.0.0.1:8080. Use as an async context manager."""

    def __init__(self, address: str) -> None:
        self._address = urlsplit(address)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def say(self, *lines: str, body: bytes = b"") -> None:
        """Sends lines of a request's head, each with its line end, and then raw bytes."""
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode("latin-1") + body)
        await self._writer.drain()

    async def status(self, within: float = PATIENCE) -> int:
        """The status of the answer; 0 when the connector closes the connection without an answer."""
        async with asyncio.timeout(within):
            line = await self._reader.readline()
        return int(line.split()[1]) if line else 0


def is_free(address: str) -> bool:
    """Whether nothing listens on the address. Checks this without a connection."""
    place = urlsplit(address)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((place.hostname, place.port))
        except OSError:
            return False
    return True
