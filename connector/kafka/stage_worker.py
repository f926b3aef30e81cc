"""Runs one stage over its topics: many records at once, committed in order, none lost and none skipped (rules 1 to 4).

One Faust agent hands the records out. The worker does a record's work cell by cell (`cell_work.py`). Work of a held
cell, or of one with more than its share in memory, is parked (`parking.py`), so that the other cells do not wait.
`OrderedAcks` gives the positions to commit. To hold a stage back, the agent blocks; it never pauses partitions. When
Kafka revokes partitions, the worker drops what is in flight, and Kafka delivers it again.
"""

import asyncio
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from faust.types import TP

from connector.config import Kafka
from connector.kafka import preflight
from connector.kafka.cell_work import CellWork, Work
from connector.kafka.faust_app import faust_app
from connector.kafka.faust_consumer import fetch_positions, last_fetched, ongoing
from connector.kafka.holes import Hole, look_for_holes
from connector.kafka.inbound import InRecord, consumed
from connector.kafka.lot import Lot
from connector.kafka.lots import Lots
from connector.kafka.ordered import OrderedAcks
from connector.kafka.partition_tasks import PartitionTasks
from connector.kafka.rooms import Rooms
from connector.kafka.watch import Consumption, StandsStill, Watch

_STARTED_WITHIN = 5.0  # seconds for a stopped start
_UNCOMMITTED = 100_000  # records of a partition after a slow one: 10 MB; a crash repeats no more

OnHole = Callable[[Hole], None]
Beside = Callable[[TP, Callable[[InRecord], Awaitable[None]]], Coroutine[Any, Any, None]]
Settle = Callable[[set[tuple[str, int]]], Awaitable[None]]


async def nothing(_: set[tuple[str, int]]) -> None:
    """For a stage that keeps nothing by partition."""


class StageWorker:
    """Carries out the work of each record of `topics`, at most `in_flight` pieces at once in each cell.

    A cell's work begins in the order of delivery per partition. `lots` keeps what waits; without it all waits in
    memory. It calls `settle(partitions)` before it gives them away. A stage that `drains` gets time at its
    stop to finish what is in flight; another only settles. `on_hole` is called for records that Kafka deleted unread;
    its error ends the worker. `beside(partition, again)` runs while it has the partition; `again` does a record's work.
    """

    def __init__(
        self,
        name: str,
        kafka: Kafka,
        topics: Sequence[str],
        work: CellWork,
        *,
        in_flight: int,
        lots: Lots | None = None,
        settle: Settle = nothing,
        drains: bool = True,
        on_hole: OnHole = lambda _: None,
        beside: Beside | None = None,
    ) -> None:
        self._beside = beside
        self.name = name
        self._on_hole = on_hole
        self._kafka = kafka
        self._group = kafka.topic_prefix + name
        self._topics = topics
        self._work = work
        self._settle = settle
        self._drains = drains
        self._lots = lots
        self._rooms = Rooms(in_flight, work, lots)
        self._acks: defaultdict[TP, OrderedAcks] = defaultdict(OrderedAcks)
        self._tasks = PartitionTasks(self._fail)
        self._given_away: int | None = None  # the generation whose partitions are gone
        self._committable = asyncio.Event()  # set when a partition's position may have moved
        self._held_back = False
        self._draining = False
        self._app: Any = None
        self._starting: asyncio.Task[None] | None = None
        self.watch = Watch(kafka, self._group, topics[0], self.consumption)
        self._watching: asyncio.Task[None] | None = None
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Joins the group and begins to work.

        Raises:
            Fatal, Retryable: As `preflight.require` says.
        """
        await preflight.require(self._kafka, self._group, self._topics)
        self._app = faust_app(self._kafka, self.name, self)
        topic = self._app.topic(
            *self._topics, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        self._app.agent(topic, name=self.name)(self._read)
        self._app.finalize()
        self._starting = asyncio.create_task(self._app.start())
        await asyncio.shield(self._starting)  # else Faust's consumer thread can stay behind
        self._watching = asyncio.create_task(self.watch.run(self._fail))

    @property
    def ready(self) -> bool:
        """Whether it is a member of its group, with or without partitions."""
        return (
            self._app is not None
            and self._app.started
            and not self._app.rebalancing
            and self._app.consumer_generation_id > 0
        )

    @property
    def in_flight(self) -> int:
        return sum(acks.in_flight for acks in self._acks.values())

    @property
    def lag(self) -> float:
        """How many records of its topics are not finished; NaN while not known."""
        return math.nan if self.watch.lag is None else self.watch.lag

    def check(self) -> None:
        """Raises StandsStill when Faust has stopped; it does not always say so."""
        if self._app is not None and (self._app.crashed or self._app.should_stop):
            raise StandsStill(self.name, f"Faust stopped ({self._app.crash_reason!r})")

    async def consumption(self) -> Consumption:
        """How far the worker is; see `Watch`."""
        fetched = await fetch_positions(self._app) if self.ready else None
        if fetched is None:
            return Consumption(is_member=False)
        return Consumption(
            is_member=True,
            held_back=self._held_back,
            in_flight=self.in_flight,
            fetched=fetched,
            got=last_fetched(self._app),
            ongoing=ongoing(self._app),
            handed_out={tp: acks.delivered for tp, acks in self._acks.items() if acks.delivered is not None},
            finished={tp: acks.position for tp, acks in self._acks.items() if acks.position is not None},
        )

    async def stop(self, drain: float) -> None:
        """Takes no more records, gives those in flight `drain` seconds, commits and leaves the group."""
        self._draining = True
        if self._watching is not None:
            self._watching.cancel()
        if self._drains:
            await self._tasks.ended(drain)
        partitions = self._tasks.partitions
        await self._settle({(tp.topic, tp.partition) for tp in partitions})
        await self._tasks.cancel(partitions)
        if self._starting is not None:
            await asyncio.wait({self._starting}, timeout=_STARTED_WITHIN)  # Faust cannot be stopped in its start
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
            await self._app.stop()

    async def _read(self, stream: Any) -> None:
        try:
            async for event in stream.noack().events():
                for record in event.message.records:
                    await self._take(consumed(record), event.message)
                event.ack()  # frees Faust's books; we commit
        except Exception as error:
            self._fail(error)  # Faust only logs it
            raise

    async def _take(self, record: InRecord, batch: Any) -> None:
        """Begins the work of a record, once there is room for it."""
        self._held_back = True
        try:
            await self._wait_for_commits(batch.tp)
            if self._lots and not await self._lots.known(batch.tp):
                return
            parts = self._work.parts(record)
            has_room = {cell: await self._rooms.take(batch.tp, cell) for cell in parts}
        finally:
            self._held_back = False
        is_ours = batch.generation_id == self._app.consumer_generation_id != self._given_away
        if self._draining or not is_ours:
            for cell in (cell for cell, has in has_room.items() if has):
                self._rooms.leave(cell)
            return
        self._begin(batch.tp, record, parts, has_room)

    async def _wait_for_commits(self, partition: TP) -> None:
        """Waits while too many records of the partition wait for an unfinished one."""
        while self._acks[partition].in_flight >= _UNCOMMITTED and not self._draining:
            self._committable.clear()
            await self._committable.wait()

    def _begin(self, partition: TP, record: InRecord, parts: Mapping[str, Work], has_room: Mapping[str, bool]) -> None:
        acks = self._acks[partition]
        acks.add(record.offset)
        undone = set(parts)

        def done(cell: str) -> None:
            undone.discard(cell)
            if not undone:
                acks.done(record.offset)
                self._committable.set()

        if not parts:
            acks.done(record.offset)
        for cell, work in parts.items():
            if has_room[cell]:
                if self._lots:
                    self._lots.begins(partition, cell, record.offset)
                self._tasks.spawn(partition, self._work_off(record, cell, work, done))
            elif self._lots:
                self._tasks.spawn(partition, self._park(self._lots, partition, record, cell, done))

    async def _work_off(self, record: InRecord, cell: str, work: Work, done: Callable[[str], None]) -> None:
        partition = TP(record.topic, record.partition)
        try:
            if self._lots is None:
                await self._work.finish(record, cell, work)
            elif not await self._work.tried(record, cell, work):
                await self._lots.park_begun(self._lot(self._lots, partition, cell), record)
            else:
                self._lots.ends(partition, cell, record.offset)
            done(cell)
        finally:
            self._rooms.leave(cell)

    async def _park(self, lots: Lots, partition: TP, record: InRecord, cell: str, done: Callable[[str], None]) -> None:
        await lots.park(self._lot(lots, partition, cell), record)
        done(cell)

    def _lot(self, lots: Lots, partition: TP, cell: str) -> Lot:
        lot, is_new = lots.lot(partition, cell)
        if is_new:
            self._tasks.spawn(partition, lots.work_off(lot, self._work), in_background=True)
        return lot

    def _fail(self, error: BaseException) -> None:
        if not self.failure.done():
            self.failure.set_exception(error)

    def acks(self, partition: TP) -> OrderedAcks:
        """See `Offsets`."""
        return self._acks[partition]

    async def assigned(self, partitions: set[TP]) -> None:
        """See `Offsets`. Unless it stops, works off what is parked there, even if no record comes."""
        await look_for_holes(self._kafka, self._group, partitions, self._on_hole, self._fail)
        for partition in () if self._draining else partitions:
            if self._lots:
                lots = self._work_off_lots(self._lots, self._lots.open(partition))
                self._tasks.spawn(partition, lots, in_background=True)
            if self._beside:
                self._tasks.spawn(partition, self._beside(partition, self._again), in_background=True)

    async def _again(self, record: InRecord) -> None:
        for cell, work in self._work.parts(record).items():
            await self._work.finish(record, cell, work)

    async def _work_off_lots(self, lots: Lots, opening: Awaitable[list[Lot]]) -> None:
        for lot in await opening:
            self._tasks.spawn(lot.place.source, lots.work_off(lot, self._work), in_background=True)

    async def settle(self, partitions: set[TP]) -> None:
        """See `Offsets`."""
        self._given_away = self._app.consumer_generation_id
        await self._settle({(tp.topic, tp.partition) for tp in partitions})
        await self._tasks.cancel(partitions)

    def forget(self, partitions: set[TP]) -> None:
        """See `Offsets`."""
        for partition in partitions:
            self._acks.pop(partition, None)
            if self._lots:
                self._lots.forget(partition)
        self._committable.set()
