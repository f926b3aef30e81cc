"""On a real broker, the watch distinguishes a consumer that has stopped working from one that has nothing to do."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from helpers import topics
from helpers.waiting import until
from structlog.testing import capture_logs

from connector.cells import Cells
from connector.config import Kafka
from connector.kafka import stage_worker
from connector.kafka.cell_work import CellWork, Handle, alone
from connector.kafka.inbound import InRecord
from connector.kafka.stage_worker import StageWorker
from connector.kafka.watch import StandsStill, Watch


@pytest.fixture
def kafka(bootstrap_servers: str, unique: str) -> Kafka:
    return Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)


@asynccontextmanager
async def working(kafka: Kafka, handle: Handle, *, in_flight: int = 100) -> AsyncIterator[StageWorker]:
    """A worker of the group `stage` on the topic `in`; no record there is at fault."""

    async def bury(record: InRecord, reason: str, error: Exception, cell: str) -> None:
        raise AssertionError(f"{record} was given up on: {reason}") from error

    work = CellWork("stage", alone(handle), bury, Cells())
    worker = StageWorker("stage", kafka, [kafka.topic_prefix + "in"], work, in_flight=in_flight)
    await worker.start()
    try:
        await until(lambda: worker.ready)
        yield worker
    finally:
        await worker.stop(10)


async def test_a_consumer_that_stands_still_ends_its_worker(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """When Faust's consumer stops fetching, Faust gives no error: only Kafka's offsets show it."""
    monkeypatch.setattr(stage_worker, "Watch", partial(Watch, every=0.2, stands_still=1.0))
    topic = await topics.create(kafka, "in")
    handled: list[int] = []

    async def handle(record: InRecord) -> None:
        handled.append(record.offset)

    async with working(kafka, handle) as worker:
        await topics.produce(kafka, topic, [b"0"])
        await until(lambda: handled == [0])
        await until(lambda: worker.lag == 0)
        stop_fetching(worker)
        await topics.produce(kafka, topic, [b"1", b"2"])
        await until(worker.failure.done)
        with pytest.raises(StandsStill, match=f"stands still: it takes no record of {topic}/0, .* from offset 1 on"):
            worker.failure.result()
        assert worker.lag == 2
    assert handled == [0]


async def test_a_worker_with_nothing_to_do_or_with_all_that_it_can_do_does_not_stand_still(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is idle behind a transaction's marker, then full. The watch looks many times and does not end it."""
    looks = 0

    async def count(seconds: float) -> None:
        nonlocal looks
        looks += 1
        await asyncio.sleep(seconds)

    monkeypatch.setattr(stage_worker, "Watch", partial(Watch, every=0.1, stands_still=2.0, sleep=count))
    topic = await topics.create(kafka, "in")
    await topics.write_in_transactions(kafka, topic, 4)
    may_end, under_way = asyncio.Event(), set[int]()

    async def handle(record: InRecord) -> None:
        under_way.add(record.offset)
        if len(under_way) > 4:
            await may_end.wait()

    async with working(kafka, handle, in_flight=2) as worker:
        await until(lambda: worker.lag == 0)
        idle = looks
        await until(lambda: looks > idle + 30)
        await topics.produce(kafka, topic, [b"%d" % number for number in range(10)])
        await until(lambda: worker.in_flight == 2)
        full = looks
        await until(lambda: looks > full + 30)
        assert not worker.failure.done()
        may_end.set()
        await until(lambda: worker.lag == 0)


async def test_a_transaction_that_hangs_is_told_although_there_seems_to_be_no_lag(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that dies can lose the end of a transaction. Here its writer does not end it for longer than it may."""
    monkeypatch.setattr(stage_worker, "Watch", partial(Watch, every=0.2, hangs=1.0))
    topic = await topics.create(kafka, "in")
    await topics.write_in_transactions(kafka, topic, 1)
    handled: list[bytes | None] = []

    async def handle(record: InRecord) -> None:
        handled.append(record.value)

    async with working(kafka, handle) as worker:
        await until(lambda: handled == [b"0"])
        with capture_logs() as said:
            async with topics.open_transaction(kafka, topic, b"aborted"):
                await topics.produce(kafka, topic, [b"1"])
                await until(lambda: worker.watch.hanging == 1)
                assert (handled, worker.lag) == ([b"0"], 0)
            await until(lambda: handled == [b"0", b"1"])
            await until(lambda: worker.watch.hanging == 0)
    (line,) = [line for line in said if line["event"] == "transaction_hangs"]
    assert (line["place"], line["offset"]) == (f"{topic}/0", 4)  # behind two transactions of a record and a mark


async def test_the_lag_in_seconds_is_the_age_of_the_oldest_unfinished_record(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the record behind what is committed, also where a marker stands there; the watch's clock is an hour ahead."""
    hour = 3600.0
    monkeypatch.setattr(stage_worker, "Watch", partial(Watch, every=0.2, now=lambda: time.time() + hour))
    topic = await topics.create(kafka, "in")
    await topics.write_in_transactions(kafka, topic, 2)
    may_end = asyncio.Event()

    async def handle(record: InRecord) -> None:
        if record.value == b"later":
            await may_end.wait()

    began = time.time()
    async with working(kafka, handle) as worker:
        await until(lambda: worker.lag == 0)
        assert worker.watch.lag_seconds == 0
        await topics.produce(kafka, topic, [b"later", b"even later"])
        await until(lambda: worker.in_flight == 2 and worker.watch.lag_seconds > 0)
        assert hour <= worker.watch.lag_seconds <= hour + time.time() - began
        may_end.set()
        await until(lambda: worker.lag == 0)
        assert worker.watch.lag_seconds == 0
        await until(lambda: worker.watch.finished >= 2)  # as soon as it is committed


def stop_fetching(worker: StageWorker) -> None:
    """Stops the consumer's fetching, but it stays a member of its group; no code of ours can do this."""
    consumer = worker._app.consumer._thread._consumer
    consumer.pause(*consumer.assignment())
