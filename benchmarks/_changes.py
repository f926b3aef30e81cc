"""A double of Salesforce in its own process, with a backlog of change events on each of its channels.

    python _changes.py COUNT CHANNELS RTT

Each of the first CHANNELS of `ENTITIES` has COUNT updates. A client sees each byte RTT seconds later, there and back.
Prints the settings that a client needs as one line of JSON, and serves until its input ends.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connector.sandbox.doubles.salesforce import SalesforceDouble

ENTITIES = ("Case", "Contact", "Account", "Survey_Response__c")
_CHUNK = 65_536  # bytes
_EARLY = 0.0005  # seconds by which a timer of asyncio is late on average: epoll counts in whole milliseconds


def publish(salesforce: SalesforceDouble, entity: str, count: int) -> None:
    """Publishes `count` updates, each of another record: ten fields changed, as when an agent closes a case."""
    schema = salesforce.store.schemas[entity][-1]
    texts = [field for field in schema.entity.streamed if field.kind in {"text", "long", "email", "phone", "url"}][:9]
    changed = {"LastModifiedDate", *(field.name for field in texts)}
    header = {
        "entityName": entity,
        "changeType": "UPDATE",
        "changeOrigin": "com/salesforce/api/rest/66.0;client=a-help-desk",
        "sequenceNumber": 1,
        "commitTimestamp": 1_767_225_600_000,
        "commitUser": "0055g0000000001AAA",
        "nulledFields": [],
        "diffFields": [],
        "changedFields": schema.bitmap(changed),
    }
    for number in range(count):
        one = {"recordIds": [f"5005g{number:010}AAA"], "transactionKey": f"{number:08x}-0000-4000-8000-000000000000"}
        values = {field.name: f"The hotline was kind, but slow: {number}" for field in texts}
        values["LastModifiedDate"] = 1_767_225_600_000 + number
        salesforce.log.publish(entity, schema, {**header, **one, "commitNumber": number}, values)


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


async def main(count: int, channels: int, rtt: float) -> None:
    async with SalesforceDouble() as salesforce, far_away(salesforce.pubsub_endpoint, rtt) as endpoint:
        salesforce.configure(batch=100)
        for entity in ENTITIES[:channels]:
            publish(salesforce, entity, count)
        settings = {
            "SF_LOGIN_URL": salesforce.login_url,
            "SF_PUBSUB_ENDPOINT": endpoint,
            "SF_CLIENT_ID": salesforce.client_id,
            "SF_CLIENT_SECRET": salesforce.client_secret,
        }
        print(json.dumps(settings), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
