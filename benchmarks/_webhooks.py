"""The load of `intake.py`: sends webhooks over many connections, each with one on its way at a time.

    python _webhooks.py '{"address": "http://127.0.0.1:8080", "path": "/pisano/main", "secret": "…",
        "count": 1000, "connections": 64}'

Prints a line of JSON: webhooks a second, p50 and p99 of the time until the answer, and how many were answered other
than with a 200. It writes and reads bytes itself, so that most of the machine is left to what is measured.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from statistics import quantiles
from typing import cast
from urllib.parse import urlsplit

import uvloop

_WITHIN = 300.0  # seconds for all of them


class _Sender(asyncio.Protocol):
    """One connection. Sends the next webhook when the one before is answered."""

    def __init__(self, requests: Iterator[bytes], took: list[float], statuses: list[bytes]) -> None:
        self._requests = requests
        self._took = took
        self._statuses = statuses
        self._answer = b""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
        else:
            self._began = time.perf_counter()
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if end and len(body) >= _length(head):
            self._took.append(time.perf_counter() - self._began)
            self._statuses.append(head[9:12])
            self._answer = b""
            self._send()

    def connection_lost(self, _: Exception | None) -> None:
        self.ended.set_result(None)


def _length(head: bytes) -> int:
    """The length of the body, as the head of the answer says."""
    lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    return next((int(value) for name, _, value in lines if name == b"content-length"), 0)


def requests(host: str, path: str, secret: str, count: int) -> Iterator[bytes]:
    """Answers of made-up customers, each other than all before."""
    lines = (f"POST {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json", f"X-Webhook-Secret: {secret}")
    head = "".join(f"{line}\r\n" for line in lines).encode()
    for number in range(count):
        body = (
            b'{"email":"customer-%d@example.com","nps_score":"%d","sf_ref_id":"5005g%010dAAA","source_platform":"Pisano",'
            b'"response_id":"%d","comment":"The%%20hotline%%20was%%20kind%%2C%%20but%%20slow."}'
        ) % (number, number % 11, number % 5000, number)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nX-Webhook-Secret: {secret}\r\n"
        )
        yield f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def main(address: str, path: str, secret: str, count: int, connections: int) -> None:
    where = urlsplit(address)
    waiting = iter([*requests(where.netloc, path, secret, count)])
    took: list[float] = []
    statuses: list[bytes] = []
    began = time.perf_counter()
    async with asyncio.timeout(_WITHIN):
        loop = asyncio.get_running_loop()
        made = [
            loop.create_connection(lambda: _Sender(waiting, took, statuses), where.hostname, where.port)
            for _ in range(connections)
        ]
        senders = [protocol for _, protocol in await asyncio.gather(*made)]
        await asyncio.gather(*(sender.ended for sender in senders))
    percentiles = quantiles(took, n=100, method="inclusive")
    figures = {
        "per_second": len(took) / (time.perf_counter() - began),
        "p50_ms": percentiles[49] * 1e3,
        "p99_ms": percentiles[98] * 1e3,
        "not_taken": count - statuses.count(b"200"),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(**json.loads(sys.argv[1])))
