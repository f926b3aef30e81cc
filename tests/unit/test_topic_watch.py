"""While stages run, their topics are looked at: what is wrong twice is told to the stages that it concerns."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from connector.config.catalogue import Topic
from connector.errors import Fatal, Retryable
from connector.wiring.topic_watch import TopicWatch

ONE, OTHER, BOTH = (
    Topic(name=name, summary="", owner="", key="", partitions=1, cleanup="delete", personal_data=False)
    for name in ("one", "other", "both")
)
STAGES = {"first": [ONE, BOTH], "second": [OTHER, BOTH], "third": []}


class Kafka:
    """`faults` are what is wrong, by topic, at one look after the other; a look asks once or more."""

    def __init__(self, *faults: dict[str, Fatal]) -> None:
        self._faults = [{}, *faults]
        self.asked: list[set[str]] = []

    async def require(self, topics: Sequence[Topic]) -> None:
        self.asked.append({topic.name for topic in topics})
        for topic in topics:
            if topic.name in self._faults[0]:
                raise self._faults[0][topic.name]

    async def until_the_next_look(self, _: float) -> None:
        self._faults.pop(0)
        if not self._faults:
            raise asyncio.CancelledError


async def told(kafka: Kafka) -> dict[str, str]:
    """What each stage was told in the looks."""
    said: dict[str, str] = {}

    def tell(stage: str, error: Fatal) -> None:
        said[stage] = str(error)

    watch = TopicWatch(STAGES, kafka.require, tell, sleep=kafka.until_the_next_look)
    with suppress(asyncio.CancelledError):
        await watch.run()
    return said


async def test_one_look_is_enough_while_nothing_is_wrong() -> None:
    kafka = Kafka({}, {})
    assert await told(kafka) == {}
    assert kafka.asked == [{"one", "other", "both"}] * 2


async def test_only_the_stages_that_have_the_topic_are_told_and_only_of_what_lasts() -> None:
    gone = Fatal("gone")
    assert await told(Kafka({"one": gone}, {"one": gone})) == {"first": "gone"}
    assert await told(Kafka({"both": gone}, {"both": gone})) == {"first": "gone", "second": "gone"}
    assert await told(Kafka({"one": gone}, {})) == {}
    assert await told(Kafka({"one": gone}, {"other": gone})) == {}


async def test_nobody_is_told_that_no_broker_answers() -> None:
    away = Fatal("no broker answers")
    away.__cause__ = Retryable("connection refused")
    assert await told(Kafka({"both": away}, {"both": away})) == {}
