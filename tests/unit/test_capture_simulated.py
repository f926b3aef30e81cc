"""capture in simulated time: every change is on its topic exactly once and in order, and no channel delays another.

Channels lose their streams, rights, positions and schemas. Workers are killed, frozen, stopped and cut off. Kafka is
away or does not answer. The stage, the sharing of its work, the channel log and Salesforce's clients are the real ones.
"""

import asyncio
from functools import partial

import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from helpers import simulated_play
from helpers.simulated_capture import CALM, HEALTHY, OF_ALL, OF_WORKERS, Scenario, World, channel_of, what_is
from helpers.simulated_play import Happening, play
from helpers.simulated_workers import LONGEST, run
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.kafka.channel_log import POSITIONS
from connector.records import Position

PROMPT = 4.0  # seconds: a token, a stream and a new schema, and two transactions

happenings = partial(simulated_play.happenings, gap=40, longest=LONGEST)
SCENARIOS = st.builds(
    Scenario,
    seed=st.integers(0, 2**32),
    start=st.sampled_from(["earliest", "earliest", "latest"]),
    lost_position=st.sampled_from(["stop", "earliest"]),
    trouble=st.sampled_from([0.0, 0.0, 0.02, 0.1]),
    happenings=happenings(*CALM, "mend")
    | happenings("events", "no schema", "no right")
    | happenings("events", *OF_WORKERS)
    | happenings(*CALM, *OF_ALL)
    | happenings(*CALM, *OF_ALL, *OF_WORKERS),
)


# A custom channel loses its position, is read again from the earliest event on, and its stream breaks among events that
# share a replay id.
LOST = [Happening(0.4, "lost", 1, 1.0), Happening(0.4, "lost", 1, 1.0), Happening(36.0, "no right", 1, 1.0)]


@settings(max_examples=120, deadline=None)
@given(SCENARIOS)
@example(Scenario(seed=1, start="earliest", lost_position="earliest", trouble=0.0, happenings=LOST))
@example(Scenario(seed=0, start="latest", lost_position="earliest", trouble=0.0, happenings=LOST))
@example(Scenario(seed=25, start="latest", lost_position="earliest", trouble=0.0, happenings=LOST))
def test_every_change_is_written_once_whatever_befalls_channels_and_workers(scenario: Scenario) -> None:
    play(World(scenario), run, check)


def check(world: World) -> None:
    """Each channel's changes and dead letters are on the topics, and the healthy channel's are there at once."""
    for channel in world.channels():
        records = [record for record in world.kafka.committed() if record.topic != POSITIONS]
        written = [what_is(record) for record in records if channel_of(record) == channel.name]
        if channel.name in world.scenario.doubles():
            written = list(dict.fromkeys(written))
        assert written == [what for event in channel.events for what in event.wanted], channel.name
    check_positions(world)
    if world.scenario.is_calm():
        assert world.ever_held <= {"capture/data.CaseChangeEvent", "capture/data.Visits__chn"}
        written_at = {what_is(record): at for at, record in world.kafka.committed_at}
        for event in world.salesforce.channels[HEALTHY].events:
            assert all(written_at[what] - event.at < PROMPT for what in event.wanted)


def check_positions(world: World) -> None:
    """When a position is written, every event up to it is on the topics."""
    written: set[str] = set()
    for _, record in world.kafka.committed_at:
        if record.topic != POSITIONS:
            written.add(what_is(record))
            continue
        position = Position.model_validate_json(record.value or b"")
        for event in world.salesforce.channels[position.channel].events:
            if event.replay_id <= bytes.fromhex(position.replay_id):
                assert written.issuperset(event.wanted), position


class FirstStart(World):
    """The first changes come while Kafka refuses them, or Salesforce has no schemas. No position leads back to them.

    On a custom channel several events share a replay id, so that even the first of them may lead past the others.
    """

    def __init__(self, trouble: str, seed: int) -> None:
        super().__init__(Scenario(seed, start="latest", lost_position="stop", trouble=0.02, happenings=[]))
        self._trouble = trouble

    async def story(self) -> None:
        self.start()
        while not all(channel.streams for channel in self.channels()):  # noqa: ASYNC110 - the memory cannot tell
            await asyncio.sleep(0.1)
        if self._trouble == "kafka":
            self.kafka.error = TopicAuthorizationFailedError()
        for channel in self.channels():
            channel.no_schemas = self._trouble == "no schema"
        for _ in range(3):
            self.publish()
            await asyncio.sleep(20)
        assert {record.topic for record in self.kafka.committed()} <= {POSITIONS}
        self.mend()
        self.publish()
        await self.until_all_is_done()

    def publish(self) -> None:
        for channel in self.channels():
            if not channel.name.endswith("__chn"):
                self.salesforce.publish(channel, self.random.choice((1, 5, 30)))


@pytest.mark.parametrize("trouble", ["kafka", "no schema"])
@pytest.mark.parametrize("seed", range(5))
def test_the_first_changes_wait_for_kafka_and_for_their_schemas(trouble: str, seed: int) -> None:
    play(FirstStart(trouble, seed), run, check)
