"""Two accounts that want the same person: one of them invites, on real Kafka and in two processes."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import topics
from helpers.invitations import CAMPAIGN, as_records, invitation
from helpers.service import EXAMPLE, Setup, Workers, set_up
from helpers.waiting import until

from connector.kafka.ledger import read_entry
from connector.reasons import Reason
from connector.records import Protection, Settlement
from connector.sandbox.doubles.pisano import PisanoDouble

ACCOUNTS = ("retail", "support")  # in two partitions, so that each worker has one
PERSONS = 30


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble) -> Setup:
    account: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())["pisano"]["main"]
    account |= {"limits": ["10000/5s"], "limit_padding": 0, "max_recipients_per_call": 4}
    accounts = {name: {**account, "webhook": {**account["webhook"], "path": f"/{name}"}} for name in ACCOUNTS}
    survey = {"on": "Case", "campaign": CAMPAIGN, "email": "{{ record.SuppliedEmail }}"}
    return await set_up(
        tmp_path,
        bootstrap_servers,
        unique,
        pisano=pisano,
        accounts=accounts,
        surveys={name: {**survey, "account": name} for name in ACCOUNTS},
        feedback={},
        protect={"once_per_any": "30d"},
    )


async def test_one_account_invites_a_person_and_the_other_says_why_not(
    tmp_path: Path, setup: Setup, pisano: PisanoDouble
) -> None:
    now = datetime.now(UTC)
    wanted = [
        invitation(
            2 * person + place,
            account=account,
            survey=account,
            email=f"person-{person}@example.com" if place else f"Person-{person}@EXAMPLE.com",
            protection=Protection(happened_at=now),
            created_at=now,
        )
        for person in range(PERSONS)
        for place, account in enumerate(ACCOUNTS)
    ]
    with Workers(setup, "send", tmp_path / "log") as workers:
        for _ in ACCOUNTS:
            workers.start()
        await topics.publish(setup.kafka, as_records(setup.kafka, wanted))

        async def all_settled() -> list[Settlement] | None:
            entries = [read_entry(record.value) for record in await topics.read(setup.kafka, "pisano.attempts")]
            found = [entry for entry in entries if isinstance(entry, Settlement)]
            return found if len(found) == len(wanted) else None

        found = await until(all_settled, 300)  # a claim is a minute old before the other account gives up
    assert found is not None
    assert sorted(email.address.lower() for email in pisano.emails()) == sorted(
        f"person-{person}@example.com" for person in range(PERSONS)
    )
    reasons = [each.reason for each in found]
    assert (reasons.count(None), reasons.count(Reason.INVITED_BY_ANOTHER)) == (PERSONS, PERSONS)
