"""A double of Salesforce in its own process, with change events on each of its channels.

    python _changes.py '{"count": 1000, "channels": 1, "rtt": 0, "per_second": 0}'

Each of the first `channels` of `ENTITIES` has `count` updates. They are there from the start, or come at `per_second`
once somebody has subscribed. A client sees each byte `rtt` seconds later, there and back. Prints the settings that a
client needs as one line of JSON, and serves until its input ends.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connector.sandbox.doubles.salesforce import SalesforceDouble

ENTITIES = ("Case", "Contact", "Account", "Survey_Response__c")
_TEXTS = {"text", "long", "email", "phone", "url"}
_CHUNK = 65_536  # bytes
_EARLY = 0.0005  # seconds by which a timer of asyncio is late on average: epoll counts in whole milliseconds
_TICK = 0.01  # seconds between two groups of events


def publish(salesforce: SalesforceDouble, entity: str, first: int, count: int) -> None:
    """Publishes updates, each of another record: ten fields changed, as when an agent closes a case."""
    schema = salesforce.store.schemas[entity][-1]
    texts = [field for field in schema.entity.streamed if field.kind in _TEXTS][:9]
    now = int(time.time() * 1000)
    header = {
        "entityName": entity,
        "changeType": "UPDATE",
        "changeOrigin": "com/salesforce/api/rest/66.0;client=a-help-desk",
        "sequenceNumber": 1,
        "commitTimestamp": now,
        "commitUser": "0055g0000000001AAA",
        "nulledFields": [],
        "diffFields": [],
        "changedFields": schema.bitmap({"LastModifiedDate", *(field.name for field in texts)}),
    }
    for number in range(first, first + count):
        one = {"recordIds": [f"5005g{number:010}AAA"], "transactionKey": f"{number:08x}-0000-4000-8000-000000000000"}
        values = {field.name: f"The hotline was kind, but slow: {number}" for field in texts}
        salesforce.log.publish(
            entity, schema, {**header, **one, "commitNumber": number}, {**values, "LastModifiedDate": now}
        )


async def publish_steadily(salesforce: SalesforceDouble, entity: str, count: int, per_second: float) -> None:
    while not salesforce.streams:  # noqa: ASYNC110 - the double cannot tell
        await asyncio.sleep(_TICK)
    began, done = time.monotonic(), 0
    while done < count:
        due = min(count, int((time.monotonic() - began) * per_second) + 1)
        publish(salesforce, entity, done, due - done)
        done = due
        await asyncio.sleep(_TICK)


@asynccontextmanager
async def far_away(endpoint: str, rtt: float) -> AsyncIterator[str]:
    """A proxy on a port of its own that passes each byte on half of `rtt` seconds later."""
    if not rtt:
        yield endpoint
        return
    host, _, port = endpoint.rpartition(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, there = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pass_on(reader, there, rtt / 2), _pass_on(back, writer, rtt / 2))

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield f"{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    loop = asyncio.get_running_loop()
    on_the_way = asyncio.Queue[tuple[float, bytes]]()

    async def arrive() -> None:
        while True:
            due, chunk = await on_the_way.get()
            await asyncio.sleep(due - loop.time() - _EARLY)
            writer.write(chunk)

    arriving = asyncio.create_task(arrive())
    try:
        while chunk := await reader.read(_CHUNK):
            on_the_way.put_nowait((loop.time() + delay, chunk))
    finally:
        arriving.cancel()
        writer.close()


async def main(count: int, channels: int, rtt: float, per_second: float) -> None:
    async with SalesforceDouble() as salesforce, far_away(salesforce.pubsub_endpoint, rtt) as endpoint:
        salesforce.configure(batch=100)
        steadily = None
        if per_second:
            steadily = asyncio.create_task(publish_steadily(salesforce, ENTITIES[0], count, per_second))
        else:
            for entity in ENTITIES[:channels]:
                publish(salesforce, entity, 0, count)
        settings = {
            "SF_LOGIN_URL": salesforce.login_url,
            "SF_PUBSUB_ENDPOINT": endpoint,
            "SF_CLIENT_ID": salesforce.client_id,
            "SF_CLIENT_SECRET": salesforce.client_secret,
        }
        print(json.dumps(settings), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        if steadily:
            await steadily


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
