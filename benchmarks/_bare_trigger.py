"""The floor of trigger: a Faust agent that reads each change event as JSON and does nothing with it.

Arguments: brokers, topic, group. It ends on SIGTERM.
"""

import asyncio
import signal
import sys
import tempfile
from typing import Any

import orjson
from _bare_faust import bare_app


async def serve(brokers: str, topic: str, group: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"broker_commit_interval": 1.0, "consumer_auto_offset_reset": "earliest"}
        app = bare_app(group, brokers, folder, **settings)

        async def look(stream: Any) -> None:
            async for value in stream:
                orjson.loads(value)

        app.agent(app.topic(topic, value_type=bytes, value_serializer="raw"))(look)
        app.finalize()
        await app.start()
        await stop.wait()
        await app.stop()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
