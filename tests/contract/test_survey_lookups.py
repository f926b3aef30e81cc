"""Surveys that reach further than the changed record, with our REST client against the Salesforce double."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from helpers.change_events import change
from salesforce_client import Client, connected

from connector.config import Survey
from connector.errors import Rejected
from connector.reasons import Reason
from connector.records import Invitation
from connector.surveys.invitations import SurveyRule
from connector.surveys.kinds import fields_of, never_true
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader

ADA, BOB = "ada@acme.com", "bob@acme.com"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with connected() as client:
        yield client


@pytest.fixture
def queries(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each query read, without the values that it asked for."""
    texts: list[str] = []
    query = client.rest.query

    async def noted(text: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        texts.append(text.partition(" WHERE ")[0])
        return await query(text, deleted=deleted)

    monkeypatch.setattr(client.rest, "query", noted)
    return texts


def rule(client: Client, **survey: Any) -> SurveyRule:
    reader = Reader(Lookup(client.rest.find), Lookup(client.rest.find_deleted))
    whole = {"on": "Case", "account": "main", "campaign": "4711", "email": "{{ contact.Email }}", **survey}
    return SurveyRule("survey", Survey.model_validate(whole), reader)


async def invited(
    rule: SurveyRule, record_id: str, fields: Mapping[str, Any], entity: str = "Case", **event: Any
) -> list[Invitation]:
    return await rule.invitations(change(record_id, fields, entity=entity, **event))


async def test_a_field_of_a_record_behind_the_changed_one_needs_no_lookup(client: Client, queries: list[str]) -> None:
    """`record.Owner.Name` is read with the record's own fields, in one call."""
    sf = client.sf
    contact = sf.create("Contact", {"LastName": "Ada", "Email": ADA})
    case = sf.create("Case", {"ContactId": contact})
    survey = rule(client, email="{{ record.Contact.Email }}", built_in_responses={"who": "{{ record.Contact.Name }}"})
    [invitation] = await invited(survey, case, {"Status": "Closed"})
    assert (invitation.email, invitation.built_in_responses) == (ADA, {"who": "Ada"})
    assert queries == ["SELECT Id,Contact.Email,Contact.Name FROM Case"]


async def test_a_path_ends_empty_where_no_record_is(client: Client) -> None:
    case = client.sf.create("Case", {})
    survey = rule(client, email=ADA, built_in_responses={"parent": "{{ record.Contact.Account.Name }}", "is": "x"})
    [invitation] = await invited(survey, case, {"Status": "Closed"})
    assert invitation.built_in_responses == {"is": "x"}


async def test_lookups_lead_from_record_to_record(client: Client) -> None:
    """Case → Contact → Account → parent: by paths of fields, and by one lookup after the other."""
    sf = client.sf
    parent = sf.create("Account", {"Name": "Holding"})
    account = sf.create("Account", {"Name": "Shop", "ParentId": parent})
    contact = sf.create("Contact", {"LastName": "Ada", "Email": ADA, "AccountId": account})
    case = sf.create("Case", {"ContactId": contact})
    fields = ["Email", "AccountId", "Account.Name", "Account.Parent.Name"]
    survey = rule(
        client,
        lookup={
            "contact": {"object": "Contact", "id": "{{ record.ContactId }}", "fields": fields},
            "account": {"object": "Account", "id": "{{ contact.AccountId }}", "fields": ["ParentId"]},
            "parent": {"object": "Account", "id": "{{ account.ParentId }}", "fields": ["Name"]},
        },
        built_in_responses={
            "shop": "{{ contact.Account.Name }}",
            "by_path": "{{ contact.Account.Parent.Name }}",
            "by_lookup": "{{ parent.Name }}",
        },
    )
    [invitation] = await invited(survey, case, {"Status": "Closed"})
    assert invitation.built_in_responses == {"shop": "Shop", "by_path": "Holding", "by_lookup": "Holding"}


async def test_the_newest_contact_of_an_account(client: Client, queries: list[str]) -> None:
    """Many accounts share one call, and each gets its own newest contact."""
    sf = client.sf
    accounts = [sf.create("Account", {"Name": f"Shop {number}"}) for number in range(30)]
    for age in (2, 0, 1):
        for number, account in enumerate(accounts):
            created = f"2026-01-0{9 - age}T0{number % 10}:00:00.000+0000"
            who = {"LastName": "x", "Email": f"a{number}-{age}@acme.com", "AccountId": account}
            sf.update("Contact", sf.create("Contact", who), {"Last_Invited_At__c": created})
    lookup = {
        "object": "Contact",
        "by": {"AccountId": "{{ record.Id }}"},
        "order_by": "Last_Invited_At__c desc",
        "fields": ["Email"],
    }
    survey = rule(client, on="Account", lookup={"contact": lookup})
    found = await asyncio.gather(*(invited(survey, account, {"Name": "x"}, "Account") for account in accounts))
    assert [each.email for [each] in found] == [f"a{number}-0@acme.com" for number in range(30)]
    assert len(queries) == 1


async def test_an_account_with_very_many_contacts_hides_no_other_accounts_contact(client: Client) -> None:
    """A query gives 2,000 rows at most, and all of them may belong to one account."""
    sf = client.sf
    crowded, other = (sf.create("Account", {"Name": name}) for name in ("Crowded", "Other"))
    sf.create("Contact", {"LastName": "x", "Email": BOB, "AccountId": other})
    for number in range(2000):
        sf.create("Contact", {"LastName": "x", "Email": f"a{number}@acme.com", "AccountId": crowded})
    by = {"AccountId": "{{ record.Id }}"}
    lookup = {"object": "Contact", "by": by, "order_by": "Email asc", "fields": ["Email"]}
    survey = rule(client, on="Account", lookup={"contact": lookup})
    found = await asyncio.gather(*(invited(survey, account, {"Name": "x"}, "Account") for account in (crowded, other)))
    assert [each.email for [each] in found] == ["a0@acme.com", BOB]


async def test_the_primary_contact_of_an_opportunity(client: Client) -> None:
    sf = client.sf
    opportunity = sf.create("Opportunity", {"Name": "Deal"})
    for email, is_primary in ((BOB, False), (ADA, True), ("eve@acme.com", False)):
        contact = sf.create("Contact", {"LastName": "x", "Email": email})
        role = {"OpportunityId": opportunity, "ContactId": contact, "IsPrimary": is_primary}
        sf.create("OpportunityContactRole", role)
    role = {
        "object": "OpportunityContactRole",
        "by": {"OpportunityId": "{{ record.Id }}"},
        "where": {"IsPrimary": True},
        "fields": ["Contact.Email"],
    }
    survey = rule(client, on="Opportunity", lookup={"role": role}, email="{{ role.Contact.Email }}")
    [invitation] = await invited(survey, opportunity, {"StageName": "Closed Won"}, "Opportunity")
    assert invitation.email == ADA
    [nobody] = await invited(survey, sf.create("Opportunity", {"Name": "No role"}), {}, "Opportunity")
    assert nobody.suppressed is Reason.NO_ADDRESS


async def test_a_text_finds_a_record_in_whatever_capitals_and_with_quotes(client: Client) -> None:
    """SOQL compares texts without regard to capitals; a quote in a value must not end the query's text."""
    sf = client.sf
    sf.create("Contact", {"LastName": "x", "Email": ADA, "Loyalty_Number__c": "o'Neil-7"})
    lookup = {"object": "Contact", "by": {"Loyalty_Number__c": "{{ record.Subject }}"}, "fields": ["Email"]}
    survey = rule(client, lookup={"contact": lookup})
    [invitation] = await invited(survey, sf.create("Case", {}), {"Subject": "O'NEIL-7"})
    assert invitation.email == ADA


async def test_a_condition_that_names_a_lookup_is_decided_in_steps(client: Client, queries: list[str]) -> None:
    """Nothing is read for what the event alone decides; the contact is read before the owner, who is not needed yet."""
    sf = client.sf
    gold = sf.create("Contact", {"LastName": "x", "Email": ADA, "Segment__c": "Gold"})
    silver = sf.create("Contact", {"LastName": "x", "Email": BOB, "Segment__c": "Silver"})
    survey = rule(
        client,
        when='record.Status == "Closed" and contact.Segment__c == "Gold"',
        lookup={
            "owner": {"object": "User", "id": "{{ record.OwnerId }}", "fields": ["Name"]},
            "contact": {"object": "Contact", "id": "{{ record.ContactId }}", "fields": ["Email", "Segment__c"]},
        },
        built_in_responses={"agent": "{{ owner.Name }}"},
    )
    case = sf.create("Case", {})
    assert await invited(survey, case, {"Status": "New", "ContactId": gold, "OwnerId": None}) == []
    assert queries == []
    assert await invited(survey, case, {"Status": "Closed", "ContactId": silver, "OwnerId": sf.user_id}) == []
    assert queries == ["SELECT Id,Email,Segment__c FROM Contact"]
    [invitation] = await invited(survey, case, {"Status": "Closed", "ContactId": gold, "OwnerId": None})
    assert invitation.email == ADA


async def test_a_cached_record_is_read_once(client: Client, queries: list[str]) -> None:
    sf = client.sf
    contact = sf.create("Contact", {"LastName": "x", "Email": ADA})
    lookup = {"object": "Contact", "id": "{{ record.ContactId }}", "fields": ["Email"], "cache": "5m"}
    survey = rule(client, lookup={"contact": lookup})
    for _ in range(3):
        [invitation] = await invited(survey, sf.create("Case", {}), {"ContactId": contact})
        assert invitation.email == ADA
    assert len(queries) == 1


async def test_a_person_account_is_its_own_contact(client: Client) -> None:
    """Its e-mail address and its contact's id are fields of the account."""
    account = client.sf.create("Account", {"Name": "Ada", "IsPersonAccount": True, "PersonEmail": ADA})
    survey = rule(
        client,
        on="Account",
        when='changed contains "Active__c" and record.IsPersonAccount == true',
        email="{{ record.PersonEmail }}",
        protect={"opted_out": "{{ record.PersonHasOptedOutOfEmail }}"},
    )
    [invitation] = await invited(survey, account, {"Active__c": False}, "Account")
    assert (invitation.email, invitation.suppressed) == (ADA, None)


@pytest.mark.parametrize("email", [f"{ADA}; {BOB};", f"{ADA}\n{BOB}\n", f" {ADA} ;; {ADA.upper()};{BOB}"])
async def test_each_address_gets_an_invitation_of_its_own(client: Client, email: str) -> None:
    """The ids are those of the places: when an address changed until a replay, its customer is not asked again."""
    survey = rule(client, email="{{ record.Subject }}")
    case = client.sf.create("Case", {})
    found = await invited(survey, case, {"Subject": email})
    assert [invitation.email for invitation in found] == [ADA, BOB]
    [alone] = await invited(survey, case, {"Subject": "new@acme.com"})
    assert alone.id == found[0].id
    assert len({invitation.id for invitation in found}) == 2


async def test_a_list_gives_several_addresses_and_each_is_judged_alone(client: Client) -> None:
    survey = rule(client, email='{{ record.Subject | split: "|" }}', protect={"contact": "003"})
    found = await invited(survey, client.sf.create("Case", {}), {"Subject": f"{ADA}|nobody|{BOB}"})
    assert {(each.protection.contact, each.protection.owner) for each in found} == {(None, "003")}
    assert [(each.email, each.suppressed) for each in found] == [
        (ADA, None),
        ("nobody", Reason.INVALID_ADDRESS),
        (BOB, None),
    ]


async def test_too_many_addresses_are_a_wrong_field(client: Client) -> None:
    survey = rule(client, email="{{ record.Subject }}")
    with pytest.raises(Rejected, match="`email` gives 101 addresses"):
        await invited(survey, client.sf.create("Case", {}), {"Subject": ";".join(f"a{n}@acme.com" for n in range(101))})


async def test_a_platform_event_invites_from_its_own_values_and_by_lookup(client: Client) -> None:
    sf = client.sf
    sf.create("Contact", {"LastName": "x", "Email": ADA, "Loyalty_Number__c": "L-1"})
    survey = rule(
        client,
        on="Store_Visit__e",
        when='record.Store__c == "Izmir"',
        lookup={
            "contact": {"object": "Contact", "by": {"Loyalty_Number__c": "{{ record.Card__c }}"}, "fields": ["Email"]}
        },
    )
    values = {"Store__c": "Izmir", "Card__c": "L-1"}
    [invitation] = await invited(survey, "uuid-1", values, "Store_Visit__e", change_type="EVENT")
    assert invitation.email == ADA


@pytest.mark.parametrize(
    ("entity", "field", "why"),
    [
        ("Case", "Status", None),
        ("Case", "Statsu", "Case has no field Statsu; did you mean Status?"),
        ("Case", "Branch_Label__c", "Branch_Label__c is a formula, and is in no change event"),
        ("Case", "SystemModstamp", "Case.SystemModstamp is in no change event"),
        ("Case", "Branch_Location__c", "names these: Branch_Location__Latitude__s, Branch_Location__Longitude__s"),
        ("Contact", "Name", "Contact.Name is made of other fields, and a change event names these: Salutation, First"),
        ("Contact", "MailingAddress", "MailingStreet, MailingCity"),
        ("Contact", "MailingCity", None),
        ("Account", "Name", None),
    ],
)
async def test_a_condition_on_a_field_that_no_change_event_names_is_told(
    client: Client, entity: str, field: str, why: str | None
) -> None:
    """salesforce §B3: no event has formulas, and of a compound field it names the parts (§B2)."""
    when = f'changed contains "{field}"'
    survey = Survey.model_validate(
        {"on": entity, "account": "main", "campaign": "4711", "email": "{{ record.Email__c }}", "when": when}
    )
    said = [*never_true(survey.when, entity, fields_of(await client.rest.describe(entity)))]
    assert len(said) == (why is not None)
    assert all(f"{when} never holds: " in line and (why or "") in line for line in said)
