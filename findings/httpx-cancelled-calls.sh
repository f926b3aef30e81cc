#!/usr/bin/env bash
# httpx 0.28.1 with httpcore 1.0.9 (asyncio): a task that is cancelled while its call takes or gives back a connection
# leaves that connection in the pool for ever, neither idle nor closed. Once all are lost, every call waits in vain.
#
# What this does: a local server answers each GET within 10 ms. 4,000 calls share a pool of 5 connections, and each is
# cancelled within 50 ms, as a time-out by asyncio.timeout does. All calls have ended when the pool is looked at.
# Seen: 5 of 5 connections are lost (states such as NEW, CONNECTING, ACTIVE), after some hundred calls, and 10 more calls
# do not end within 5 s.
# Cancelled through anyio's cancel scopes the same calls lose fewer; with no limit of connections and such scopes, none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet httpx==0.28.1 httpcore==1.0.9 anyio==4.11.0 h11==0.16.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import contextlib
import random
import sys

import httpx

random.seed(1)


async def serve(reader, writer):
    with contextlib.suppress(Exception, asyncio.CancelledError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(random.random() / 100)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            await writer.drain()
    writer.close()


async def cancelled(http, url):
    call = asyncio.ensure_future(http.get(url))
    await asyncio.sleep(random.random() / 20)
    call.cancel()
    await asyncio.wait({call})


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    http = httpx.AsyncClient(limits=httpx.Limits(max_connections=5), timeout=None, trust_env=False)
    for _ in range(200):
        await asyncio.gather(*(cancelled(http, url) for _ in range(20)))
    await asyncio.sleep(0.5)
    lost = [each for each in http._transport._pool.connections if not (each.is_idle() or each.is_closed())]
    print("no call is under way;", len(lost), "of 5 connections are neither idle nor closed:", *lost, sep="\n  ")
    more = [asyncio.ensure_future(http.get(url)) for _ in range(10)]
    _, waiting = await asyncio.wait(more, timeout=5)
    print("of 10 more calls,", len(waiting), "still wait after 5 s")
    sys.stdout.flush()
    import os

    os._exit(0 if lost and len(waiting) == 10 else 1)


asyncio.run(main())
PYTHON
