"""How commands ask Kafka."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from connector.config import Kafka
from connector.operate.letters import require_kafka

T = TypeVar("T")


def with_kafka(kafka: Kafka, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Does what needs Kafka. Raises Fatal when no broker answers, and what the work raises."""

    async def asked() -> T:
        await require_kafka(kafka)
        return await work()

    return asyncio.run(asked())
