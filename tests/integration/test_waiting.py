"""Invitations that wait on pisano.waiting, on real Kafka."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers import topics
from helpers.commands import connector
from helpers.invitations import CAMPAIGN, as_records, invitation, outcomes
from helpers.service import Setup, held, running_app, set_up
from helpers.waiting import until

from connector.kafka.cloud_events import OutRecord
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


async def put_aside(setup: Setup, invitations: Sequence[Invitation]) -> None:
    """Writes invitations to pisano.waiting, as a sender does."""
    records = []
    for place, one in enumerate(invitations):
        (record,) = as_records(setup.kafka, [one])
        partition = partition_of(one.account, await partition_count(setup.kafka, setup.kafka.topic_prefix + WAITING))
        was = InRecord(record.topic, partition, place, record.key, record.value, tuple(record.headers), 0.0)
        records.append(Waiting(setup.kafka, one.account, partition).record(was, one, one.protection.not_before))
    await topics.publish(setup.kafka, records)


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
    await put_aside(setup, [*invitations, *others])
    async with running_app(setup.config, ["send"]):

        async def all_gone() -> bool:
            return await waiting(setup) == {each.id for each in others}

        await until(all_gone)
    assert await outcomes(setup.kafka) == {each.id: Counter(sent=1) for each in invitations}
    assert pisano.second_emails() == []
    assert len(pisano.emails()) == MANY


async def test_what_waits_for_an_account_that_is_gone_is_told_and_goes_on_when_the_account_is_back(
    tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble
) -> None:
    """As when the account was renamed by mistake. What has its outcome does not count."""
    login = {"method": "authorized_app", "client_id": pisano.app_id, "client_secret": pisano.app_secret}
    account = {"base_url": pisano.base_url, "auth": login, "max_recipients_per_call": 1}

    async def configured(name: str) -> Setup:
        survey = {"on": "Case", "account": name, "campaign": CAMPAIGN, "email": "{{ record.SuppliedEmail }}"}
        sections: dict[str, Any] = {"surveys": {"closed-case": survey}, "feedback": {}}
        return await set_up(tmp_path, bootstrap_servers, unique, accounts={name: account}, **sections)

    renamed = await configured("renamed")
    wanted = [due(number, timedelta(hours=-1)) for number in range(2)]
    of_a_removed_survey = due(2, timedelta(hours=-1)).model_copy(update={"survey": "removed"})
    settled = due(3, timedelta(hours=-1))
    await put_aside(renamed, [*wanted, of_a_removed_survey, settled])
    (latest,) = [each for each in await topics.read(renamed.kafka, WAITING) if each.key.decode().endswith(settled.id)]
    await topics.publish(renamed.kafka, [OutRecord(latest.topic, latest.key, None, [], latest.partition)])

    async with running_app(renamed.config, ["send"]) as app:
        reason = (await until(lambda: held(app)))["send/main"]
        assert reason.startswith(
            "3 invitations wait on pisano.waiting for the Pisano account main, which the configuration does not"
        )
        status = await connector(renamed.environ, "status", str(renamed.file), "--url", app.address)
        assert "look at this: the cell send/main is held: 3 invitations wait" in " ".join(status.stdout.split())
        assert status.returncode == 1
    assert len(await waiting(renamed)) == 3
    assert pisano.emails() == []

    back = await configured("main")
    async with running_app(back.config, ["send"]) as app:

        async def none_waits() -> bool:
            return not await waiting(back)

        await until(none_waits)
        assert await held(app) == {}
    ends = {**{each.id: Counter(sent=1) for each in wanted}, of_a_removed_survey.id: Counter(suppressed=1)}
    assert await outcomes(back.kafka) == ends
    assert len(pisano.emails()) == len(wanted)
