"""What the tests of one stage share."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.service import Setup, set_up

from connector.doubles.salesforce import SalesforceDouble

Prepare = Callable[..., Awaitable[Setup]]


@pytest.fixture
async def sf() -> AsyncIterator[SalesforceDouble]:
    async with SalesforceDouble() as double:
        yield double


@pytest.fixture
def capture_setup(sf: SalesforceDouble, tmp_path: Path, bootstrap_servers: str, unique: str) -> Prepare:
    """`await capture_setup(channels=[…])` sets capture up on the Salesforce double, from its earliest event on."""

    async def prepared(**options: Any) -> Setup:
        options = {"pubsub": {"start": "earliest"}, **options}
        return await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, **options)

    return prepared
