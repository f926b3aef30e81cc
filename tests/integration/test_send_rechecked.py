"""send asks Salesforce again before it sends an old invitation."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers import topics
from helpers.invitations import CAMPAIGN, as_records, invitation
from helpers.service import Setup, running_app, set_up
from helpers.waiting import until

from connector.kafka.ledger import read_entry
from connector.operate import actions
from connector.reasons import Reason
from connector.records import Invitation, Outcome, Settlement, digest
from connector.sandbox.doubles.pisano import Fault, PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble

SURVEY: dict[str, Any] = {
    "on": "Case",
    "when": 'changed contains "Status" and record.Status == "Closed"',
    "account": "main",
    "campaign": CAMPAIGN,
    "email": "{{ record.SuppliedEmail }}",
}


@pytest.fixture
async def setup(
    tmp_path: Path, bootstrap_servers: str, unique: str, pisano: PisanoDouble, sf: SalesforceDouble
) -> Setup:
    account: dict[str, Any] = {"limits": ["10000/5s"], "limit_padding": 0}
    doubles: dict[str, Any] = {"pisano": pisano, "salesforce": sf}
    surveys = {"closed-case": SURVEY}
    return await set_up(tmp_path, bootstrap_servers, unique, account=account, surveys=surveys, **doubles)


def invited(number: int, case: str, age: timedelta) -> Invitation:
    """An invitation that was decided this long ago. Its id is the one that trigger gives."""
    id_ = digest("closed-case", case, f"cause-{number}")
    return invitation(number, id=id_, record_id=case, created_at=datetime.now(UTC) - age)


async def test_an_old_invitation_is_sent_only_if_it_is_still_right(
    setup: Setup, pisano: PisanoDouble, sf: SalesforceDouble
) -> None:
    """A young one is sent without a question."""
    cases = [sf.create("Case", {"Status": "Closed", "SuppliedEmail": f"c{number}@example.com"}) for number in range(4)]
    right, moved, reopened, young = (
        invited(number, case, timedelta(seconds=1 if number == 3 else 3600)) for number, case in enumerate(cases)
    )
    sf.update("Case", cases[1], {"SuppliedEmail": "moved@example.com"})
    sf.update("Case", cases[2], {"Status": "Reopened"})
    async with running_app(setup.config, ["send"]):
        await topics.publish(setup.kafka, as_records(setup.kafka, [right, moved, reopened, young]))

        async def all_settled() -> dict[str, Settlement] | None:
            entries = [read_entry(record.value) for record in await topics.read(setup.kafka, "pisano.attempts")]
            found = {entry.invitation: entry for entry in entries if isinstance(entry, Settlement)}
            return found if len(found) == len(cases) else None

        found = await until(all_settled)
    assert found is not None
    assert {each.address for each in pisano.emails()} == {"c0@example.com", "moved@example.com", young.email}
    assert found[reopened.id].reason is Reason.NO_LONGER_TRUE
    assert all(found[each.id].reason is None for each in (right, moved, young))


@pytest.mark.parametrize(("decision", "addresses"), [("resend", {"moved@example.com"}), ("sent", set())])
async def test_a_decision_by_hand_is_about_the_address_that_the_call_had(
    setup: Setup, pisano: PisanoDouble, sf: SalesforceDouble, decision: Any, addresses: set[str]
) -> None:
    """The record on `pisano.invitations` still has the address of before."""
    case = sf.create("Case", {"Status": "Closed", "SuppliedEmail": "moved@example.com"})
    moved = invited(1, case, timedelta(hours=1))
    pisano.fail(Fault(calls="email_sharings", kind="drop"))

    async def settlement(outcome: Outcome) -> Settlement:
        async def found() -> Settlement | None:
            entries = [read_entry(record.value) for record in await topics.read(setup.kafka, "pisano.attempts")]
            return next((one for one in entries if isinstance(one, Settlement) and one.outcome is outcome), None)

        one = await until(found)
        assert one is not None
        return one

    async with running_app(setup.config, ["send"]):
        await topics.publish(setup.kafka, as_records(setup.kafka, [moved]))
        unknown = await settlement(Outcome.UNKNOWN)
        await actions.settle(setup.config, moved.id, decision, by="ada", reason="asked Pisano")
        sent = await settlement(Outcome.SENT)
    assert {each.address for each in pisano.emails()} == addresses
    assert sent.persons == unknown.persons  # so that nobody invites the person again at the new address
