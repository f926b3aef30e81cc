"""Cells on a real broker: the records of a held cell wait on connector.parked, in order; the other cells go on."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from aiokafka.admin import NewPartitions
from faust.types import TP
from helpers import topics
from helpers.waiting import until

from connector.cells import Breaker, Cell, Cells
from connector.config import Kafka
from connector.errors import Fatal, Rejected, Retryable
from connector.kafka import parking
from connector.kafka.cell_work import CellWork, Work
from connector.kafka.cloud_events import OutRecord
from connector.kafka.connection import admin_client
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.inbound import InRecord
from connector.kafka.lots import Lots
from connector.kafka.parking import Parking, partition_count
from connector.kafka.publisher import Publisher
from connector.kafka.read_back import read_back
from connector.kafka.stage_worker import StageWorker


@pytest.fixture
def kafka(bootstrap_servers: str, unique: str) -> Kafka:
    return Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A held cell is probed ten times a second."""
    monkeypatch.setattr(Cell, "_pause", lambda _: 0.1)


class Other:
    """The other system. `refuses`: the errors of each cell's work. `done`: numbers that passed, by cell, in order."""

    def __init__(self) -> None:
        self.refuses: dict[str, Callable[[int], Exception | None]] = {}
        self.done: defaultdict[str, list[int]] = defaultdict(list)
        self.tries: defaultdict[str, int] = defaultdict(int)
        self.pauses: dict[str, asyncio.Event] = {}
        self.unreadable = False

    def plan(self, record: InRecord) -> Mapping[str, Work]:
        """A record such as b"a,b 17" has work for the cells a and b."""
        if self.unreadable:
            raise Rejected("the form is not known", code="unreadable")
        cells, _, number = (record.value or b"").decode().partition(" ")
        return {cell: partial(self.work, cell, int(number)) for cell in cells.split(",")}

    async def work(self, cell: str, number: int) -> None:
        self.tries[cell] += 1
        if pause := self.pauses.get(cell):
            await pause.wait()
        if error := self.refuses.get(cell, lambda _: None)(number):
            raise error
        self.done[cell].append(number)


@asynccontextmanager
async def working(
    kafka: Kafka, other: Other, *, in_flight: int = 100, cells: Cells | None = None, breaker: Breaker | None = None
) -> AsyncIterator[StageWorker]:
    publisher = Publisher(kafka)
    await publisher.start()
    letters = DeadLetters(kafka, "stage", lambda *_: None)

    async def bury(record: InRecord, reason: str, error: Exception, cell: str) -> None:
        await publisher.send(letters.of_record(record, reason, error, cell))

    settings: dict[str, Any] = {"configured": ("a",), "breaker": lambda: breaker or Breaker(), "patience": 1.0}
    work = CellWork("stage", other.plan, bury, cells or Cells(), **settings)
    lots = Lots(Parking(kafka, "stage", publisher.send_all), in_flight)
    worker = StageWorker("stage", kafka, [kafka.topic_prefix + "in"], work, in_flight=in_flight, lots=lots)
    await worker.start()
    try:
        await until(lambda: worker.ready)
        yield worker
    finally:
        await worker.stop(5.0)
        await publisher.stop()


async def bury(*_: object) -> None:
    """No dead letters are expected."""
    raise AssertionError


async def prepared(kafka: Kafka, partitions: int = 1) -> str:
    await topics.create(kafka, "connector.deadletters")
    await topics.create(kafka, "connector.parked")
    return await topics.create(kafka, "in", partitions)


async def add_partitions(kafka: Kafka, topic: str, count: int) -> None:
    """Makes it `count` partitions. Returns when a new client sees them."""
    name = kafka.topic_prefix + topic
    async with admin_client(kafka) as admin:
        await admin.create_partitions({name: NewPartitions(count)})

    async def are_there() -> bool:
        return await partition_count(kafka, name) == count

    await until(are_there)


async def committed(kafka: Kafka, partition: int = 0) -> int:
    return (await topics.committed(kafka, "stage")).get((kafka.topic_prefix + "in", partition), 0)


def records(cells: str, *numbers: int) -> list[bytes]:
    return [f"{cells} {number}".encode() for number in numbers]


async def test_a_held_cell_waits_in_order_and_the_other_cells_of_its_records_go_on(kafka: Kafka) -> None:
    """The worker commits the partition past the parked records, and does their work once the cause is fixed."""
    topic, other, cells = await prepared(kafka), Other(), Cells()
    other.refuses["a"] = lambda _: Fatal("the field Branch__c is hidden")
    async with working(kafka, other, cells=cells):
        await topics.produce(kafka, topic, records("a,b", *range(300)))
        await until(lambda: len(other.done["b"]) == 300)
        await until(lambda: committed_is(kafka, 300))
        assert cells.held() == {"stage/a": "the field Branch__c is hidden"}
        assert other.done["a"] == []
        assert other.tries["a"] < 150, "what is held is probed, not tried one by one"
        del other.refuses["a"]
        await until(lambda: len(other.done["a"]) == 300)
        await topics.produce(kafka, topic, records("a,b", *range(300, 310)))
        await until(lambda: len(other.done["a"]) == 310)
        assert cells.held() == {}
    assert other.done["a"] == sorted(other.done["a"])
    assert other.done["b"] == list(range(310)), "nothing of a healthy cell is done twice"


async def committed_is(kafka: Kafka, offset: int, partition: int = 0) -> bool:
    return await committed(kafka, partition) == offset


async def is_marked(kafka: Kafka) -> bool:
    """Whether the topic says that all its records are worked off."""
    last = (await topics.read(kafka, "connector.parked"))[-1]
    return "pk_done" in dict(last.headers)


async def test_what_is_parked_outlives_the_worker(kafka: Kafka) -> None:
    """The next worker works off the parked records even if no new record comes, and only once."""
    topic, other = await prepared(kafka), Other()
    other.refuses["a"] = lambda _: Fatal("no such campaign")
    await topics.produce(kafka, topic, records("a", *range(50)))
    async with working(kafka, other):
        await until(lambda: committed_is(kafka, 50))
    assert other.done["a"] == []
    async with working(kafka, other):
        await until(lambda: other.tries["a"])
    del other.refuses["a"]
    async with working(kafka, other):
        await until(lambda: len(other.done["a"]) == 50)
        await until(lambda: is_marked(kafka))  # a worker that ends before it would work off some records again
    assert other.done["a"] == list(range(50))
    tries = other.tries["a"]
    async with working(kafka, other):
        await topics.produce(kafka, topic, records("a", 50))
        await until(lambda: len(other.done["a"]) == 51)
    assert other.tries["a"] == tries + 1, "what was worked off is not worked off again"


async def test_a_clean_stop_repeats_only_what_was_under_way(kafka: Kafka) -> None:
    """It writes how far the lot is worked off. A later worker begins there."""
    topic, other = await prepared(kafka), Other()
    other.refuses["a"] = lambda _: Fatal("no such campaign")
    async with working(kafka, other):
        await topics.produce(kafka, topic, records("a", *range(100)))
        await until(lambda: committed_is(kafka, 100))
        other.refuses["a"] = lambda number: Fatal("no such campaign") if number == 60 else None
        await until(lambda: len(other.done["a"]) >= 60)
    del other.refuses["a"]
    async with working(kafka, other):
        await until(lambda: len(other.done["a"]) == 100)
    assert other.done["a"] == list(range(100))


async def test_a_stop_does_not_wait_for_a_kafka_that_takes_no_mark(kafka: Kafka) -> None:
    """What the last mark does not say is repeated."""
    await topics.create(kafka, "connector.parked")
    publisher, other, source = Publisher(kafka), Other(), TP(kafka.topic_prefix + "in", 0)
    await publisher.start()
    is_away = False

    async def publish(records: Sequence[OutRecord]) -> list[int]:
        if is_away:
            raise Retryable("Kafka is away")
        return await publisher.send_all(records)

    lots = Lots(Parking(kafka, "stage", publish), 1)
    await lots.open(source)
    lot, _ = lots.lot(source, "a")
    await asyncio.gather(*(lots.park(lot, InRecord(source.topic, 0, n, None, b"a %d" % n, (), 0.0)) for n in range(9)))
    other.refuses["a"] = lambda number: Fatal("no such campaign") if number == 5 else None
    working_off = asyncio.create_task(lots.work_off(lot, CellWork("stage", other.plan, bury, Cells())))
    await until(lambda: other.tries["a"] == 6)
    is_away, began = True, time.monotonic()
    working_off.cancel()
    await asyncio.gather(working_off, return_exceptions=True)
    assert time.monotonic() - began < 10
    again = (await Parking(kafka, "stage", publisher.send_all).lots([source]))[source]["a"]
    assert again.count == 9
    await publisher.stop()


async def test_what_is_parked_is_found_after_partitions_were_added(kafka: Kafka) -> None:
    """What comes later queues up behind it, in the old partition. New partitions are used once it is worked off."""
    topic, other = await prepared(kafka, partitions=2), Other()
    other.refuses["a"] = lambda _: Fatal("no such campaign")
    async with working(kafka, other):
        await topics.produce(kafka, topic, records("a", *range(50)), partition=1)
        await until(lambda: committed_is(kafka, 50, partition=1))
    await add_partitions(kafka, "connector.parked", 2)
    async with working(kafka, other):
        await until(lambda: other.tries["a"] > 50)  # it knows again what is parked
        await topics.produce(kafka, topic, records("a", *range(50, 60)), partition=1)
        await until(lambda: committed_is(kafka, 60, partition=1))
        del other.refuses["a"]
        await until(lambda: len(other.done["a"]) == 60)
        await until(lambda: is_marked(kafka))
        other.refuses["a"] = lambda _: Fatal("no such campaign")
        await topics.produce(kafka, topic, records("a", 60), partition=1)
        await until(lambda: committed_is(kafka, 61, partition=1))
        del other.refuses["a"]
        await until(lambda: len(other.done["a"]) == 61)
    assert other.done["a"] == list(range(61))
    assert [record.partition for record in await topics.read(kafka, "connector.parked") if record.value] == [0] * 60 + [
        1
    ]


async def test_two_lots_of_one_cell_are_worked_off_one_after_the_other(kafka: Kafka) -> None:
    """A worker that knew the old number of partitions wrote one of them, and one with the new number the other."""
    topic, other = await prepared(kafka, partitions=2), Other()
    source, publisher = TP(topic, 1), Publisher(kafka)
    await publisher.start()
    for part in (range(50), range(50, 100)):
        writer = Parking(kafka, "stage", publisher.send_all)
        await writer.lots([])
        lot = writer.lot(source, "a")
        for number, value in zip(part, records("a", *part), strict=True):
            lot.announce()
            stored = lot.put(InRecord(topic, 1, number, None, value, (), 0.0))
        await stored
        if lot.partition == 0:
            await add_partitions(kafka, "connector.parked", 2)
    await publisher.stop()
    other.refuses["a"] = lambda _: Fatal("no such campaign")
    async with working(kafka, other):
        await until(lambda: other.tries["a"])
        await topics.produce(kafka, topic, records("a", *range(100, 110)), partition=1)
        await until(lambda: committed_is(kafka, 10, partition=1))
        del other.refuses["a"]
        await until(lambda: len(other.done["a"]) == 110)
    assert other.done["a"] == list(range(110))
    async with working(kafka, other):
        await topics.produce(kafka, topic, records("a", 110), partition=1)
        await until(lambda: len(other.done["a"]) == 111)
    assert other.done["a"] == list(range(111)), "both are marked as worked off"


async def test_all_partitions_of_an_assignment_share_one_look_at_the_topic(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later assignment looks again, as other workers may have parked something meanwhile."""
    await topics.create(kafka, "connector.parked", 3)
    read = list[int]()

    def counted(kafka: Kafka, name: str, partition: int) -> AsyncIterator[ConsumerRecord]:
        read.append(partition)
        return read_back(kafka, name, partition)

    monkeypatch.setattr(parking, "read_back", counted)
    publisher = Publisher(kafka)
    await publisher.start()
    lots = Lots(Parking(kafka, "stage", publisher.send_all), 10)
    sources = [TP(kafka.topic_prefix + "in", number) for number in range(12)]
    opening = [lots.open(source) for source in sources]
    await asyncio.sleep(0)
    lots.forget(sources[0])
    for task in opening[1:]:
        assert await task == []
    assert sorted(read) == [0, 1, 2]
    assert await lots.open(sources[0]) == []
    assert len(read) == 6
    await publisher.stop()


async def test_a_parked_record_that_cannot_be_read_any_more_is_a_dead_letter(kafka: Kafka) -> None:
    """After an upgrade was undone. Nobody can tell that its cell does not want it."""
    topic, other = await prepared(kafka), Other()
    other.refuses["a"] = lambda _: Fatal("no rights")
    async with working(kafka, other):
        await topics.produce(kafka, topic, records("a", 1))
        await until(lambda: committed_is(kafka, 1))
    other.refuses.clear()
    other.unreadable = True
    async with working(kafka, other):
        await until(lambda: is_marked(kafka))
    [letter] = await topics.read(kafka, "connector.deadletters")
    assert {name: value for name, value in letter.headers if name in ("dl_cell", "dl_reason")} == {
        "dl_cell": b"stage/a",
        "dl_reason": b"unreadable",
    }


async def test_parked_records_that_can_be_read_again_have_the_work_of_all_their_cells(kafka: Kafka) -> None:
    """After an upgrade, or when an account is in the configuration again."""
    topic, other, cells = await prepared(kafka), Other(), Cells()
    other.unreadable = True
    async with working(kafka, other, cells=cells, breaker=Breaker(run=5)):
        await topics.produce(kafka, topic, records("a,b", *range(200)))
        await until(cells.held)
        await until(lambda: committed_is(kafka, 200))
        other.unreadable = False
        await until(lambda: not cells.held())
        letters = len(await topics.read(kafka, "connector.deadletters"))
        await until(lambda: len(other.done["b"]) == 200 - letters)
    assert other.done["a"] == other.done["b"]
    assert 5 <= letters < 200


async def test_an_older_record_that_fails_late_is_parked_before_the_newer_ones(kafka: Kafka) -> None:
    """Its call was under way when the cell was held. Parked after them, it would overwrite newer answers."""
    topic, other = await prepared(kafka), Other()
    late = other.pauses["a"] = asyncio.Event()
    async with working(kafka, other, in_flight=3) as worker:
        await topics.produce(kafka, topic, records("a", 0, 1, 2))
        await until(lambda: other.tries["a"] == 3)
        other.refuses["a"] = lambda _: Fatal("no rights")
        await topics.produce(kafka, topic, records("a", *range(3, 20)))
        await until(lambda: worker.in_flight == 20)
        late.set()
        await until(lambda: committed_is(kafka, 20))
        del other.refuses["a"]
        await until(lambda: len(other.done["a"]) == 20)
    assert other.done["a"] == list(range(20))


async def test_an_outage_that_lasts_holds_the_cell_and_fills_no_dead_letters(kafka: Kafka) -> None:
    topic, other, cells = await prepared(kafka), Other(), Cells()
    other.refuses["a"] = lambda _: Retryable("503", retry_after=0.05)
    async with working(kafka, other, cells=cells):
        await topics.produce(kafka, topic, records("a,b", *range(40)))
        await until(cells.held)
        await until(lambda: committed_is(kafka, 40))
        del other.refuses["a"]
        await until(lambda: len(other.done["a"]) == 40)
    assert await topics.read(kafka, "connector.deadletters") == []


async def test_a_flood_of_dead_letters_holds_the_cell_instead(kafka: Kafka) -> None:
    """A single refused record is a dead letter. In a flood each probe makes one more dead letter, until one passes."""
    topic, other, cells = await prepared(kafka), Other(), Cells()
    other.refuses["a"] = lambda number: Rejected("REQUIRED_FIELD_MISSING") if number >= 10 else None
    async with working(kafka, other, cells=cells, breaker=Breaker(run=5)):
        await topics.produce(kafka, topic, records("a", *range(200)))
        await until(cells.held)
        assert "too many" in cells.held()["stage/a"]
        del other.refuses["a"]
        await until(lambda: not cells.held())
        letters = len(await topics.read(kafka, "connector.deadletters"))
        await until(lambda: len(other.done["a"]) == 200 - letters)
    assert 5 <= letters < 50


async def test_five_thousand_that_wait_do_not_hold_up_one(kafka: Kafka) -> None:
    """The records of the full cell are parked; the worker begins the other cell's record within seconds."""
    topic, other = await prepared(kafka), Other()
    slow = other.pauses["mass"] = asyncio.Event()
    async with working(kafka, other, in_flight=50):
        await topics.produce(kafka, topic, [*records("mass", *range(5_000)), *records("urgent", 1)])
        began = time.monotonic()
        await until(lambda: other.done["urgent"])
        assert time.monotonic() - began < 30
        assert other.tries["mass"] == 50, "what waits takes no more memory than its room"
        slow.set()
        await until(lambda: len(other.done["mass"]) == 5_000)
    assert other.done["mass"] == list(range(5_000))
