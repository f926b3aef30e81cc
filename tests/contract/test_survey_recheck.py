"""Whether an invitation that waited is still right, with our REST client against the Salesforce double."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from helpers.change_events import change
from salesforce_client import Client, connected

from connector.config import Survey
from connector.reasons import Reason
from connector.records import Invitation
from connector.surveys.invitations import SurveyRule
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader
from connector.surveys.recheck import NoLonger, Recheck

ADA = "ada@acme.com"
SURVEY: dict[str, Any] = {
    "on": "Case",
    "account": "main",
    "campaign": "4711",
    "when": 'changed contains "Status" and record.Status == "Closed" and event.origin != "loader"',
    "lookup": {
        "contact": {
            "object": "Contact",
            "id": "{{ record.ContactId }}",
            "fields": ["Id", "LastName", "Email", "HasOptedOutOfEmail"],
        }
    },
    "email": "{{ contact.Email }}",
    "protect": {"opted_out": "{{ contact.HasOptedOutOfEmail }}"},
}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with connected() as client:
        yield client


class Asked:
    """A customer whose case was closed, and the invitation that is on its way."""

    def __init__(self, client: Client, **survey: Any) -> None:
        self.sf = client.sf
        self.contact = self.sf.create("Contact", {"LastName": "Ada", "Email": ADA})
        self.case = self.sf.create("Case", {"ContactId": self.contact, "Status": "Closed"})
        self._reader = Reader(Lookup(client.rest.find), Lookup(client.rest.find_deleted))
        self._survey = Survey.model_validate({**SURVEY, **survey})

    async def invite(self) -> list[Invitation]:
        fields = {"Status": "Closed", "ContactId": self.contact}
        rule = SurveyRule("survey", self._survey, self._reader)
        return await rule.invitations(change(self.case, fields, entity="Case", changed_fields=("Status",)))

    async def check(self, invitation: Invitation) -> Invitation | NoLonger:
        return await Recheck({"survey": self._survey}, self._reader).check(invitation)


async def test_what_is_still_true_is_sent_as_it_was(client: Client) -> None:
    """`changed` and `event.origin` are known from the change event only, and do not speak against it."""
    asked = Asked(client)
    [invitation] = await asked.invite()
    assert await asked.check(invitation) == invitation


async def test_a_case_that_was_reopened_is_not_asked_about(client: Client) -> None:
    asked = Asked(client)
    [invitation] = await asked.invite()
    asked.sf.update("Case", asked.case, {"Status": "Reopened"})
    found = await asked.check(invitation)
    assert isinstance(found, NoLonger)
    assert found.reason is Reason.NO_LONGER_TRUE


async def test_a_condition_over_a_lookup_is_decided_anew(client: Client) -> None:
    asked = Asked(client, when='record.Status == "Closed" and contact.Email contains "@acme.com"')
    [invitation] = await asked.invite()
    asked.sf.update("Contact", asked.contact, {"Email": "ada@example.com"})
    found = await asked.check(invitation)
    assert isinstance(found, NoLonger)
    assert found.reason is Reason.NO_LONGER_TRUE


async def test_the_e_mail_goes_to_the_address_that_the_customer_has_now(client: Client) -> None:
    asked = Asked(client)
    [invitation] = await asked.invite()
    asked.sf.update("Contact", asked.contact, {"Email": "Ada@New.example.com"})
    found = await asked.check(invitation)
    assert found == invitation.model_copy(update={"email": "Ada@new.example.com"})


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"HasOptedOutOfEmail": True}, Reason.OPTED_OUT),
        ({"Email": None}, Reason.NO_ADDRESS),
        ({"Email": "ada@acme.com.invalid"}, Reason.INVALID_ADDRESS),
    ],
)
async def test_a_customer_who_cannot_be_asked_any_more_is_left_alone(
    client: Client, what: dict[str, Any], reason: Reason
) -> None:
    asked = Asked(client)
    [invitation] = await asked.invite()
    asked.sf.update("Contact", asked.contact, what)
    found = await asked.check(invitation)
    assert isinstance(found, NoLonger)
    assert found.reason is reason


@pytest.mark.parametrize("of", ["Case", "Contact"])
async def test_a_deleted_record_asks_nobody(client: Client, of: str) -> None:
    asked = Asked(client)
    [invitation] = await asked.invite()
    asked.sf.delete(of, asked.case if of == "Case" else asked.contact)
    found = await asked.check(invitation)
    assert isinstance(found, NoLonger)
    assert found.reason is Reason.RECORD_GONE


async def test_each_of_several_addresses_is_checked_by_its_place(client: Client) -> None:
    asked = Asked(client, email="{{ contact.Email }}; {{ record.SuppliedEmail }}")
    asked.sf.update("Case", asked.case, {"SuppliedEmail": "bob@acme.com"})
    ada, bob = await asked.invite()
    asked.sf.update("Case", asked.case, {"SuppliedEmail": None})
    assert await asked.check(ada) == ada
    found = await asked.check(bob)
    assert isinstance(found, NoLonger)
    assert found.reason is Reason.NO_ADDRESS


async def test_an_address_that_changed_its_place_stays_with_its_invitation(client: Client) -> None:
    """Else the same customer would be asked twice, and the other one never."""
    asked = Asked(client, email="{{ contact.Email }}; {{ record.SuppliedEmail }}")
    asked.sf.update("Case", asked.case, {"SuppliedEmail": "bob@acme.com"})
    ada, bob = await asked.invite()
    asked.sf.update("Case", asked.case, {"SuppliedEmail": ADA})
    asked.sf.update("Contact", asked.contact, {"Email": "bob@acme.com"})
    assert [await asked.check(one) for one in (ada, bob)] == [ada, bob]


async def test_a_case_with_another_contact_asks_that_person_under_its_own_name(client: Client) -> None:
    """Else the suppression list, `once_per` and the answer would be about the person before."""
    own = {
        "custom_attributes": {"name": "{{ contact.LastName }}", "origin": "{{ event.origin }}"},
        "built_in_responses": {"contact": "{{ contact.Id }}", "sf_ref_id": "{{ record.Id }}"},
        "protect": {**SURVEY["protect"], "contact": "{{ contact.Id }}", "once_per": "30d"},
    }
    asked = Asked(client, **own)
    [invitation] = await asked.invite()
    bob = asked.sf.create("Contact", {"LastName": "Bob", "Email": "bob@acme.com"})
    asked.sf.update("Case", asked.case, {"ContactId": bob})
    found = await asked.check(invitation)
    assert isinstance(found, Invitation)
    assert (found.email, found.protection.contact) == ("bob@acme.com", bob)
    assert found.custom_attributes == {**invitation.custom_attributes, "name": "Bob"}
    assert found.built_in_responses == {"contact": bob, "sf_ref_id": asked.case}
    assert found.protection == invitation.protection.model_copy(update={"contact": bob})


@pytest.mark.parametrize(
    "own",
    [
        {"email": '{% if event.origin == "app" %}{% endif %}{{ contact.Email }}'},
        {
            "protect": {
                "opted_out": '{% if event.origin == "x" %}true{% endif %}{{ contact.HasOptedOutOfEmail }}',
                "contact": "{{ contact.Id }}",
            }
        },
    ],
)
async def test_an_invitation_never_mixes_two_persons(client: Client, own: dict[str, Any]) -> None:
    names = {"custom_attributes": {"name": "{{ contact.LastName }}"}}
    asked = Asked(client, **{"protect": {"contact": "{{ contact.Id }}"}, **names, **own})
    [ada] = await asked.invite()
    bob = asked.sf.create("Contact", {"LastName": "Bob", "Email": "bob@acme.com"})
    asked.sf.update("Case", asked.case, {"ContactId": bob})
    found = await asked.check(ada)
    assert isinstance(found, Invitation)
    person = (found.email, found.custom_attributes["name"], found.protection.contact)
    assert person in {(ADA, "Ada", asked.contact), ("bob@acme.com", "Bob", bob)}


async def test_the_answers_of_the_same_person_stay_as_they_were(client: Client) -> None:
    own = {
        "custom_attributes": {"name": "{{ contact.LastName }}"},
        "built_in_responses": {"name": "{{ contact.LastName }}"},
        "protect": {**SURVEY["protect"], "contact": "{{ contact.Id }}"},
    }
    asked = Asked(client, **own)
    [invitation] = await asked.invite()
    asked.sf.update("Contact", asked.contact, {"LastName": "Lovelace"})
    found = await asked.check(invitation)
    assert isinstance(found, Invitation)
    assert (found.custom_attributes, found.built_in_responses) == ({"name": "Lovelace"}, {"name": "Ada"})


@pytest.mark.parametrize(
    ("lookup", "email"),
    [
        ({"id": None, "by": {"Loyalty_Number__c": "{{ event.record_id }}"}}, "{{ contact.Email }}"),
        ({}, '{{ event.user | append: "@acme.com" }}'),
    ],
)
async def test_who_opted_out_is_left_alone_although_a_template_names_the_event(
    client: Client, lookup: dict[str, Any], email: str
) -> None:
    asked = Asked(client, email=email, lookup={"contact": {**SURVEY["lookup"]["contact"], **lookup}})
    asked.sf.update("Contact", asked.contact, {"Loyalty_Number__c": asked.case})
    [invitation] = await asked.invite()
    asked.sf.update("Contact", asked.contact, {"HasOptedOutOfEmail": True})
    found = await asked.check(invitation)
    assert isinstance(found, NoLonger)
    assert found.reason is Reason.OPTED_OUT


async def test_a_merged_contact_is_followed(client: Client) -> None:
    asked = Asked(client)
    [invitation] = await asked.invite()
    kept = asked.sf.create("Contact", {"LastName": "Ada", "Email": "kept@acme.com"})
    asked.sf.merge("Contact", kept, [asked.contact])
    found = await asked.check(invitation)
    assert isinstance(found, Invitation)
    assert found.email == "kept@acme.com"


async def test_an_address_that_only_the_event_gave_stays(client: Client) -> None:
    asked = Asked(client, email='{{ event.user | append: "@acme.com" }}')
    [invitation] = await asked.invite()
    assert await asked.check(invitation) == invitation


@pytest.mark.parametrize(
    ("email", "what", "expected"),
    [
        ("{{ contact.Email }}", {}, ADA),
        ("{{ contact.Email }}", {"Email": "new@acme.com"}, "new@acme.com"),
        ("{{ contact.Email }}", {"HasOptedOutOfEmail": True}, Reason.OPTED_OUT),
        ("{{ record.Email__c }}", {"HasOptedOutOfEmail": True}, Reason.OPTED_OUT),
        ("{{ record.Email__c }}", {"Email": "new@acme.com"}, "till@acme.com"),
    ],
)
async def test_who_a_platform_event_leads_to_is_read_again(
    client: Client, email: str, what: dict[str, Any], expected: str | Reason
) -> None:
    """The event itself cannot be read again, and is true for ever."""
    contact = client.sf.create("Contact", {"LastName": "Ada", "Email": ADA, "Loyalty_Number__c": "L-1"})
    lookup = {**SURVEY["lookup"]["contact"], "id": None, "by": {"Loyalty_Number__c": "{{ record.Card__c }}"}}
    event = {
        "on": "Store_Visit__e",
        "when": 'record.Store__c == "Izmir"',
        "email": email,
        "lookup": {"contact": lookup},
    }
    survey = Survey.model_validate({**SURVEY, **event})
    reader = Reader(Lookup(client.rest.find), Lookup(client.rest.find_deleted))
    values = {"Store__c": "Izmir", "Card__c": "L-1", "Email__c": "till@acme.com", "Till__c": "not used"}
    visit = change("uuid-1", values, entity="Store_Visit__e", change_type="EVENT")
    [invitation] = await SurveyRule("survey", survey, reader).invitations(visit)
    assert "Till__c" not in invitation.event_fields
    if what:
        client.sf.update("Contact", contact, what)
    recheck = Recheck({"survey": survey}, reader)
    assert recheck.after == {"survey": 600.0}
    found = await recheck.check(invitation)
    assert (found.email if isinstance(found, Invitation) else found.reason) == expected
    of_earlier_version = invitation.model_copy(update={"event_fields": {}})
    assert await recheck.check(of_earlier_version) == of_earlier_version


def test_a_platform_event_without_lookups_and_a_survey_that_says_never_are_not_checked(client: Client) -> None:
    event = Survey.model_validate(
        {**SURVEY, "on": "Visit__e", "when": None, "lookup": {}, "email": "{{ record.Email__c }}", "protect": {}}
    )
    never = Survey.model_validate({**SURVEY, "protect": {"recheck_after": "never"}})
    usual = Survey.model_validate(SURVEY)
    reader = Reader(Lookup(client.rest.find), Lookup(client.rest.find_deleted))
    assert Recheck({"event": event, "never": never, "usual": usual}, reader).after == {"usual": 600.0}
