"""Workers that capture three channels, and their faults, in simulated time, for tests/unit/test_capture_simulated.py.

Salesforce, Kafka and the consumer group are in memory. `Capture`, `SharedWork`, `ChannelLog`, the cells and the clients
of Salesforce are the real ones.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Literal

import httpx
import pytest
from aiokafka.errors import KafkaConnectionError

from connector.cells import Cells
from connector.config import Kafka, PubSub
from connector.kafka import channel_log, connection
from connector.kafka.channel_log import POSITIONS, ChannelLog
from connector.kafka.cloud_events import OutRecord
from connector.kafka.dead_letters import DEAD_LETTERS, DeadLetters
from connector.kafka.shared_work import SharedWork
from connector.observe.metrics import Metrics
from connector.salesforce import ClientCredentials, PubSubClient, _connection
from connector.stages.capture import Capture
from helpers.simulated_group import Group
from helpers.simulated_kafka import SimulatedKafka
from helpers.simulated_play import Happening
from helpers.simulated_pubsub import BREAKS, NO_RIGHT, OUTAGE, Channel, SimulatedSalesforce
from helpers.simulated_sharing import patch_consumer
from helpers.simulated_workers import LONGEST, Worker, Workers, clock, run_stage

KAFKA = Kafka(bootstrap_servers="nowhere:9092")
HEALTHY = "/data/ContactChangeEvent"  # this channel never has a fault
AT_FAULT = ("/data/CaseChangeEvent", "/data/Visits__chn")  # positions of the second are on the healthy one's partition
CHANNELS = {HEALTHY: "Contact", AT_FAULT[0]: "Case", AT_FAULT[1]: "Visit__c"}
TOPICS = {entity: f"salesforce.cdc.{entity}" for entity in CHANNELS.values()}
PARTITIONS = 6
ENDS_WITHIN = 700.0  # seconds after the last fault: a probe every 300 s, and Salesforce asks for pauses of 300 s

CALM = (
    "events",
    "events",
    "ends",
    "unreadable",
    "break",
    "away",
    "no right",
    "silent",
    "lost",
    "new schema",
    "no schema",
)
OF_ALL = ("tokens", "no login", "kafka away", "mend", "mend")
OF_WORKERS = ("start", "stop", "rebalance", "kill", "freeze", "cut off")


@dataclass(frozen=True)
class Scenario:
    seed: int
    start: Literal["latest", "earliest"]
    lost_position: Literal["stop", "earliest"]
    trouble: float  # share of the requests to Kafka that meet a fault
    happenings: list[Happening]

    def is_calm(self) -> bool:
        """Whether only channels have faults."""
        return self.trouble == 0 and {each.what for each in self.happenings} <= {*CALM, "mend"}

    def doubles(self) -> set[str]:
        """The channels that capture reads again from the earliest event on, because it was told to."""
        if self.lost_position == "stop":
            return set()
        return {AT_FAULT[each.whom % 2] for each in self.happenings if each.what == "lost"}


class World(Workers):
    """Plays a scenario. `ever_held` are the cells that were held at some time."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario.seed)
        self.scenario = scenario
        self.kafka = SimulatedKafka(self.random, scenario.trouble, self.say)
        self.group = Group(self.random, self.say, PARTITIONS)
        self.salesforce = SimulatedSalesforce(self.random, CHANNELS, self.say)
        self.ever_held: set[str] = set()
        self._written: set[str] = set()
        self._seen = 0
        self._metrics = Metrics()

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        async def close() -> None: ...

        patch_consumer(patch, self.group, self.kafka)
        patch.setattr(connection, "AIOKafkaProducer", self.kafka.producer)
        patch.setattr(channel_log, "read_back", self.kafka.read_back)
        patch.setattr(_connection.grpc.aio, "insecure_channel", lambda *_: SimpleNamespace(close=close))
        patch.setattr(_connection, "PubSubStub", self.salesforce.stub)

    async def main(self, stopping: asyncio.Event) -> None:
        transport = httpx.MockTransport(self.salesforce.log_in)
        async with httpx.AsyncClient(transport=transport, trust_env=False) as http:
            tokens = ClientCredentials(http, "https://acme", client_id="i", client_secret="s", clock=clock)
            client = PubSubClient("nowhere:7443", False, tokens)
            capture = Capture(
                client,
                PubSub(start=self.scenario.start, lost_position=self.scenario.lost_position),
                TOPICS,
                channel_log=partial(ChannelLog, KAFKA),
                dead_letter=DeadLetters(KAFKA, "capture", lambda *_: None).of_body,
                metrics=self._metrics,
                cells=Cells(self.tell_held),
            )
            work = SharedWork(KAFKA, "capture", POSITIONS, list(CHANNELS), capture.follow, at_end=client.aclose)
            await run_stage(work, stopping, 5)

    def tell_held(self, cell: str, _: str, held: bool) -> None:
        self.say(f"{cell} is {'held' if held else 'released'}")
        self.ever_held.add(cell)

    async def beside(self) -> None:
        await self.group.run()

    async def story(self) -> None:
        self.start()
        self.start()
        while self.scenario.start == "latest" and not self.has_positions():  # noqa: ASYNC110 - the memory cannot tell
            await asyncio.sleep(1)  # until then capture may miss events
        self.publish()
        for happening in self.scenario.happenings:
            await asyncio.sleep(happening.after)
            self.make_happen(happening)
        await asyncio.sleep(LONGEST)  # after this no worker is frozen or cut off
        self.mend()
        self.kafka.trouble = 0.0
        self.publish()
        self.start_if_none_is_left()
        await self.until_all_is_done()

    async def until_all_is_done(self) -> None:
        async with asyncio.timeout(ENDS_WITHIN):
            while not self.all_done():
                await asyncio.sleep(1)
                self.raise_failures()
        await asyncio.sleep(1)  # for what is written once too often

    def make_happen(self, happening: Happening) -> None:
        channel = self.salesforce.channels[AT_FAULT[happening.whom % 2]]
        of_all = {
            "events": self.publish,
            "ends": self.end_streams,
            "tokens": self.salesforce.revoke_tokens,
            "mend": self.mend,
            "start": self.start,
            "rebalance": self.group.rebalance,
        }
        if happening.what in of_all:
            of_all[happening.what]()
        elif happening.what == "no login":
            self.salesforce.refuses = True
            self.salesforce.revoke_tokens()
        elif happening.what == "kafka away":
            self.lose_kafka()
        elif happening.what in OF_WORKERS:
            self.befall(happening)
        else:
            self.say(f"{channel.name}: {happening.what}")
            self.trouble(channel, happening.what)

    def trouble(self, channel: Channel, what: str) -> None:
        if what == "unreadable":
            self.salesforce.publish_unreadable(channel)
        elif what == "break":
            channel.break_streams(self.random.choice(BREAKS))
        elif what in {"away", "no right"}:
            channel.trouble = OUTAGE if what == "away" else NO_RIGHT
            channel.break_streams(channel.trouble)
        elif what == "silent":
            for stream in channel.streams:
                stream.silent = True
        elif what == "lost":
            channel.lost = True
            channel.break_streams(OUTAGE)
        elif what in {"new schema", "no schema"}:
            channel.version += 1
            channel.no_schemas = what == "no schema"

    def end_streams(self) -> None:
        """Ends the streams of all channels, which is no fault."""
        self.say("the streams end")
        for channel in self.channels():
            channel.end_streams()

    def befall_worker(self, worker: Worker, happening: Happening) -> None:
        super().befall_worker(worker, happening)
        if happening.what == "cut off":
            self.group.cut_off[worker.name] = clock() + happening.seconds

    def lose_kafka(self) -> None:
        self.say("kafka is away")
        self.kafka.error = KafkaConnectionError()
        self.group.cut_off |= {worker.name: float("inf") for worker in self.workers}

    def mend(self) -> None:
        self.say("all is well")
        self.salesforce.refuses, self.kafka.error = False, None
        self.group.cut_off.clear()
        for channel in self.channels():
            channel.mend()

    def publish(self) -> None:
        """Publishes some changes on every channel."""
        for channel in self.channels():
            self.salesforce.publish(channel, self.random.choice((1, 5, 30)))

    def all_done(self) -> bool:
        for _, record in self.kafka.committed_at[self._seen :]:
            self._written.add(what_is(record))
        self._seen = len(self.kafka.committed_at)
        return all(self._written.issuperset(event.wanted) for each in self.channels() for event in each.events)

    def has_positions(self) -> bool:
        return {record.key for record in self.kafka.committed()} == {channel.encode() for channel in CHANNELS}

    def channels(self) -> list[Channel]:
        return list(self.salesforce.channels.values())


def what_is(record: OutRecord) -> str:
    """The id of a change event; for a dead letter the hex of its bytes."""
    if record.topic == DEAD_LETTERS:
        return (record.value or b"").hex()
    return dict(record.headers)["ce_id"].decode()


def channel_of(record: OutRecord) -> str:
    """The channel that a record of capture comes from."""
    if record.topic == DEAD_LETTERS:
        return (record.key or b"").decode().partition(" ")[0]
    return dict(record.headers)["ce_source"].decode()
