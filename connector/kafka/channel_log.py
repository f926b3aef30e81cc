"""What capture has written for one channel: change events and the position behind them, in one transaction."""

from collections.abc import Sequence
from typing import Self

from aiokafka import AIOKafkaProducer

from connector.config import Kafka
from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.connection import transaction, transactional_producer
from connector.kafka.read_back import read_back
from connector.records import Position

POSITIONS = "salesforce.positions"


class ChannelLog:
    """Open with `await ChannelLog.open(…)`: that fences the worker that had the channel and finds its position."""

    def __init__(self, kafka: Kafka, channel: str, partition: int, producer: AIOKafkaProducer) -> None:
        self.channel = channel
        self.position: Position | None = None
        self._topic = kafka.topic_prefix + POSITIONS
        self._partition = partition
        self._producer = producer

    @classmethod
    async def open(cls, kafka: Kafka, channel: str, partition: int) -> Self:
        """Raises Retryable while Kafka is away."""
        producer = await transactional_producer(kafka, f"capture-{channel}")
        channel_log = cls(kafka, channel, partition, producer)
        try:
            async for record in read_back(kafka, channel_log._topic, partition):
                if record.key == channel.encode() and record.value is not None:
                    channel_log.position = Position.model_validate_json(record.value)
        except BaseException:
            await producer.stop()
            raise
        return channel_log

    async def append(self, records: Sequence[OutRecord], position: Position) -> None:
        """All of the records and the position, or none.

        Raises:
            Fenced: Another worker has the channel now.
        """
        behind = to_record(
            self._topic,
            self.channel,
            position,
            ce_type="salesforce.position",
            ce_source=self.channel,
            ce_id=f"{self.channel}@{position.replay_id}",
            ce_time=position.at,
            partition=self._partition,
        )
        await transaction(self._producer, [*records, behind])
        self.position = position

    async def close(self) -> None:
        """Releases the producer."""
        await self._producer.stop()
