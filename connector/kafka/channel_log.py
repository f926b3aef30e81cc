"""What capture has written for one channel: change events and the position after them, in one transaction."""

from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from pydantic import ValidationError

from connector.config import Kafka
from connector.errors import Fatal
from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.connection import close, transaction, transactional_producer
from connector.kafka.read_back import read_back
from connector.records import Position

POSITIONS = "salesforce.positions"


def position_record(topic: str, position: Position, partition: int) -> OutRecord:
    """The record of a channel's position."""
    return to_record(
        topic,
        position.channel,
        position,
        ce_type="salesforce.position",
        ce_source=position.channel,
        ce_id=f"{position.channel}@{position.replay_id}",
        ce_time=position.at,
        partition=partition,
    )


class ChannelLog:
    """`open` it, then `append` each batch. `partition` is the channel's partition of salesforce.positions."""

    def __init__(self, kafka: Kafka, channel: str, partition: int) -> None:
        self.channel = channel
        self.position: Position | None = None
        self._kafka = kafka
        self._topic = kafka.topic_prefix + POSITIONS
        self._partition = partition
        self._producer: AIOKafkaProducer | None = None

    async def open(self) -> None:
        """Fences the worker that had the channel, and reads the channel's `position`. Does nothing if already open.

        Raises:
            Fatal: The record that should hold the position does not hold one.
            Retryable: Kafka is away.
        """
        if self._producer is not None:
            return
        producer = await transactional_producer(self._kafka, f"capture-{self.channel}")
        try:
            self.position = await self._last_position()
        except BaseException:
            await close(producer)
            raise
        self._producer = producer

    async def append(self, records: Sequence[OutRecord], position: Position) -> None:
        """Writes all of the records and the position, or nothing.

        After an error the log is closed. Only opening it again tells whether they were written.

        Raises:
            Fenced: Another worker has the channel now.
            Rejected: Kafka refuses a record for its size.
            Retryable: Kafka is away.
        """
        if self._producer is None:
            raise RuntimeError(f"the log of {self.channel} is not open")
        try:
            await transaction(self._producer, [*records, position_record(self._topic, position, self._partition)])
        except BaseException:
            await self.close()
            raise
        self.position = position

    async def close(self) -> None:
        """Releases the producer."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await close(producer)

    async def _last_position(self) -> Position | None:
        last = None
        async for record in read_back(self._kafka, self._topic, self._partition):
            if record.key == self.channel.encode():
                last = record
        if last is None or last.value is None:
            return None
        try:
            return Position.model_validate_json(last.value)
        except ValidationError as error:
            raise Fatal(
                f"{self._topic}, partition {self._partition}, offset {last.offset} is no position, so where"
                f" {self.channel} goes on is not known. Stop capture, and say where with `connector positions set`."
            ) from error
