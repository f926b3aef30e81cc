"""A transaction that fails halfway leaves nothing behind for asyncio to log."""

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from connector.errors import Retryable
from connector.kafka.cloud_events import OutRecord
from connector.kafka.connection import transaction


class _Failing:
    """aiokafka's producer while Kafka goes down: the first batch is on its way, and the second is not accepted."""

    def __init__(self) -> None:
        self._sent = 0

    async def begin_transaction(self) -> None: ...

    async def partitions_for(self, _: str) -> set[int]:
        return {0, 1}

    def create_batch(self) -> SimpleNamespace:
        return SimpleNamespace(append=lambda **_: True)

    async def send_batch(self, *_: Any, **__: Any) -> asyncio.Future[None]:
        self._sent += 1
        if self._sent == 2:
            raise KafkaError("Unexpected error during batch delivery")
        future = asyncio.get_running_loop().create_future()
        future.set_exception(KafkaError("Unexpected error during batch delivery"))
        return future


async def test_an_error_that_nobody_asks_for_is_not_logged() -> None:
    """asyncio would log each one as an error with a traceback, some time after the outage of Kafka."""
    logged: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    records = [OutRecord("topic", b"key", b"value", [], partition) for partition in (0, 1)]
    with pytest.raises(Retryable):
        await transaction(_Failing(), records)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    gc.collect()
    assert logged == []
