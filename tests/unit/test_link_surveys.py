"""Surveys by link: whom they invite, what their configuration needs, and that a link is no answer."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.change_events import change
from helpers.config_files import MINIMAL, mistakes, read
from helpers.protection import protection
from pydantic import ValidationError

from connector.config import Survey
from connector.reasons import Reason
from connector.records import Invitation
from connector.salesforce.record_ids import full
from connector.surveys.invitations import SurveyRule
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader

CASE = "5005g0000000001AAA"
SURVEY: dict[str, Any] = {
    "on": "Case",
    "account": "main",
    "channel": "link",
    "campaign": "77",
    "custom_attributes": {"external_id": "{{ record.ContactId }}"},
    "protect": {"opted_out": "{{ record.Out__c }}", "contact": "{{ record.ContactId }}"},
}
LINK_FILE = MINIMAL.replace('email: "{{ record.SuppliedEmail }}"', "channel: link")
RULE = """\
feedback:
  link: {of: link, update: Case, by: {Id: "{{ body.record_id }}"}, fields: {Survey_Link__c: "{{ body.link }}"}}
"""


async def invitation(fields: dict[str, Any], **survey: Any) -> Invitation:
    async def nobody(*_: object) -> list[dict[str, Any]]:
        return []

    rule = SurveyRule("link", Survey.model_validate({**SURVEY, **survey}), Reader(Lookup(nobody), Lookup(nobody)))
    [one] = await rule.invitations(change(CASE, {"ContactId": "0035g", "Out__c": False, "Email__c": None, **fields}))
    return one


async def test_a_link_needs_no_address() -> None:
    """pisano §3.2: the customer may be empty; whom Salesforce gives the link to is its own matter."""
    without, empty = await invitation({}), await invitation({}, email="{{ record.Email__c }}")
    given = await invitation({"Email__c": "ada@example.com"}, email="{{ record.Email__c }}")
    assert [one.suppressed for one in (without, empty, given)] == [None, None, None]
    assert [one.address for one in (without, empty, given)] == [None, None, "ada@example.com"]
    assert without.custom_attributes == {"external_id": "0035g"}


async def test_contact_protection_holds_for_links_too() -> None:
    assert (await invitation({"Out__c": True})).suppressed is Reason.OPTED_OUT
    assert (await invitation({}, protect={"sample": "0%"})).suppressed is Reason.NOT_SAMPLED
    wrong = await invitation({"Email__c": "ada@"}, email="{{ record.Email__c }}")
    assert wrong.suppressed is Reason.INVALID_ADDRESS


async def test_a_sample_draws_a_contact_alike_by_both_forms_of_its_id() -> None:
    protect = {"contact": "{{ record.ContactId }}", "sample": "50%"}
    ids = [f"0035g00000XyZ{number:02}" for number in range(40)]
    by_15 = [await invitation({"ContactId": one}, protect=protect) for one in ids]
    by_18 = [await invitation({"ContactId": full(one)}, protect=protect) for one in ids]
    assert [one.suppressed for one in by_15] == [one.suppressed for one in by_18]
    assert len({one.suppressed for one in by_18}) == 2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"custom_attributes": {"segment": "gold"}}, "only external_id and name, and no segment"),
        ({"email": "{{ record.A }}", "phone": "{{ record.B }}"}, "for one address"),
    ],
)
def test_a_link_has_only_what_pisano_takes(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Survey.model_validate({**SURVEY, **changes})


def test_somebody_has_to_get_the_link(tmp_path: Path) -> None:
    [mistake] = mistakes(tmp_path, LINK_FILE)
    assert mistake.startswith("c:16:5: surveys.closed-case.channel: no rule under feedback has `of: link`")
    webhook = "    webhook: {path: /pisano/main, secret: hunter2hunter2hunter2}\n"
    config = read(tmp_path, LINK_FILE.replace(webhook, "") + RULE)
    assert config.feedback["link"].of == "link", "a rule about links needs no webhook"


def test_a_link_does_not_count_as_an_answer_of_the_customer() -> None:
    guard = protection({"once_per_any": "30d", "counts": "answers"})
    made = {"id": "1", "account": "main", "received_at": "2026-01-01T00:00:00Z", "body": {"email": "ada@example.com"}}
    someone = Invitation(
        id="1",
        survey="closed-case",
        account="main",
        campaign="1",
        email="ada@example.com",
        entity="Case",
        record_id=CASE,
        cause="c",
        created_at="2026-01-02T00:00:00Z",  # type: ignore[arg-type]
    )
    guard.people.answered(orjson.dumps({**made, "kind": "link"}))
    assert guard.people.answered_at(someone) is None
    guard.people.answered(orjson.dumps(made))
    assert guard.people.answered_at(someone) is not None
