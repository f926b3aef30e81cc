"""Report 28: whoever names a merged contact, case or account reaches the one that survived, or the reason is told."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from helpers.change_events import change
from salesforce_client import Client, connected

from connector.config import Survey
from connector.reasons import Reason
from connector.records import Invitation
from connector.salesforce import CollectionWriter, RecordWrite, Written
from connector.sandbox.doubles.salesforce import Fault, SalesforceDouble
from connector.surveys.invitations import SurveyRule
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader

ADA = "ada@acme.com"
NEWEST = {
    "object": "Contact",
    "by": {"AccountId": "{{ record.AccountId }}"},
    "order_by": "CreatedDate desc",
    "fields": ["Email"],
}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with connected() as client:
        yield client


@pytest.fixture
def sf(client: Client) -> SalesforceDouble:
    return client.sf


async def written(client: Client, key: str = "1", **fields: Any) -> Written:
    writer = CollectionWriter(client.rest, sleep=lambda _: asyncio.sleep(0.001))
    return await writer.write(RecordWrite("upsert", "Survey_Response__c", "Pisano_Id__c", key, fields))


async def invited(client: Client, record_id: str, fields: dict[str, Any], **survey: Any) -> Invitation:
    reader = Reader(Lookup(client.rest.find), Lookup(client.rest.find_deleted))
    whole = {"on": "Case", "account": "main", "campaign": "4711", "email": "{{ contact.Email }}", **survey}
    [invitation] = await SurveyRule("survey", Survey.model_validate(whole), reader).invitations(
        change(record_id, fields, entity="Case")
    )
    return invitation


@pytest.mark.parametrize("describable", [True, False])
async def test_an_answer_that_points_to_a_merged_case_points_to_the_one_that_survived(
    client: Client, sf: SalesforceDouble, describable: bool
) -> None:
    sf.configure(describable=describable)
    first, second, last = (sf.create("Case", {}) for _ in range(3))
    sf.merge("Case", second, first)
    sf.merge("Case", last, second)
    result = await written(client, Case__c=first, Score__c=9)
    assert (result.success, result.left_out, result.fields) == (True, {}, {"Case__c": last, "Score__c": 9})
    [row] = sf.records("Survey_Response__c")
    assert (row["Case__c"], row["Score__c"]) == (last, 9)


async def test_of_two_references_the_merged_one_is_followed_and_the_deleted_one_is_left_out(
    client: Client, sf: SalesforceDouble
) -> None:
    survivor, loser, deleted = sf.create("Case", {}), sf.create("Case", {}), sf.create("Contact", {"LastName": "x"})
    sf.merge("Case", survivor, loser)
    sf.delete("Contact", deleted)
    result = await written(client, Case__c=loser, Contact__c=deleted, Score__c=9)
    assert result.fields == {"Case__c": survivor, "Score__c": 9}
    assert result.left_out.keys() == {"Contact__c"}
    assert "INVALID_CROSS_REFERENCE_KEY" in result.left_out["Contact__c"]


async def test_an_outage_while_the_survivor_is_looked_up_costs_no_value(client: Client, sf: SalesforceDouble) -> None:
    survivor, loser = sf.create("Case", {}), sf.create("Case", {})
    sf.merge("Case", survivor, loser)
    sf.fail(Fault(match="GET .*/queryAll", status=503, times=3))
    assert (await written(client, Case__c=loser)).fields == {"Case__c": survivor}


async def test_what_only_looks_like_an_id_is_left_out(client: Client, sf: SalesforceDouble) -> None:
    result = await written(client, Case__c="500000000000zzz", Score__c=9)
    assert (result.fields, result.left_out.keys()) == ({"Score__c": 9}, {"Case__c"})


async def test_a_merge_gives_the_children_to_the_survivor_and_tells_it_in_events(
    client: Client, sf: SalesforceDouble
) -> None:
    """The double does as a real org does."""
    survivor, loser = (sf.create("Contact", {"LastName": name}) for name in ("Ada", "A."))
    mine, other = sf.create("Case", {"ContactId": loser}), sf.create("Case", {})
    before = len(sf.events("Case"))
    sf.merge("Contact", survivor, loser)
    assert [sf.record("Case", case)["ContactId"] for case in (mine, other)] == [survivor, None]
    [event] = sf.events("Case")[before:]
    assert (event.header["changeType"], event.header["recordIds"]) == ("UPDATE", [mine])
    assert event.values["ContactId"] == survivor


@pytest.mark.parametrize("merges", [1, 2])
async def test_a_survey_finds_the_children_of_the_account_that_survived(
    client: Client, sf: SalesforceDouble, merges: int
) -> None:
    """The event names the account by the id that it had then, and the contacts have another account now."""
    accounts = [sf.create("Account", {"Name": f"Shop {number}"}) for number in range(1 + merges)]
    sf.create("Contact", {"LastName": "Ada", "Email": ADA, "AccountId": accounts[0]})
    for loser, survivor in pairwise(accounts):
        sf.merge("Account", survivor, loser)
    case = sf.create("Case", {})
    invitation = await invited(client, case, {"AccountId": accounts[0]}, lookup={"contact": NEWEST})
    assert (invitation.email, invitation.suppressed) == (ADA, None)


async def test_an_account_without_contacts_has_no_address_and_a_deleted_one_is_gone(
    client: Client, sf: SalesforceDouble
) -> None:
    alive, deleted = (sf.create("Account", {"Name": name}) for name in ("Shop", "Closed shop"))
    case = sf.create("Case", {})
    sf.delete("Account", deleted)
    for account, reason in ((alive, Reason.NO_ADDRESS), (deleted, Reason.RECORD_GONE)):
        invitation = await invited(client, case, {"AccountId": account}, lookup={"contact": NEWEST})
        assert invitation.suppressed is reason
    assert invitation.detail == f"Account {deleted} was deleted"


@pytest.mark.parametrize("number", ["001000000000000", "003zzzzzzzzzzzz", "500-1"])
async def test_a_customer_number_that_looks_like_an_id_is_no_merged_record(
    client: Client, sf: SalesforceDouble, number: str
) -> None:
    by_number = {"object": "Contact", "by": {"Loyalty_Number__c": "{{ record.Subject }}"}, "fields": ["Email"]}
    invitation = await invited(client, sf.create("Case", {}), {"Subject": number}, lookup={"contact": by_number})
    assert invitation.suppressed is Reason.NO_ADDRESS
