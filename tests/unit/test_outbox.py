"""The outbox: records of one moment go together, and one that Kafka refuses fails alone."""

import asyncio
from collections.abc import Sequence

from connector.errors import Rejected
from connector.kafka.cloud_events import OutRecord
from connector.kafka.outbox import Outbox


def record(value: bytes) -> OutRecord:
    return OutRecord("topic", b"key", value, [])


async def test_a_refused_record_among_good_ones_fails_only_its_own_caller() -> None:
    stored: list[bytes | None] = []
    requests = 0

    async def publish_all(records: Sequence[OutRecord]) -> None:
        nonlocal requests
        requests += 1
        await asyncio.sleep(0)
        if any(each.value == b"too large" for each in records):
            raise Rejected("Kafka refused the record", code="too_large")
        stored.extend(each.value for each in records)

    outbox = Outbox(publish_all)
    good = await asyncio.gather(*(outbox.publish(record(b"%d" % n)) for n in range(100)))
    assert (len(good), requests, len(stored)) == (100, 1, 100)
    values = [b"a", b"too large", b"b"]
    found = await asyncio.gather(*(outbox.publish(record(value)) for value in values), return_exceptions=True)
    assert [type(each) for each in found] == [type(None), Rejected, type(None)]
    assert stored[100:] == [b"a", b"b"]


async def test_a_caller_that_gives_up_takes_no_other_with_it() -> None:
    may_store = asyncio.Event()

    async def publish_all(_: Sequence[OutRecord]) -> None:
        await may_store.wait()

    outbox = Outbox(publish_all)
    given_up, kept = (asyncio.create_task(outbox.publish(record(value))) for value in (b"a", b"b"))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait({given_up})
    may_store.set()
    await kept
