"""The bare loop that `capture.py` compares with, in its own process. It keeps none of the stage's promises but one.

    python _bare_capture.py COUNT [KAFKA TOPIC TRANSACTIONAL_ID]

Reads COUNT change events of cases with grpc.aio and, if a topic is given, decodes them with fastavro, writes them as
JSON with orjson, and commits 500 in a transaction. Prints a line of JSON: events per second, and CPU
seconds per 1,000.
"""

import asyncio
import io
import json
import os
import sys
import time
from typing import Any

import fastavro
import grpc
import httpx
import orjson
from aiokafka import AIOKafkaProducer

from connector.salesforce import ClientCredentials
from connector.salesforce.proto.pubsub_api_pb2 import FetchRequest, SchemaRequest
from connector.salesforce.proto.pubsub_api_pb2_grpc import PubSubStub

TRANSACTION = 500  # events
_WINDOW, _REFILL = 100, 50  # as the stage
_BATCH = 262_144  # bytes; with aiokafka's 16 kB the loop would wait for Kafka after each dozen of events


class Writer:
    """Events of a case, as JSON, in transactions of 500."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, schema: Any) -> None:
        self._producer, self._topic, self._schema = producer, topic, schema
        self._waiting: list[tuple[bytes, bytes]] = []

    async def add(self, payload: bytes) -> None:
        event = fastavro.schemaless_reader(io.BytesIO(payload), self._schema, None)
        self._waiting.append((event["ChangeEventHeader"]["recordIds"][0].encode(), orjson.dumps(event)))
        if len(self._waiting) == TRANSACTION:
            async with self._producer.transaction():
                for key, value in self._waiting:
                    await self._producer.send(self._topic, value, key)
            self._waiting.clear()


async def read(stub: Any, metadata: Any, count: int, writer: Writer | None) -> None:
    stream = stub.Subscribe(metadata=metadata)
    topic = "/data/CaseChangeEvent"
    await stream.write(FetchRequest(topic_name=topic, replay_preset="EARLIEST", num_requested=_WINDOW))
    owed = _WINDOW
    while count > 0:
        answer = await stream.read()
        owed -= len(answer.events)
        if owed <= _WINDOW - _REFILL:
            await stream.write(FetchRequest(num_requested=_WINDOW - owed))
            owed = _WINDOW
        count -= len(answer.events)
        if writer:
            for event in answer.events:
                await writer.add(event.event.payload)
    stream.cancel()


async def schema(stub: Any, metadata: Any) -> Any:
    """The schema of the first event."""
    stream = stub.Subscribe(metadata=metadata)
    topic = "/data/CaseChangeEvent"
    await stream.write(FetchRequest(topic_name=topic, replay_preset="EARLIEST", num_requested=1))
    first = await stream.read()
    stream.cancel()
    answer = await stub.GetSchema(SchemaRequest(schema_id=first.events[0].event.schema_id), metadata=metadata)
    return fastavro.parse_schema(json.loads(answer.schema_json))


async def main(count: int, kafka: list[str]) -> None:
    login, environ = os.environ["SF_LOGIN_URL"], os.environ
    async with httpx.AsyncClient() as http, grpc.aio.insecure_channel(environ["SF_PUBSUB_ENDPOINT"]) as channel:
        credentials = {"client_id": environ["SF_CLIENT_ID"], "client_secret": environ["SF_CLIENT_SECRET"]}
        token = await ClientCredentials(http, login, **credentials, clock=time.time).token()
        metadata = (
            ("accesstoken", token.access_token),
            ("instanceurl", token.instance_url),
            ("tenantid", token.org_id),
        )
        stub = PubSubStub(channel)  # type: ignore[no-untyped-call]
        writer = producer = None
        if kafka:
            servers, topic, name = kafka
            producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=name, max_batch_size=_BATCH)
            await producer.start()
            writer = Writer(producer, topic, await schema(stub, metadata))
        began, cpu = time.monotonic(), time.process_time()
        await read(stub, metadata, count, writer)
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        print(json.dumps({"per_second": count / took, "cpu_per_1000": cpu / count * 1e3}), flush=True)
        if producer:
            await producer.stop()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
