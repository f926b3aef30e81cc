"""StageWorker on a real broker: nothing is lost, nothing is skipped, and one bad record stops nobody (rules 1 to 4)."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer
from helpers import topics
from helpers.invitations import as_records, invitation, outcomes
from helpers.service import running_app, set_up
from helpers.waiting import until

from connector.config import Kafka
from connector.errors import Fatal, Rejected, Retryable
from connector.kafka.connection import Publisher
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.stage_worker import Handle, InRecord, StageWorker
from connector.records import Suppression

Start = Callable[..., AsyncIterator[StageWorker]]


@pytest.fixture
def kafka(bootstrap_servers: str, unique: str) -> Kafka:
    return Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)


@asynccontextmanager
async def working(
    kafka: Kafka, topic: str, handle: Handle, *, in_flight: int = 100, drain: float = 10.0
) -> AsyncIterator[StageWorker]:
    """A worker of the group `stage`; its dead letters go to the topic `dead`, which has to be there if there are any."""
    async with AsyncExitStack() as stack:
        publisher = Publisher(kafka)
        await publisher.start()
        stack.push_async_callback(publisher.stop)
        letters = DeadLetters(kafka, "stage", lambda *_: None)

        async def bury(record: InRecord, reason: str, error: Exception) -> None:
            await publisher.send(letters.of_record(record, reason, error))

        worker = StageWorker("stage", kafka, [topic], handle, dead_letter=bury, in_flight=in_flight)
        await worker.start()
        stack.push_async_callback(worker.stop, drain)
        await until(lambda: worker.ready)
        yield worker


async def test_what_is_committed_never_passes_an_unfinished_record(kafka: Kafka) -> None:
    """Records finish in a random order, over a topic whose offsets have holes; aborted records are never handed out."""
    topic = await topics.create(kafka, "in")
    async with _transactional(kafka) as producer:
        for number in range(40):
            async with producer.transaction():
                await producer.send(topic, b"%d" % number, partition=0)
            if number % 4 == 0:
                await producer.begin_transaction()
                await producer.send_and_wait(topic, b"aborted", partition=0)
                await producer.abort_transaction()
    may_end = defaultdict[int, asyncio.Event](asyncio.Event)
    unfinished: dict[int, int] = {}  # offset by number
    handed_out: list[bytes | None] = []

    async def handle(record: InRecord) -> None:
        handed_out.append(record.value)
        number = int(record.value or b"")
        unfinished[number] = record.offset
        await may_end[number].wait()
        last.append(unfinished.pop(number))

    last: list[int] = []
    seen: list[int] = []

    async def look() -> int:
        oldest = min(unfinished.values(), default=max(last, default=0) + 1)
        position = (await topics.committed(kafka, "stage")).get((topic, 0), 0)
        assert position <= oldest
        seen.append(position)
        return position

    async with working(kafka, topic, handle):
        await until(lambda: len(handed_out) == 40)
        order = list(range(40))
        random.shuffle(order)
        for held in (0, 20):  # these two end last in their halves, so that a commit has time to go wrong
            half = [number for number in order if number // 20 == held // 20 and number != held]
            offset = unfinished[held]
            for number in half:
                may_end[number].set()
            await until(lambda offset=offset: min(unfinished.values()) == offset and len(unfinished) % 20 == 1)
            before = len(seen)
            await until(lambda: look_and_count(look, seen, before))
            may_end[held].set()
        end = max(last + list(unfinished.values())) + 1
        await until(lambda: reached(look, end))
    assert sorted(int(value or b"") for value in handed_out) == list(range(40))


async def look_and_count(look: Callable[[], object], seen: list[int], before: int) -> bool:
    await look()
    return len(seen) - before > 30
