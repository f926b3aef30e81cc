"""The floor of `write.py`: stores answers in full calls, and their results in Kafka, with plain libraries.

It reads the topic in batches, keeps no record's order, checks nothing and forgets what fails.
"""

import asyncio
import sys

import httpx
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

_FULL, _AT_ONCE = 200, 8


async def main(bootstrap_servers: str, prefix: str, org: str) -> None:
    consumer = AIOKafkaConsumer(
        prefix + "pisano.feedback",
        bootstrap_servers=bootstrap_servers,
        group_id=prefix + "bare",
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
    path = f"{org}/services/data/v66.0/composite/sobjects/Survey_Response__c/Pisano_Id__c"

    async def store(batch: list[ConsumerRecord]) -> None:
        body = orjson.dumps({"allOrNone": False, "records": [_fields(record) for record in batch]})
        results = orjson.loads((await http.patch(path, content=body)).content)
        for record, result in zip(batch, results, strict=True):
            written = orjson.dumps({"id": record.key.decode(), **result})
            await producer.send(prefix + "salesforce.writes", written, key=record.key, partition=record.partition)
        await producer.flush()

    await consumer.start()
    await producer.start()
    try:
        async with httpx.AsyncClient(timeout=30.0) as http:
            while batches := [
                [r for rs in (await consumer.getmany(max_records=_FULL)).values() for r in rs] for _ in range(_AT_ONCE)
            ]:
                await asyncio.gather(*[store(batch) for batch in batches if batch])
                await asyncio.sleep(0)
    finally:
        await producer.stop()
        await consumer.stop()


def _fields(record: ConsumerRecord) -> dict[str, object]:
    body = orjson.loads(record.value)["body"]
    return {
        "attributes": {"type": "Survey_Response__c"},
        "Pisano_Id__c": body["key"],
        "Score__c": body["number"],
        "Email__c": body["email"],
        "Source__c": body["source_platform"],
        "Comment__c": body["comment"],
    }


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
