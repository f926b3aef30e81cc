"""Work shared by the workers of a group: each piece runs at one worker, even when workers come, go or fail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
from helpers import topics
from helpers.waiting import until

from connector.config import Kafka
from connector.errors import Fatal
from connector.kafka import shared_work
from connector.kafka.cloud_events import OutRecord
from connector.kafka.errors import Fenced
from connector.kafka.shared_work import SharedWork, Work, partition_of
from connector.kafka.watch import StandsStill, Watch

NAMES = [f"/data/Object{number}__ChangeEvent" for number in range(8)]
PARTITIONS = 6


@pytest.fixture
async def kafka(bootstrap_servers: str, unique: str) -> Kafka:
    kafka = Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)
    await topics.create(kafka, "shares", PARTITIONS)
    return kafka


class Desk:
    """The pieces of work that one worker is running."""

    def __init__(self) -> None:
        self.running: set[str] = set()

    async def work(self, name: str, _: int) -> None:
        self.running.add(name)
        try:
            await asyncio.Event().wait()
        finally:
            self.running.discard(name)


@asynccontextmanager
async def sharing(kafka: Kafka, work: Work, topic: str = "shares") -> AsyncIterator[SharedWork]:
    shared = SharedWork(kafka, "group", topic, NAMES, work)
    await shared.start()
    try:
        await until(lambda: shared.ready or shared.failure.done())
        yield shared
    finally:
        await shared.stop(5)


def split(one: Desk, other: Desk) -> Callable[[], bool]:
    """Whether two workers together run all the work, and each runs some."""
    return lambda: bool(one.running and other.running) and sorted([*one.running, *other.running]) == sorted(NAMES)


async def test_each_piece_runs_at_one_worker_and_moves_when_another_comes_or_goes(kafka: Kafka) -> None:
    first, second = Desk(), Desk()
    async with sharing(kafka, first.work):
        await until(lambda: first.running == set(NAMES))
        async with sharing(kafka, second.work):
            await until(split(first, second))
        assert second.running == set()
        await until(lambda: first.running == set(NAMES))
    assert first.running == set()


async def test_worker_without_a_share_is_ready_too(kafka: Kafka) -> None:
    """Monitoring must not see a worker that waits to take over as broken."""
    await topics.create(kafka, "one", 1)
    async with sharing(kafka, Desk().work, "one"), sharing(kafka, Desk().work, "one") as other:
        await until(lambda: other.ready)


async def test_no_piece_moves_before_it_has_ended(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka would not wait for a worker longer than its session, and then share out everything once more."""
    monkeypatch.setattr(shared_work, "_SESSION", 6_000)
    begun, running = list[str](), set[str]()
    ended_late = False

    async def slow(name: str, _: int) -> None:
        running.add(name)
        try:
            await asyncio.Event().wait()
        finally:
            if not begun:
                await asyncio.sleep(8)
            running.discard(name)

    async def quick(name: str, _: int) -> None:
        nonlocal ended_late
        begun.append(name)
        ended_late = ended_late or name in running
        await asyncio.Event().wait()

    async with sharing(kafka, slow):
        await until(lambda: running == set(NAMES))
        async with sharing(kafka, quick):
            await until(lambda: bool(begun))
    assert not ended_late


async def test_work_that_was_fenced_asks_the_group_again_for_its_share(kafka: Kafka) -> None:
    """A worker that was replaced unnoticed or away for too long must not end; it must ask the group for its share."""
    begun: list[str] = []

    async def work(name: str, _: int) -> None:
        begun.append(name)
        if begun == [NAMES[0]]:
            raise Fenced("another worker has it")
        await asyncio.Event().wait()

    shared = SharedWork(kafka, "group", "shares", NAMES[:1], work)
    await shared.start()
    await until(lambda: len(begun) == 2)
    assert not shared.failure.done()
    await shared.stop(5)


async def test_worker_whose_share_never_comes_ends(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this test another member blocks the rebalance; aiokafka has waited like this for ever, without an error."""
    monkeypatch.setattr(shared_work, "Watch", partial(Watch, every=0.1, stands_still=0.5))
    held_up = asyncio.Event()

    async def lingers(_: str, __: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await held_up.wait()

    async with sharing(kafka, lingers):
        waiting = SharedWork(kafka, "group", "shares", NAMES, Desk().work)
        await waiting.start()
        await until(waiting.failure.done)
        with pytest.raises(StandsStill, match="it is no member of its group"):
            waiting.failure.result()
        held_up.set()
        await waiting.stop(5)


async def test_what_a_piece_of_work_fails_with_ends_the_worker(kafka: Kafka) -> None:
    async def work(name: str, _: int) -> None:
        raise Fatal(f"nobody may read {name}")

    async with sharing(kafka, work) as shared:
        await until(shared.failure.done)
        with pytest.raises(Fatal, match="nobody may read"):
            shared.failure.result()


async def test_work_that_does_not_end_holds_the_stop_back_for_its_time_only(kafka: Kafka) -> None:
    stuck = asyncio.Event()

    async def work(_: str, __: int) -> None:
        try:
            await stuck.wait()
        except asyncio.CancelledError:
            await stuck.wait()

    shared = SharedWork(kafka, "group", "shares", NAMES, work)
    await shared.start()
    await until(lambda: shared.ready)
    async with asyncio.timeout(15):  # a share that Kafka reassigns gets 20 s; a stop does not
        await shared.stop(0.1)
    stuck.set()


async def test_partition_is_the_one_that_kafka_gives_the_key(kafka: Kafka) -> None:
    """So a worker finds the positions of its channel, no matter which client wrote them."""
    topic = kafka.topic_prefix + "shares"
    await topics.publish(kafka, [OutRecord(topic, name.encode(), b"", []) for name in NAMES])
    found = {record.key.decode(): record.partition for record in await topics.read(kafka, "shares")}
    assert found == {name: partition_of(name, PARTITIONS) for name in NAMES}
