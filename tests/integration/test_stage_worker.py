"""StageWorker on a real broker: it loses and skips nothing, and one bad record stops no other (rules 1 to 4)."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import faust
import faust.transport.consumer
import pytest
from faust.types import TP
from helpers import topics
from helpers.waiting import until

from connector.cells import Cells
from connector.config import Kafka
from connector.errors import Fatal, Rejected, Retryable
from connector.kafka import faust_app, stage_worker
from connector.kafka.cell_work import CellWork, Handle, alone
from connector.kafka.connection import close, transactional_producer
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.inbound import InRecord
from connector.kafka.publisher import Publisher
from connector.kafka.stage_worker import StageWorker


@pytest.fixture
def kafka(bootstrap_servers: str, unique: str) -> Kafka:
    return Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)


@asynccontextmanager
async def working(
    kafka: Kafka, handle: Handle, *, in_flight: int = 100, drain: float = 10.0, cells: Cells | None = None
) -> AsyncIterator[StageWorker]:
    """A worker of the group `stage` on the topic `in`; its dead letters go to `connector.deadletters`."""
    publisher = Publisher(kafka)
    await publisher.start()
    letters = DeadLetters(kafka, "stage", lambda *_: None)

    async def bury(record: InRecord, reason: str, error: Exception, cell: str) -> None:
        await publisher.send(letters.of_record(record, reason, error, cell))

    work = CellWork("stage", alone(handle), bury, cells or Cells())
    worker = StageWorker("stage", kafka, [kafka.topic_prefix + "in"], work, in_flight=in_flight)
    await worker.start()
    try:
        await until(lambda: worker.ready)
        yield worker
    finally:
        await worker.stop(drain)
        await publisher.stop()


async def committed(kafka: Kafka, partition: int = 0) -> int:
    return (await topics.committed(kafka, "stage")).get((kafka.topic_prefix + "in", partition), 0)


async def test_what_is_committed_never_passes_an_unfinished_record(kafka: Kafka) -> None:
    """Records finish in random order, on a topic whose offsets have holes; aborted records are never handed out."""
    topic = await topics.create(kafka, "in")
    await topics.write_in_transactions(kafka, topic, 40)
    held = 17  # every other record ends before this one
    may_end = asyncio.Event()
    offsets: dict[int, int] = {}
    ended: set[int] = set()

    async def handle(record: InRecord) -> None:
        number = int(record.value or b"")
        offsets[number] = record.offset
        await asyncio.sleep(random.random() / 10)
        if number == held:
            await may_end.wait()
        ended.add(number)

    async def reaches(offset: int) -> bool:
        position = await committed(kafka)
        oldest = min((at for number, at in offsets.items() if number not in ended), default=position)
        assert position <= oldest
        return position == offset

    async with working(kafka, handle):
        await until(lambda: len(ended) == 39)
        await until(lambda: reaches(offsets[held - 1] + 1))
        may_end.set()
        await until(lambda: reaches(offsets[39] + 2))  # behind the marker
    assert sorted(offsets) == list(range(40))


async def test_kafkas_own_tools_show_no_lag_of_an_idle_group(kafka: Kafka) -> None:
    """A marker stands behind the last record of each transaction, and an aborted transaction may stand there too.

    A worker that starts where only markers are left commits behind them as well.
    """
    topic = await topics.create(kafka, "in", partitions=2)
    await topics.write_in_transactions(kafka, topic, 5)
    handled: list[int] = []
    may_end = asyncio.Event()

    async def handle(record: InRecord) -> None:
        await may_end.wait()
        handled.append(record.offset)

    async def has_no_lag() -> bool:
        return await topics.lag(kafka, "stage", "in") == {0: 0, 1: 0}

    async with working(kafka, handle) as worker:
        await until(lambda: worker.in_flight == 5)
        assert await committed(kafka) == 0
        may_end.set()
        await until(has_no_lag)
    producer = await transactional_producer(kafka, "aborts")
    await producer.begin_transaction()
    await producer.send_and_wait(topic, b"aborted", partition=0)
    await producer.abort_transaction()
    await close(producer)
    assert await topics.lag(kafka, "stage", "in") == {0: 2, 1: 0}
    async with working(kafka, handle), working(kafka, handle):  # each has one of the partitions
        await until(has_no_lag)
        for partition in (0, 1):
            await topics.produce(kafka, topic, [b"later"], partition)
        await until(lambda: len(handled) == 7)
        await until(has_no_lag)


async def test_what_faust_fetches_during_a_rebalance_is_fetched_again(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is committed yet: the first record of each partition takes longer than the rebalance.

    The fetch that is under way when the rebalance begins returns records of the new assignment. Faust drops those.
    """
    topic = await topics.create(kafka, "in", partitions=2)
    for partition in (0, 1):
        await topics.produce(kafka, topic, [b"%d" % number for number in range(20)], partition)
    may_end = asyncio.Event()
    handled: set[tuple[int, int]] = set()

    async def handle(record: InRecord) -> None:
        await may_end.wait()
        handled.add((record.partition, record.offset))

    looks = stage_worker.look_for_holes

    async def slowly(*arguments: Any) -> None:
        await asyncio.sleep(1.5)  # longer than a fetch of Faust
        await looks(*arguments)

    async with working(kafka, handle) as first:
        await until(lambda: first.in_flight == 40)
        monkeypatch.setattr(stage_worker, "look_for_holes", slowly)
        async with working(kafka, handle) as second:
            await until(lambda: first.ready and second.ready and second.in_flight > 0)
            may_end.set()
            await until(lambda: len(handled) == 40, 20)


async def test_a_worker_that_failed_commits_what_is_finished_and_no_more(kafka: Kafka) -> None:
    """A worker that failed over deleted records must find the gap again, so it may not commit its own position."""
    topic = await topics.create(kafka, "in")
    await topics.write_in_transactions(kafka, topic, 2)
    may_end = asyncio.Event()

    async def handle(_: InRecord) -> None:
        await may_end.wait()

    async with working(kafka, handle) as worker:
        await until(lambda: worker.in_flight == 2)
        worker.failure.set_exception(Fatal("deleted records"))
        may_end.set()
        await until(lambda: worker.in_flight == 0)
    assert worker.failure.exception()
    assert await topics.lag(kafka, "stage", "in") == {0: 1}


async def test_a_record_at_fault_is_a_dead_letter_and_the_next_one_is_handled(kafka: Kafka) -> None:
    """It is kept byte for byte, with its own headers; our headers add stage, reason and source."""
    topic = await topics.create(kafka, "in")
    await topics.create(kafka, "connector.deadletters")
    values = [b"good", b"\xff\x00bad", b"broken", b"good"]
    await topics.produce(kafka, topic, values)
    handled: list[bytes | None] = []

    async def handle(record: InRecord) -> None:
        if record.value == b"\xff\x00bad":
            raise Rejected("no such thing for jane@example.com", code="no_such_thing")
        if record.value == b"broken":
            raise ZeroDivisionError("a mistake of ours")
        handled.append(record.value)

    async with working(kafka, handle):
        await until(lambda: len(handled) == 2)
    letters = {letter.value: dict(letter.headers) for letter in await topics.read(kafka, "connector.deadletters")}
    assert letters.keys() == {b"\xff\x00bad", b"broken"}
    headers = letters[b"\xff\x00bad"]
    assert headers["dl_stage"] == b"stage"
    assert headers["dl_reason"] == b"no_such_thing"
    assert headers["dl_cell"] == b"stage/all"
    assert headers["dl_error"] == b"Rejected: no such thing for j***@example.com"
    assert (headers["dl_topic"], headers["dl_partition"], headers["dl_offset"]) == (topic.encode(), b"0", b"1")
    assert letters[b"broken"]["dl_reason"] == b"unexpected_error"


async def test_a_record_at_fault_in_the_middle_of_many_is_a_dead_letter_alone(kafka: Kafka) -> None:
    """Faust hands records out in batches; each record is begun in its order, and fails or is handled alone."""
    topic = await topics.create(kafka, "in")
    await topics.create(kafka, "connector.deadletters")
    await topics.produce(kafka, topic, [b"%d" % number for number in range(230)])
    handled: list[bytes | None] = []

    async def handle(record: InRecord) -> None:
        if record.value == b"75":
            raise Rejected("no such thing", code="no_such_thing")
        handled.append(record.value)

    async with working(kafka, handle, in_flight=20):
        await until(lambda: len(handled) == 229)
    assert handled == [b"%d" % number for number in range(230) if number != 75]
    assert [letter.value for letter in await topics.read(kafka, "connector.deadletters")] == [b"75"]
    assert await committed(kafka) == 230


async def test_an_outage_holds_the_record_and_fills_no_dead_letters(kafka: Kafka) -> None:
    topic = await topics.create(kafka, "in")
    await topics.create(kafka, "connector.deadletters")
    await topics.produce(kafka, topic, [b"0", b"1"])
    tries = Counter[bytes | None]()

    async def handle(record: InRecord) -> None:
        tries[record.value] += 1
        if tries[record.value] < 4:
            raise Retryable("away", retry_after=0.01)

    async with working(kafka, handle):
        await until(lambda: tries == {b"0": 4, b"1": 4})
    assert await topics.read(kafka, "connector.deadletters") == []
    assert await committed(kafka) == 2


async def test_what_only_a_person_can_mend_holds_the_cell_and_loses_nothing(kafka: Kafka) -> None:
    topic = await topics.create(kafka, "in")
    await topics.produce(kafka, topic, [b"0", b"1"])

    async def refuse(record: InRecord) -> None:
        if record.value == b"1":
            raise Fatal("the user has no rights")

    cells = Cells()
    async with working(kafka, refuse, cells=cells, drain=0.1):
        await until(cells.held)
        assert cells.held() == {"stage/all": "the user has no rights"}
    assert await committed(kafka) == 1
    handled: list[bytes | None] = []

    async def take(record: InRecord) -> None:
        handled.append(record.value)

    async with working(kafka, take):
        await until(lambda: handled == [b"1"])


async def test_no_more_records_are_in_memory_than_the_bound_says(kafka: Kafka) -> None:
    topic = await topics.create(kafka, "in")
    await topics.produce(kafka, topic, [b"%d" % number for number in range(300)])
    may_end = asyncio.Event()
    under_way: set[int] = set()
    most = ended = 0

    async def handle(record: InRecord) -> None:
        nonlocal most, ended
        under_way.add(record.offset)
        most = max(most, len(under_way))
        await may_end.wait()
        under_way.discard(record.offset)
        ended += 1

    async with working(kafka, handle, in_flight=7) as worker:
        await until(lambda: len(under_way) == 7)
        assert worker.in_flight == 7
        may_end.set()
        await until(lambda: ended == 300)
    assert most == 7
    assert await committed(kafka) == 300


async def test_a_worker_that_joins_and_one_that_leaves_lose_nothing(kafka: Kafka) -> None:
    """Partitions move twice while records are in flight: some worker finishes each record, and none is skipped.

    The records in flight wait until the second worker has its share; otherwise the first would finish before that.
    """
    topic = await topics.create(kafka, "in", partitions=4)
    for partition in range(4):
        await topics.produce(kafka, topic, [b"%d-%d" % (partition, n) for n in range(100)], partition)
    finished = Counter[bytes | None]()
    may_end = asyncio.Event()
    may_end.set()

    async def handle(record: InRecord) -> None:
        await asyncio.sleep(random.random() / 5)
        await may_end.wait()
        finished[record.value] += 1

    async with working(kafka, handle, in_flight=10):
        await until(lambda: len(finished) > 20)
        may_end.clear()
        async with working(kafka, handle, in_flight=10) as second:
            await until(lambda: second.in_flight)
            may_end.set()
        await until(lambda: len(finished) == 400)
    assert [await committed(kafka, partition) for partition in range(4)] == [100] * 4
    assert sum(finished.values()) - 400 <= 2 * 20  # records in flight when partitions moved may be handled twice


async def test_stopping_waits_for_what_is_in_flight_and_commits_it(kafka: Kafka) -> None:
    topic = await topics.create(kafka, "in")
    await topics.produce(kafka, topic, [b"0", b"1"])
    under_way, ended = set[int](), set[int]()

    async def handle(record: InRecord) -> None:
        under_way.add(record.offset)
        await asyncio.sleep(0.3)
        ended.add(record.offset)

    async with working(kafka, handle):
        await until(lambda: len(under_way) == 2)
    assert ended == {0, 1}
    assert await committed(kafka) == 2


async def test_what_does_not_end_in_time_is_delivered_again(kafka: Kafka) -> None:
    topic = await topics.create(kafka, "in")
    await topics.produce(kafka, topic, [b"0"])
    under_way: list[int] = []

    async def hang(record: InRecord) -> None:
        under_way.append(record.offset)
        await asyncio.Event().wait()

    async with working(kafka, hang, drain=0.1):
        await until(lambda: under_way)
    assert await committed(kafka) == 0
    async with working(kafka, hang, drain=0.1):
        await until(lambda: under_way == [0, 0])


async def test_a_record_that_takes_long_does_not_let_uncommitted_ones_pile_up(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker handles later records meanwhile, up to a limit; then it waits for the slow one."""
    monkeypatch.setattr(stage_worker, "_UNCOMMITTED", 20)
    topic = await topics.create(kafka, "in")
    await topics.produce(kafka, topic, [b"%d" % number for number in range(60)])
    may_end, handled = asyncio.Event(), list[int]()

    async def handle(record: InRecord) -> None:
        if record.offset == 3:
            await may_end.wait()
        handled.append(record.offset)

    async def is_committed_up_to_it() -> bool:
        return await committed(kafka) == 3

    async with working(kafka, handle) as worker:
        await until(lambda: worker.in_flight == 20)
        await until(lambda: len(handled) == 22)  # 0 to 2, and 19 after the slow one
        await until(is_committed_up_to_it)
        may_end.set()
        await until(lambda: len(handled) == 60)
    assert await committed(kafka) == 60


async def test_a_consumer_with_nothing_to_do_is_no_error_in_the_log(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a worker is five minutes old, Faust's own detector logs errors about partitions just assigned."""
    await topics.create(kafka, "in")

    async def handle(_: InRecord) -> None: ...

    async with working(kafka, handle) as worker:
        monkeypatch.setattr(faust.transport.consumer, "monotonic", lambda: time.monotonic() + 3600)
        assert worker._app
        await worker._app.consumer.verify_all_partitions_active()
    assert [record.message for record in caplog.records if record.name == "connector.kafka.faust_consumer"] == []


async def test_faust_is_never_cancelled_while_it_starts(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its consumer thread could stay behind then, and the process never ended; seen at 1 of 27 early SIGTERMs."""
    await topics.create(kafka, "in")
    happened: list[str] = []
    starts = asyncio.Event()

    class App(faust.App):
        async def start(self) -> None:
            starts.set()
            await super().start()
            happened.append("started")

        async def stop(self) -> None:
            happened.append("stops")
            await super().stop()

    async def handle(record: InRecord) -> None: ...

    async def bury(record: InRecord, reason: str, error: Exception, cell: str) -> None: ...

    monkeypatch.setattr(faust_app.faust, "App", App)
    work = CellWork("stage", alone(handle), bury, Cells())
    worker = StageWorker("stage", kafka, [kafka.topic_prefix + "in"], work, in_flight=1)
    starting = asyncio.create_task(worker.start())
    await starts.wait()
    starting.cancel()
    await asyncio.wait({starting})
    assert starting.cancelled()
    await worker.stop(0.0)
    assert happened == ["started", "stops"]


async def test_nothing_begins_on_partitions_that_come_while_it_stops(kafka: Kafka) -> None:
    """A stop during the start left tasks behind: the last ones began after it had ended all others."""
    await topics.create(kafka, "in")
    begun: list[TP] = []

    async def beside(partition: TP, again: Callable[[InRecord], Awaitable[None]]) -> None:
        begun.append(partition)
        await asyncio.Event().wait()

    async def handle(record: InRecord) -> None: ...

    async def bury(record: InRecord, reason: str, error: Exception, cell: str) -> None: ...

    work, partition = CellWork("stage", alone(handle), bury, Cells()), TP(kafka.topic_prefix + "in", 0)
    worker = StageWorker("stage", kafka, [partition.topic], work, in_flight=1, beside=beside)
    await worker.start()
    await until(lambda: begun == [partition])
    await worker.stop(0.0)
    await worker.assigned({partition})
    await asyncio.sleep(0)
    assert begun == [partition]
