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
        self._waiting: list[tuple[OutRecord, asyncio.Future[bool]]] = []
        self._sending = set[asyncio.Task[None]]()

    async def publish(self, record: OutRecord) -> None:
        """Raises what `publish_all` raises for this record."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            sending = loop.create_task(self._together())
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)
        went = loop.create_future()
        self._waiting.append((record, went))
        if not await went:
            await self._publish_all([record])

    async def _together(self) -> None:
        await asyncio.sleep(0)  # those of the same call's results are ready now
        waiting, self._waiting = self._waiting, []
        try:
            await self._publish_all([record for record, _ in waiting])
            went = True
        except Exception:  # noqa: BLE001 - each caller gets its own error
            went = False
        for _, future in waiting:
            if not future.done():  # its caller may have given up
                future.set_result(went)
