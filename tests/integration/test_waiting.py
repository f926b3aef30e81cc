"""Invitations that wait on pisano.waiting, on real Kafka."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers import topics
from helpers.invitations import as_records, invitation, outcomes
from helpers.service import Setup, running_app, set_up
from helpers.waiting import until

from connector.kafka.inbound import InRecord
from connector.kafka.parking import partition_count
from connector.kafka.shared_work import partition_of
from connector.kafka.waiting import WAITING, Waiting
from connector.records import Invitation, Protection
from connector.sandbox.doubles.pisano import PisanoDouble

MANY = 300  # more than a survey has in memory


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble) -> Setup:
    account: dict[str, Any] = {"limits": ["10000/5s"], "limit_padding": 0}
    return await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, account=account)


def due(number: int, after: timedelta) -> Invitation:
    return invitation(number, protection=Protection(not_before=datetime.now(UTC) + after))


async def publish(setup: Setup, invitations: Sequence[Invitation]) -> None:
    await topics.publish(setup.kafka, as_records(setup.kafka, invitations))


async def waiting(setup: Setup) -> set[str]:
    """The invitations that wait."""
    latest = {record.key: record.value for record in await topics.read(setup.kafka, WAITING)}
    return {key.decode().rpartition("/")[2] for key, value in latest.items() if value is not None}


async def test_hundreds_that_wait_hold_nobody_back_and_are_known_after_a_restart(
    setup: Setup, pisano: PisanoDouble
) -> None:
    """Also when the whole topic of invitations is read again."""
    later = [due(number, timedelta(hours=1)) for number in range(MANY)]
    now = [invitation(MANY + number) for number in range(2)]

    async def all_wait() -> bool:
        return await waiting(setup) == {each.id for each in later}

    for sent, one in enumerate(now):
        async with running_app(setup.config, ["send"]):
            await publish(setup, [*later, one])
            await until(lambda sent=sent: len(pisano.emails()) > sent)
            await until(all_wait)
    assert (await outcomes(setup.kafka)).keys() == {each.id for each in now}
    assert [email.address for email in pisano.emails()] == [each.email for each in now]
    assert len(await topics.read(setup.kafka, WAITING)) == MANY


async def test_those_that_are_due_are_sent_once_and_leave_the_topic(setup: Setup, pisano: PisanoDouble) -> None:
    """They became due while no worker ran. Those of an account that is not configured stay."""
    invitations = [due(number, timedelta(hours=-1)) for number in range(MANY)]
    others = [invitation(MANY + number, account="other") for number in range(3)]
    records = []
    for place, one in enumerate([*invitations, *others]):
        (record,) = as_records(setup.kafka, [one])
        partition = partition_of(one.account, await partition_count(setup.kafka, setup.kafka.topic_prefix + WAITING))
        was = InRecord(record.topic, partition, place, record.key, record.value, tuple(record.headers), 0.0)
        records.append(Waiting(setup.kafka, one.account, partition).record(was, one, one.protection.not_before))
    await topics.publish(setup.kafka, records)
    async with running_app(setup.config, ["send"]):

        async def all_gone() -> bool:
            return await waiting(setup) == {each.id for each in others}

        await until(all_gone)
    assert await outcomes(setup.kafka) == {each.id: Counter(sent=1) for each in invitations}
    assert pisano.second_emails() == []
    assert len(pisano.emails()) == MANY
