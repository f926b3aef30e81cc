"""A process that stood still waits until Kafka tells it what it still owns; other processes do not wait."""

import asyncio

import pytest
from helpers.clock import Clock

from connector.kafka.awake import Awake


class Time(Clock):
    """A clock that moves when the test sleeps; `slept` is the total, in seconds."""

    slept = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds
        await asyncio.sleep(0)


@pytest.fixture
def time() -> Time:
    return Time(1_000_000.0)


@pytest.fixture
def awake(time: Time) -> Awake:
    return Awake(clock=time, sleep=time.sleep)


@pytest.mark.parametrize("gap", [0.0, 1.0, 4.9, -3600.0])
async def test_who_was_not_frozen_is_sure_at_once(gap: float, awake: Awake, time: Time) -> None:
    """A clock that was set back is not a freeze either."""
    time.now += gap
    await awake.sure()
    assert time.slept == 0


@pytest.mark.parametrize("gap", [5.1, 3600.0])
async def test_after_a_freeze_everybody_waits_for_kafka_to_tell(gap: float, awake: Awake, time: Time) -> None:
    time.now += gap
    await asyncio.gather(awake.sure(), awake.sure())
    assert time.slept >= 15
    time.slept = 0
    await awake.sure()
    assert time.slept == 0


async def test_the_freeze_is_known_too_when_the_look_comes_first_after_it(awake: Awake, time: Time) -> None:
    """We cannot know which task a process runs first when it wakes."""
    time.now += 60
    looking = asyncio.create_task(awake.run())
    await asyncio.sleep(0)
    looking.cancel()
    await awake.sure()
    assert time.slept >= 15
