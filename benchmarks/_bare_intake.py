"""The floor of `intake.py`: aiohttp in front of aiokafka. It answers 200 when Kafka has stored the body (acks=all).

    python _bare_intake.py BOOTSTRAP_SERVERS TOPIC PATH SECRET PORT

It compares the secret and reads the body as JSON for its key. It keeps none of receive's other promises: no limits,
no dead letters, no spool, no CloudEvents. It ends on SIGTERM.
"""

import asyncio
import signal
import sys

import orjson
from aiohttp import web
from aiokafka import AIOKafkaProducer


async def serve(servers: str, topic: str, path: str, secret: str, port: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True)
    await producer.start()

    async def take(request: web.Request) -> web.Response:
        if request.headers.get("X-Webhook-Secret") != secret:
            return web.Response(status=401)
        body = await request.read()
        await producer.send_and_wait(topic, body, key=orjson.loads(body)["sf_ref_id"].encode())
        return web.Response(text="stored\n")

    app = web.Application()
    app.router.add_post(path, take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port)).start()
    await stop.wait()
    await runner.cleanup()
    await producer.stop()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
