"""Phone numbers: written in one form, and refused with a reason that shows none of it; and surveys by SMS."""

from typing import Any

import orjson
import pytest
from helpers.change_events import change
from helpers.protection import protection
from pydantic import ValidationError

from connector.config import Phones, Survey
from connector.decisions import Suppression
from connector.operate.preview import preview
from connector.operate.suppressions import entry
from connector.protection import ContactProtection, suppression_key
from connector.reasons import Reason
from connector.records import Invitation
from connector.surveys.addresses import normalise_phone
from connector.surveys.invitations import SurveyRule
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader

TURKEY, ANYWHERE = Phones(region="TR"), Phones()
LOCAL = Phones(region="TR", form="local")
ADA = "+905331234567"
CASE = "5005g0000000001AAA"
SURVEY: dict[str, Any] = {
    "on": "Case",
    "account": "main",
    "channel": "sms",
    "campaign": "55",
    "phone": "{{ record.Mobile__c }}",
    "built_in_responses": {"sf_ref_id": "{{ record.Id }}"},
}


@pytest.mark.parametrize(
    ("raw", "phones"),
    [
        ("+90 (533) 123 45-67", ANYWHERE),
        ("0533 123 45 67", TURKEY),
        ("5331234567", TURKEY),
        ("00905331234567", TURKEY),
        ("tel:+90-533-123-4567", ANYWHERE),
        ("٠٥٣٣١٢٣٤٥٦٧", TURKEY),
        ("5331234567", LOCAL),
    ],
)
def test_every_way_to_write_a_number_gives_the_same(raw: str, phones: Phones) -> None:
    """pisano §3.1: the number is the key of the maps, so it is written in one form."""
    assert normalise_phone(raw, phones) == ADA


@pytest.mark.parametrize(
    ("raw", "phones", "why"),
    [
        ("5331234567", ANYWHERE, "names no country, and the account has no `phones.region`"),
        ("ada@example.com", TURKEY, "not a phone number"),
        ("", TURKEY, "not a phone number"),
        ("n/a", ANYWHERE, "not a phone number"),
        ("12", TURKEY, "there is no such phone number"),
        ("5331234567 5331234568", TURKEY, "not a phone number"),
        ("0212 393 00 00", TURKEY, "takes no SMS"),
        ("+1 800 555 0199", ANYWHERE, "takes no SMS"),
        ("+49 1512 3456789", LOCAL, "not a number of TR"),
        ("9" * 5000, TURKEY, "not a phone number"),
    ],
)
def test_a_number_that_gets_no_sms_is_refused_with_a_reason(raw: str, phones: Phones, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        normalise_phone(raw, phones)
    assert not raw or raw not in str(caught.value)


async def invitations(mobile: object, **survey: Any) -> list[Invitation]:
    async def nobody(*_: object) -> list[dict[str, Any]]:
        return []

    reader = Reader(Lookup(nobody), Lookup(nobody))
    rule = SurveyRule("visit", Survey.model_validate({**SURVEY, **survey}), reader, phones=TURKEY)
    return await rule.invitations(change(CASE, {"Mobile__c": mobile}))


async def test_a_survey_by_sms_invites_phone_numbers() -> None:
    [ada, same] = [*await invitations("0533 123 45 67"), *await invitations(ADA)]
    assert (ada.channel, ada.phone, ada.email, ada.suppressed) == ("sms", ADA, None, None)
    assert (ada.id, ada.address) == (same.id, same.address)
    two = await invitations("05331234567; +90 533 123 45 67\n0533 123 45 68")
    assert [each.phone for each in two] == [ADA, "+905331234568"]
    assert two[0].id != two[1].id


@pytest.mark.parametrize(
    ("mobile", "reason"),
    [(None, Reason.NO_ADDRESS), ("  ", Reason.NO_ADDRESS), ("0212 393 00 00", Reason.INVALID_ADDRESS)],
)
async def test_who_has_no_number_for_sms_has_a_reason(mobile: str | None, reason: Reason) -> None:
    [invitation] = await invitations(mobile)
    assert invitation.suppressed is reason
    assert "0212" not in (invitation.detail or "")


async def test_a_person_is_known_by_the_number() -> None:
    """The suppression list, `once_per` and answers find the person, however the number was written."""
    guard: ContactProtection = protection()
    [ada] = await invitations("0533 123 45 67")
    key = suppression_key(entry("+90 533 123 45 67", by="legal").phone, None, None)
    assert key == f"phone/{ADA}"
    listed = Suppression(phone=ADA, by="legal", at=ada.created_at)
    guard.people.listed(key.encode(), listed.model_dump_json().encode())
    _, why = guard.people.suppressed_by(ada, ada.created_at) or (None, "")
    assert why == "the address is on the list, for every survey"
    feedback = {
        "id": "1",
        "account": "main",
        "received_at": "2026-01-01T00:00:00Z",
        "body": {"phone": "+90 533 1234567"},
    }
    guard.people.answered(orjson.dumps(feedback))
    assert guard.people.answered_at(ada) is not None


@pytest.mark.parametrize(("phones", "written"), [(TURKEY, ADA), (LOCAL, "5331234567")])
async def test_a_preview_shows_the_call_as_it_would_be_made(phones: Phones, written: str) -> None:
    async def nobody(*_: object) -> list[dict[str, Any]]:
        return []

    event = change(CASE, {"Mobile__c": "0533 123 45 67"})
    found = await preview("visit", Survey.model_validate(SURVEY), event, nobody, nobody, phones=phones)
    [ready] = found.invitations
    assert ready.body == {
        "phone_numbers": [written],
        "custom_attributes": {written: {}},
        "built_in_responses": {written: {"sf_ref_id": CASE}},
    }


@pytest.mark.parametrize(
    "changes",
    [{"phone": None}, {"email": "{{ record.Email }}"}, {"channel": "email"}, {"channel": "fax"}],
)
def test_a_survey_has_the_address_that_its_channel_needs(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Survey.model_validate({**SURVEY, **changes})


def test_local_numbers_need_their_country() -> None:
    with pytest.raises(ValidationError, match="needs `region`"):
        Phones(form="local")
