"""Topics of a benchmark's own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connector.config import Kafka
from connector.kafka.connection import admin_client


@asynccontextmanager
async def topics_deleted(kafka: Kafka) -> AsyncIterator[None]:
    """Deletes every topic with this prefix at the end. Raises Fatal when no broker answers."""
    async with admin_client(kafka) as admin:
        try:
            yield
        finally:
            await admin.delete_topics([n for n in await admin.list_topics() if n.startswith(kafka.topic_prefix)])
