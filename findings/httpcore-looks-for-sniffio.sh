#!/usr/bin/env bash
# httpcore 1.0.9 asks `sniffio` several times in each call which event loop runs, and imports it there. anyio no longer
# brings sniffio, so in a fresh installation of httpx 0.28.1 with anyio 4.16.0 the import fails each time, and Python searches
# the whole path again: a failed import is not remembered.
#
# What this does: makes 300 calls to a server on this machine, without and with sniffio, and counts how often Python has to
# search for it. The CPU time of both is printed for information.
# Seen: 4 searches a call without it, none with it, and 0.2 ms more CPU time of 1.0. It fails when the
# number of searches changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet httpx==0.28.1 httpcore==1.0.9 anyio==4.16.0
cat > "$folder/calls.py" <<'PYTHON'
import asyncio
import sys
import time

import httpx

CALLS = 300
searches = 0


class Counter:
    @staticmethod
    def find_spec(name, path=None, target=None):
        global searches
        searches += name == "sniffio"


async def answer(reader, writer):
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    address = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
    async with httpx.AsyncClient() as client:
        await client.get(address)  # what is imported once is not counted
        sys.meta_path.insert(0, Counter)
        began = time.process_time()
        for _ in range(CALLS):
            await client.get(address)
        spent = time.process_time() - began
    print(f"{searches // CALLS} {spent / CALLS * 1000:.3f}")


try:
    asyncio.run(main())
except asyncio.IncompleteReadError:
    pass
PYTHON
read -r without without_ms < <("$folder/venv/bin/python" "$folder/calls.py" 2>/dev/null)
"$folder/venv/bin/pip" install --quiet sniffio==1.3.1
read -r with with_ms < <("$folder/venv/bin/python" "$folder/calls.py" 2>/dev/null)
echo "without sniffio: $without searches and $without_ms ms of CPU a call; with it: $with and $with_ms ms"
[ "$without $with" = "4 0" ]
