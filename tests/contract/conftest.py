"""The double of Salesforce at a fixed time, and clients of its two APIs that are none of ours."""

from collections.abc import AsyncIterator

import httpx
import pytest
from helpers.clock import Clock
from salesforce_wire import START, PubSub, pubsub, rest

from connector.sandbox.doubles.salesforce import SalesforceDouble


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
async def sf(clock: Clock) -> AsyncIterator[SalesforceDouble]:
    async with SalesforceDouble(clock=clock) as double:
        yield double


@pytest.fixture
async def api(sf: SalesforceDouble) -> AsyncIterator[PubSub]:
    async with pubsub(sf) as api:
        yield api


@pytest.fixture
async def http(sf: SalesforceDouble) -> AsyncIterator[httpx.AsyncClient]:
    async with rest(sf, client="pisano") as http:
        yield http
