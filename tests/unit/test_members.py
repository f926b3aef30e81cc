"""What the members and offsets of a group are read from."""

from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError
from aiokafka.structs import OffsetAndMetadata

from connector.kafka.members import committed

PLACE = TopicPartition("topic", 0)


class NewCluster:
    """It makes the topic of its groups' offsets when somebody asks for the first time."""

    def __init__(self) -> None:
        self.answers: list[Any] = [
            GroupCoordinatorNotAvailableError(),
            NotCoordinatorForGroupError(),
            {PLACE: OffsetAndMetadata(7, "")},
        ]

    async def list_consumer_group_offsets(self, _: str) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_the_offsets_of_a_cluster_that_never_had_a_group_are_waited_for() -> None:
    cluster: Any = NewCluster()
    assert await committed(cluster, "group") == {PLACE: 7}
