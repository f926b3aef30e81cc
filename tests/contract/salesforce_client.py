"""Our Salesforce client, connected to its own double."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from helpers.plain_http import plain_http
from helpers.waiting import PATIENCE

from connector.salesforce import (
    Batch,
    ClientCredentials,
    DecodedChange,
    PubSubClient,
    RawEvent,
    RestClient,
    TokenSource,
    decode,
)
from connector.sandbox.doubles.salesforce import SalesforceDouble, Settings

CASES = "/data/CaseChangeEvent"


@dataclass
class Client:
    """All parts of our client that the connector uses, connected to one double."""

    sf: SalesforceDouble
    tokens: TokenSource
    rest: RestClient
    pubsub: PubSubClient

    async def batches(self, channel: str, *, replay_id: bytes | None = None, count: int = 1) -> list[Batch]:
        """The first answers of a new stream from the earliest event, until they hold `count` events."""
        found: list[Batch] = []
        async with asyncio.timeout(PATIENCE):
            stream = self.pubsub.subscribe(channel, replay_id=replay_id, preset="earliest")
            async with aclosing(stream):
                async for batch in stream:
                    found.append(batch)
                    if sum(len(one.events) for one in found) >= count:
                        break
        return found

    async def events(self, channel: str, *, replay_id: bytes | None = None, count: int = 1) -> list[RawEvent]:
        return [event for one in await self.batches(channel, replay_id=replay_id, count=count) for event in one.events]

    async def changes(self, channel: str, *, count: int = 1) -> list[DecodedChange]:
        found: list[DecodedChange] = []
        for event in await self.events(channel, count=count):
            found += decode(event.payload, await self.pubsub.schema(event.schema_id))
        return found


@asynccontextmanager
async def connected(**settings: object) -> AsyncIterator[Client]:
    async with SalesforceDouble(settings=Settings.model_validate(settings)) as sf, plain_http() as http:
        tokens = ClientCredentials(http, sf.login_url, client_id=sf.client_id, client_secret=sf.client_secret)
        pubsub = PubSubClient(sf.pubsub_endpoint, False, tokens, idle_timeout=PATIENCE)
        rest = RestClient(tokens, http, client_name="pisano-connector", calls_per_second=1000)
        try:
            yield Client(sf, tokens, rest, pubsub)
        finally:
            await pubsub.aclose()
