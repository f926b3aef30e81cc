"""send under kill -9 while half of the invitations wait: one outcome per invitation, nobody gets two e-mails."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers import topics
from helpers.invitations import CAMPAIGN, KEYS, as_records, invitation, outcomes
from helpers.service import Setup, Workers, set_up
from helpers.waiting import PATIENCE, until

from connector.kafka.waiting import WAITING
from connector.records import Protection
from connector.sandbox.doubles.pisano import Fault, PisanoDouble

RECIPIENTS = 5  # in one call
MANY = 500  # that are due at once, and as many that wait
KILLS = (6, 14)  # while they begin to wait, and while others are due and then they
WAIT = timedelta(seconds=130)  # about half of the test


@pytest.fixture
async def pisano() -> AsyncIterator[PisanoDouble]:
    async with PisanoDouble(windows=((10_000, 5.0),), clock=time.monotonic) as double:
        double.add_campaign(CAMPAIGN, KEYS)
        double.configure(invitation_key="sf_ref_id")
        double.fail(Fault(times=10_000, calls="email_sharings", sent=True, delay=0.02))
        yield double


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble) -> Setup:
    account: dict[str, Any] = {"limits": ["10000/5s"], "limit_padding": 0, "max_recipients_per_call": RECIPIENTS}
    return await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, account=account)


async def test_twenty_kills_lose_no_waiting_invitation_and_send_none_twice(
    tmp_path: Path, setup: Setup, pisano: PisanoDouble
) -> None:
    """A call under way at a kill is held for a person; everybody else gets one e-mail."""
    later = Protection(not_before=datetime.now(UTC) + WAIT)
    first = [invitation(number, protection=later) for number in range(MANY)]
    invitations = [*first, *(invitation(number) for number in range(MANY, 2 * MANY))]
    await topics.publish(setup.kafka, as_records(setup.kafka, first))
    with Workers(setup, "send", tmp_path / "log") as workers:
        for _ in range(KILLS[0]):
            await start_and_kill(setup, workers, MANY)
        worker = workers.start()
        await until(lambda: all_wait(setup))
        worker.kill()
        await topics.publish(setup.kafka, as_records(setup.kafka, invitations[MANY:]))
        for _ in range(KILLS[1]):
            await start_and_kill(setup, workers, 2 * MANY)
        workers.start()

        async def all_there() -> bool:
            return len(await outcomes(setup.kafka)) == len(invitations)

        await until(all_there, 4 * PATIENCE)
    found = await outcomes(setup.kafka)
    assert [counts for counts in found.values() if counts.total() != 1] == []
    assert pisano.second_emails() == []
    ended = [next(iter(counts)) for counts in found.values()]
    assert ended.count("sent") + ended.count("unknown") == len(invitations)
    assert ended.count("unknown") <= RECIPIENTS * sum(KILLS)
    assert await waiting(setup) == set()


async def start_and_kill(setup: Setup, workers: Workers, published: int) -> None:
    """Kills a worker soon after it has written something, or has nothing to do."""
    worker, before = workers.start(), await records(setup)

    async def has_begun() -> bool:
        idle = len(await outcomes(setup.kafka)) + len(await waiting(setup)) == published
        return idle or await records(setup) > before

    await until(has_begun)
    await asyncio.sleep(random.random() / 5)
    worker.kill()


async def waiting(setup: Setup) -> set[bytes]:
    """The invitations that wait."""
    latest = {record.key: record.value for record in await topics.read(setup.kafka, WAITING)}
    return {key for key, value in latest.items() if value is not None}


async def all_wait(setup: Setup) -> bool:
    return len(await waiting(setup)) == MANY


async def records(setup: Setup) -> int:
    """How much send has written."""
    return sum([len(await topics.read(setup.kafka, name)) for name in ("pisano.attempts", WAITING)])
