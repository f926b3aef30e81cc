"""Watches a stage's consumer from outside: how far behind it is, and whether it has silently stopped working.

After an outage or a rebalance Faust and aiokafka may go on without an error but hand out or commit nothing any more.
So the watch uses its own client to ask Kafka where topics end and what is committed. That tells a consumer that stands
still from one that has nothing to do. During an outage of Kafka a consumer counts as neither.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from connector.config import Kafka
from connector.errors import Retryable
from connector.kafka.connection import client_settings, opened
from connector.kafka.errors import translated
from connector.kafka.lag import Offsets, age, first_written, records, unfinished

log = structlog.get_logger(__name__)

_EVERY = 10.0  # seconds between two looks
_TIMEOUT = 10.0  # seconds that a look may take; a broker that needs longer is away
_SAY_AGAIN = 60.0  # seconds between two log lines about the same outage
_STANDS_STILL = 120.0  # seconds without a step: twice the 60 s that a rebalance may take
_HANGS = 90.0  # seconds until a transaction hangs: Kafka ends one of ours after 60 s, and looks each 10 s


@dataclass(frozen=True)
class Consumption:
    """How far a consumer says that it is. `held_back`: it takes no more records for now, on purpose.

    By partition: `fetched` is the next offset that it will ask Kafka for, `got` the offset after the last record that
    it has fetched, `handed_out` the one after the last record that it took into work, `finished` the offset that it
    wants committed, `ongoing` the first offset of a transaction that has not ended; it gets nothing behind that.
    """

    is_member: bool
    held_back: bool = False
    in_flight: int = 0
    fetched: Offsets = field(default_factory=dict)
    got: Offsets = field(default_factory=dict)
    handed_out: Offsets = field(default_factory=dict)
    finished: Offsets = field(default_factory=dict)
    ongoing: Offsets = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """What a consumer says, and what Kafka says: where its partitions end, and up to where it has committed."""

    consumption: Consumption
    ends: Offsets
    committed: Offsets

    @property
    def lag(self) -> int:
        """How many records are not finished; a transaction counts as one more."""
        return records(self.unfinished, self.ends)

    @property
    def unfinished(self) -> Offsets:
        """The offset of the first record that is not finished, for each partition that has one."""
        own = self.consumption
        done = {**own.fetched, **self.committed} if own.in_flight else own.fetched
        return unfinished({partition: done[partition] for partition in own.fetched}, self.ends)

    def since(self, before: "Look") -> int:
        """How many offsets were finished since an earlier look, in the partitions that the consumer had at both."""
        both = self.committed.keys() & before.committed.keys()
        return sum(max(0, self.committed[partition] - before.committed[partition]) for partition in both)


class StandsStill(Retryable):
    """A consumer does nothing any more, though Kafka answers. A new process has to take its place."""

    def __init__(self, group: str, reason: str) -> None:
        super().__init__(
            f"the Kafka consumer of {group} stands still: {reason}. Start the service again: what is not finished is"
            " delivered again."
        )


def why_it_stands_still(before: Look, now: Look) -> str | None:
    """What a consumer did not do between two looks though it could have; None when all is well."""
    was, own = before.consumption, now.consumption
    if not was.is_member and not own.is_member:
        return "it is no member of its group, or does not answer"
    may_take = not was.held_back and not own.held_back
    for partition in was.fetched.keys() & own.fetched.keys():
        place, offset = f"{partition.topic}/{partition.partition}", own.fetched[partition]
        took_none = was.handed_out.get(partition) == own.handed_out.get(partition) and was.fetched[partition] == offset
        if may_take and took_none and offset < before.ends[partition]:
            return f"it takes no record of {place}, where there are some from offset {offset} on"
        got = own.got.get(partition, 0)
        if may_take and took_none and was.got.get(partition) == got > own.handed_out.get(partition, 0):
            return f"it has fetched {place} up to offset {got - 1} and does not take these records into work"
        if was.finished.get(partition, 0) > now.committed.get(partition, 0):
            return f"it does not commit offset {was.finished[partition]} of {place}"
    return None


class Watch:
    """Looks at the consumer of a group. `lag` is what the last look found, None while Kafka is away.

    `lag_seconds` is the age of the oldest record that is not finished, NaN while it is not known. `finished` is how
    many offsets were finished since the first look. `hanging` is how many partitions have a transaction that hangs: it
    has not ended for `hangs`, and hides all records behind it, so that there seems to be no lag. `consumption()` asks
    the consumer how far it is; `topic` is one that the group reads. Times are in seconds.
    """

    def __init__(
        self,
        kafka: Kafka,
        group: str,
        topic: str,
        consumption: Callable[[], Awaitable[Consumption]],
        *,
        stands_still: float = _STANDS_STILL,
        hangs: float = _HANGS,
        every: float = _EVERY,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._kafka = kafka
        self._group = group
        self._anywhere = TopicPartition(topic, 0)
        self._consumption = consumption
        self._stands_still = stands_still
        self._hangs = hangs
        self._every = every
        self._clock = clock
        self._sleep = sleep
        self._now = now
        self.lag: int | None = None
        self.lag_seconds = math.nan
        self.finished = 0
        self.hanging = 0
        self._ongoing: dict[tuple[TopicPartition, int], float] = {}  # transactions that have not ended, and since when
        self._said_at = -math.inf

    async def run(self, fail: Callable[[BaseException], None]) -> None:
        """Looks until it is cancelled, or until it calls `fail` with the error that must end the process.

        That is StandsStill when the consumer has made no step for `stands_still`, or Fatal when Kafka refuses us.
        """
        try:
            await self._look_until_it_stands_still()
        except Exception as error:  # noqa: BLE001 - the owner of the watch decides what to do
            fail(error)

    async def _look_until_it_stands_still(self) -> NoReturn:
        said_at = -math.inf
        while True:
            try:
                async with self._client() as client:
                    reason = await self._look_on(client)
                break
            except Retryable as error:  # an outage: after it the consumer has all of its time again
                self.lag, self.lag_seconds = None, math.nan
                self.hanging, self._ongoing = 0, {}
                if self._clock() - said_at >= _SAY_AGAIN:
                    said_at = self._clock()
                    log.warning("kafka_is_away", group=self._group, error=str(error))
            await self._sleep(self._every)
        raise StandsStill(self._group, reason)

    async def _look_on(self, client: AIOKafkaConsumer) -> str:
        before, since = await self._look(client), None
        while True:
            await self._sleep(self._every)
            now = await self._look(client)
            self._look_for_hanging(now.consumption.ongoing)
            written = await first_written(self._kafka, now.unfinished)
            self.lag, self.lag_seconds = now.lag, age(written, self._now())
            self.finished += now.since(before)
            reason = why_it_stands_still(before, now)
            if reason is None:
                since = None
            elif since is None:
                since = self._clock()
            elif self._clock() - since >= self._stands_still:
                return reason
            before = now

    def _look_for_hanging(self, ongoing: Offsets) -> None:
        now = self._clock()
        self._ongoing = {place: self._ongoing.get(place, now) for place in ongoing.items()}
        hanging = [place for place, since in self._ongoing.items() if now - since >= self._hangs]
        self.hanging = len(hanging)
        if hanging and now - self._said_at >= _SAY_AGAIN:
            self._said_at = now
            for (topic, partition), offset in hanging:
                log.error(
                    "transaction_hangs",
                    group=self._group,
                    place=f"{topic}/{partition}",
                    offset=offset,
                    effect="nothing behind it is read, now or after a restart",
                    advice="end it: docs/kafka.md, Transactions that hang",
                )

    async def _look(self, client: AIOKafkaConsumer) -> Look:
        own = await self._consumption()
        with translated():
            async with asyncio.timeout(_TIMEOUT):
                ends = await client.end_offsets(list(own.fetched) or [self._anywhere])
                # aiokafka's `committed` would ask Kafka for each partition by itself.
                committed = await client._coordinator.fetch_committed_offsets(list(own.fetched))
        return Look(own, ends, {partition: at.offset for partition, at in committed.items()})

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[AIOKafkaConsumer]:
        """A client that asks about the group without being a member of it."""
        client = AIOKafkaConsumer(
            **client_settings(self._kafka),
            group_id=self._group,
            enable_auto_commit=False,
            isolation_level="read_committed",
        )
        async with opened(client):
            yield client
