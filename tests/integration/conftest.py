"""Fixtures that the tests of single stages share."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.guarded_broker import GuardedBroker, guarded_broker
from helpers.invitations import CAMPAIGN, KEYS
from helpers.service import Setup, set_up

from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble

Prepare = Callable[..., Awaitable[Setup]]


@pytest.fixture
async def collected() -> AsyncIterator[None]:
    """Collects what the test leaves, so that warnings about it come in this test and not in the next."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def guarded() -> Iterator[GuardedBroker]:
    """One broker with ACLs for all tests."""
    with asyncio.Runner() as runner:
        context = guarded_broker()
        broker = runner.run(context.__aenter__())
        try:
            yield broker
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def may_answer() -> asyncio.Event:
    """Salesforce's late answers come only once this is set."""
    event = asyncio.Event()
    event.set()
    return event


@pytest.fixture
async def sf(may_answer: asyncio.Event) -> AsyncIterator[SalesforceDouble]:
    async def sleep(_: float) -> None:
        await may_answer.wait()

    async with SalesforceDouble(sleep=sleep) as double:
        yield double


@pytest.fixture
def capture_setup(sf: SalesforceDouble, tmp_path: Path, bootstrap_servers: str, unique: str) -> Prepare:
    """`await capture_setup(channels=[…])` sets capture up on the Salesforce double, from its earliest event on."""

    async def prepared(**options: Any) -> Setup:
        options = {"pubsub": {"start": "earliest"}, **options}
        return await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, **options)

    return prepared


@pytest.fixture
async def pisano() -> AsyncIterator[PisanoDouble]:
    """With limits that no test reaches, and a campaign. It puts the record's id into its webhooks as `sf_ref_id`."""
    async with PisanoDouble(windows=((10_000, 5.0),), clock=time.monotonic) as double:
        double.add_campaign(CAMPAIGN, KEYS)
        double.configure(invitation_key="sf_ref_id")
        yield double
