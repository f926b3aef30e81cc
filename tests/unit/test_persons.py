"""What send waits for before it knows persons."""

import asyncio

from connector.config import Kafka
from connector.kafka.follower import Follower
from connector.wiring.persons import PersonTopics


class Topics(PersonTopics):
    """Follows one topic, of a Kafka that is away."""

    def __init__(self) -> None:
        follower = Follower(Kafka(bootstrap_servers="none:9"), "topic", lambda _: None)
        self._followers = {"topic": follower}
        self._began = asyncio.Event()
        self._tasks = [asyncio.create_task(asyncio.Event().wait())]  # type: ignore[list-item]


async def test_a_wait_that_is_cancelled_leaves_no_task_behind() -> None:
    """Each rebalance during an outage would leave one."""
    persons = Topics()
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(persons.caught_up())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    await persons.stop()
