#!/usr/bin/env bash
# grpcio 1.85.3: a read() of an asyncio stream that is cancelled by a time-out cancels the whole call. The next read() raises
# asyncio.CancelledError, in a task that nobody cancelled.
# It hurts whoever waits for the next message of a long stream (a subscription of Salesforce's Pub/Sub API, say) for a while
# only, to do something else in between: the server is told to stop, and CancelledError passes every `except Exception`. A
# TaskGroup takes the task for one that was cancelled on purpose: no error, no log, and the others run on. Only messages stop.
# What helps: let one task go on reading, and wait for it with asyncio.wait(), which cancels nothing. Or take a time-out as
# the end of the stream, and subscribe again. read()'s documentation does not speak of it.
#
# What this does: a server on 127.0.0.1 sends 6 messages, one every 0.5 s. A task of a TaskGroup reads them with
# `asyncio.timeout(0.3)` around `read()` and goes on after a time-out, beside a task that takes 4 s. The same with one reading
# task and asyncio.wait() of 0.3 s.
# Seen: the first reader gets 1 message and ends as cancelled, the group ends after 4 s without an error, and the server saw
# its call cancelled. The second reader gets 6.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet grpcio==1.85.3
GRPC_VERBOSITY=NONE timeout 60 "$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import time

import grpc


class Server(grpc.GenericRpcHandler):
    def __init__(self):
        self.sent = []

    def service(self, call):
        return grpc.unary_stream_rpc_method_handler(self.subscribe)

    async def subscribe(self, request, context):
        self.sent.append(0)
        for number in range(6):
            yield str(number).encode()
            self.sent[-1] += 1
            await asyncio.sleep(0.5)


async def timeout_around_read(call, read):
    while True:
        try:
            async with asyncio.timeout(0.3):
                message = await call.read()
        except TimeoutError:
            continue  # time for something else
        except Exception as error:
            print("never comes here:", error)
            raise
        if message is grpc.aio.EOF:
            return
        read.append(message)


async def one_reading_task(call, read):
    reading = asyncio.create_task(call.read())
    while True:
        await asyncio.wait({reading}, timeout=0.3)
        if not reading.done():
            continue  # time for something else
        message = reading.result()
        if message is grpc.aio.EOF:
            return
        read.append(message)
        reading = asyncio.create_task(call.read())


async def main():
    handler = Server()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    seen = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for way in (timeout_around_read, one_reading_task):
            read, began = [], time.monotonic()
            async with asyncio.TaskGroup() as group:
                task = group.create_task(way(channel.unary_stream("/a/subscribe")(b""), read))
                group.create_task(asyncio.sleep(4))
            seconds = round(time.monotonic() - began)
            seen.append((len(read), task.cancelled(), handler.sent[-1], seconds))
            print(f"{way.__name__}: {len(read)} of 6 read, cancelled {task.cancelled()}, server sent {handler.sent[-1]}, "
                  f"TaskGroup ended after {seconds} s without an error")
    await server.stop(None)
    return 0 if seen == [(1, True, 1, 4), (6, False, 6, 4)] else 1


raise SystemExit(asyncio.run(main()))
PYTHON
