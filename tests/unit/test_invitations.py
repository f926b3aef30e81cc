"""From a change event to an invitation: who is invited, which fields are read, and why a customer is not invited."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import pytest
from helpers.change_events import change

from connector.config import Survey
from connector.errors import Fatal, Rejected
from connector.reasons import Reason
from connector.records import ChangeEvent, Invitation
from connector.salesforce.soql import Source, Value
from connector.surveys.invitations import SurveyRule
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader

CASE, CONTACT, OTHER = "5005g0000000001AAA", "0035g0000000001AAA", "0035g00000000zzAAA"
CLOSED = {"Status": "Closed"}
CONTACT_ROW = {"Id": CONTACT, "Email": "ada@example.com", "HasOptedOutOfEmail": False}
CASE_ROW = {"Id": CASE, "Status": "Closed", "ContactId": CONTACT, "Branch__c": "Izmir"}
SURVEY: dict[str, Any] = {
    "on": "Case",
    "when": 'changed contains "Status" and record.Status == "Closed"',
    "lookup": {
        "contact": {
            "object": "Contact",
            "id": "{{ record.ContactId }}",
            "fields": ["Id", "Email", "HasOptedOutOfEmail"],
        }
    },
    "account": "main",
    "campaign": "4711",
    "email": "{{ contact.Email }}",
    "custom_attributes": {"external_id": "{{ contact.Id }}"},
    "built_in_responses": {"branch_id": "{{ record.Branch__c }}", "sf_ref_id": "{{ record.Id }}"},
    "protect": {"opted_out": "{{ contact.HasOptedOutOfEmail }}"},
}


class Decision:
    """One survey decides about one event. `read` are the fields that it read from Salesforce, by object.

    `deleted` are the records in the recycle bin, each with the id of the record that it was merged into.
    """

    def __init__(
        self,
        *,
        case: Mapping[str, Any] | None = CASE_ROW,
        contact: Mapping[str, Any] | None = CONTACT_ROW,
        more: Iterable[Mapping[str, Any]] = (),
        deleted: Mapping[str, str | None] | None = None,
        name: str = "closed-case",
        **survey: Any,
    ) -> None:
        self._rows = [row for row in (case, contact, *more) if row]
        self._deleted = deleted or {}
        reader = Reader(Lookup(self._find), Lookup(self._find_deleted))
        self._rule = SurveyRule(name, Survey.model_validate({**SURVEY, **survey}), reader)
        self.read: dict[str, set[str]] = {}

    async def _find(self, source: Source, fields: Iterable[str], values: list[Value]) -> list[dict[str, Any]]:
        self.read[source.object] = {*fields} - {"Id"}
        return [dict(row) for row in self._rows if row["Id"] in values]

    async def _find_deleted(self, source: Source, fields: Iterable[str], ids: list[Value]) -> list[dict[str, Any]]:
        assert set(fields) == {"Id", "MasterRecordId"} or source.object not in {"Account", "Case", "Contact", "Lead"}
        return [{"Id": id_, "MasterRecordId": self._deleted[str(id_)]} for id_ in ids if id_ in self._deleted]

    async def about(self, event: ChangeEvent) -> Invitation | None:
        """The only invitation, or None."""
        invitations = await self._rule.invitations(event)
        assert len(invitations) < 2
        return invitations[0] if invitations else None


async def test_the_events_values_win_over_those_that_salesforce_has_by_now() -> None:
    """Design §5: in `record` the event's values win. Only named fields that the event lacks are read."""
    decision = Decision()
    invitation = await decision.about(change(CASE, {**CLOSED, "Branch__c": "Ankara"}))
    assert invitation is not None
    assert invitation.email == "ada@example.com"
    assert invitation.suppressed is None
    assert invitation.custom_attributes == {"external_id": CONTACT}
    assert invitation.built_in_responses == {"branch_id": "Ankara", "sf_ref_id": CASE}
    assert decision.read == {"Case": {"ContactId"}, "Contact": {"Email", "HasOptedOutOfEmail"}}


@pytest.mark.parametrize("fields", [{"Priority": "High"}, {"Status": "New"}])
async def test_a_condition_that_the_event_can_decide_reads_nothing(fields: dict[str, str]) -> None:
    decision = Decision()
    assert await decision.about(change(CASE, fields)) is None
    assert decision.read == {}


@pytest.mark.parametrize(("branch", "invited"), [("Izmir", True), ("Ankara", False), (None, False)])
async def test_a_condition_on_an_unchanged_field_is_decided_by_the_record(branch: str | None, invited: bool) -> None:
    decision = Decision(case={**CASE_ROW, "Branch__c": branch}, when='record.Branch__c == "Izmir"')
    assert (await decision.about(change(CASE, CLOSED)) is not None) is invited
    assert ("Contact" in decision.read) is invited


async def test_a_field_that_was_set_to_null_is_null_and_not_read() -> None:
    """salesforce §0.8."""
    decision = Decision()
    invitation = await decision.about(change(CASE, {**CLOSED, "ContactId": None}, nulled_fields=("ContactId",)))
    assert invitation is not None
    assert invitation.suppressed is Reason.NO_ADDRESS
    assert "ContactId" not in decision.read["Case"]


@pytest.mark.parametrize(
    ("contact", "email", "suppressed"),
    [
        (None, None, Reason.RECORD_GONE),
        ({"Email": None}, None, Reason.NO_ADDRESS),
        ({"Email": "  "}, None, Reason.NO_ADDRESS),
        ({"Email": "ada@"}, "ada@", Reason.INVALID_ADDRESS),
        ({"Email": "ada@example.com", "HasOptedOutOfEmail": True}, "ada@example.com", Reason.OPTED_OUT),
        ({"Email": "ada@", "HasOptedOutOfEmail": True}, "ada@", Reason.INVALID_ADDRESS),
        ({"Email": " Ada@Example.COM "}, "Ada@example.com", None),
    ],
)
async def test_who_is_not_asked_has_a_reason(
    contact: dict[str, Any] | None, email: str | None, suppressed: Reason | None
) -> None:
    decision = Decision(contact=None if contact is None else {**CONTACT_ROW, **contact})
    invitation = await decision.about(change(CASE, CLOSED))
    assert invitation is not None
    assert (invitation.email, invitation.suppressed) == (email, suppressed)


@pytest.mark.parametrize(
    ("value", "opted_out"),
    [
        (None, False),
        (False, False),
        ("false", False),
        (" false\n", False),
        (True, True),
        ("true", True),
        ("true\n", True),
        (1, True),
    ],
)
async def test_whatever_is_not_plainly_no_is_an_opt_out(value: object, opted_out: bool) -> None:
    decision = Decision(
        case={**CASE_ROW, "Opt_Out__c": value},
        email="ada@example.com",
        lookup={},
        custom_attributes={},
        protect={"opted_out": "{{ record.Opt_Out__c }}"},
    )
    invitation = await decision.about(change(CASE, CLOSED))
    assert invitation is not None
    assert (invitation.suppressed is Reason.OPTED_OUT) is opted_out


async def test_an_attribute_that_cannot_be_rendered_costs_only_itself() -> None:
    decision = Decision(
        custom_attributes={"name": "{{ contact.Email }}", "size": '{{ record.Branch__c | number: "," }}'},
        built_in_responses={"visit": '{{ record.Branch__c | date: "%Y" }}', "sf_ref_id": "{{ record.Id }}"},
    )
    invitation = await decision.about(change(CASE, CLOSED))
    assert invitation is not None
    assert (invitation.email, invitation.suppressed) == ("ada@example.com", None)
    assert invitation.custom_attributes == {"name": "ada@example.com"}
    assert invitation.built_in_responses == {"sf_ref_id": CASE}
    assert "size is left out: " in (invitation.detail or "")
    assert "visit is left out: " in (invitation.detail or "")
    assert "Izmir" not in (invitation.detail or "")


@pytest.mark.parametrize(
    "decisive",
    [
        {"when": 'record.Branch__c > 5 and changed contains "Status"'},
        {"email": '{{ record.Branch__c | date: "%Y" }}'},
        {"protect": {"opted_out": '{{ record.Branch__c | date: "%Y" }}'}},
        {"lookup": {"contact": {**SURVEY["lookup"]["contact"], "id": '{{ record.Branch__c | date: "%Y" }}'}}},
    ],
    ids=lambda decisive: next(iter(decisive)),
)
async def test_a_template_that_decides_who_is_invited_must_be_rendered(decisive: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match="cannot be"):
        await Decision(**decisive).about(change(CASE, CLOSED))


async def test_the_id_is_the_same_for_the_same_cause_and_no_other() -> None:
    event = change(CASE, CLOSED)
    again = change(CASE, CLOSED, transaction_key="transaction-2")
    invitations = [
        await Decision().about(event),
        await Decision(case={**CASE_ROW, "Branch__c": "moved meanwhile"}).about(event),
        await Decision(name="another-survey").about(event),
        await Decision().about(again),
    ]
    first, repeat, other_survey, other_cause = [invitation and invitation.id for invitation in invitations]
    assert first == repeat
    assert len({first, other_survey, other_cause}) == 3


@pytest.mark.parametrize("kind", ["DELETE", "GAP_DELETE"])
async def test_a_record_that_is_gone_has_nobody_to_ask(kind: str) -> None:
    decision = Decision(when=None)
    assert await decision.about(change(CASE, {}, change_type=kind)) is None
    assert decision.read == {}


@pytest.mark.parametrize(
    ("record_id", "kind"), [("001*", "GAP_UPDATE"), ("000000000000000AAA", "GAP_OVERFLOW"), (CASE, "GAP_UPDATE")]
)
async def test_an_event_that_tells_too_little_to_decide_is_rejected(record_id: str, kind: str) -> None:
    """salesforce §B4: it has no fields and maybe no record. It must not vanish, because a customer may need an
    invitation.
    """
    with pytest.raises(Rejected) as caught:
        await Decision().about(change(record_id, {}, change_type=kind))
    assert caught.value.code == "gap"


async def test_a_gap_is_decided_by_the_record_where_the_survey_does_not_ask_what_changed() -> None:
    decision = Decision(when='record.Status == "Closed"')
    invitation = await decision.about(change(CASE, {}, change_type="GAP_UPDATE"))
    assert invitation is not None
    assert invitation.email == "ada@example.com"


async def test_a_record_that_salesforce_does_not_show_is_rejected_and_not_taken_for_an_empty_one() -> None:
    with pytest.raises(Rejected, match="may not see it") as caught:
        await Decision(case=None, when='record.Branch__c == "Izmir"').about(change(CASE, CLOSED))
    assert caught.value.code == "no_record"


async def test_a_record_that_was_merged_away_or_deleted_has_nobody_to_ask() -> None:
    """The survivor has an event of its own, so following it would ask the customer twice."""
    decision = Decision(case=None, deleted={CASE: OTHER}, when='record.Branch__c == "Izmir"')
    invitation = await decision.about(change(CASE, CLOSED))
    assert invitation is not None
    assert (invitation.suppressed, invitation.detail) == (
        Reason.RECORD_GONE,
        f"Case {CASE} was merged into {OTHER}",
    )


@pytest.mark.parametrize("merges", [1, 2, 9])
async def test_a_contact_that_was_merged_is_followed_to_the_one_that_was_kept(merges: int) -> None:
    """Report 28: the event names the contact by the id that it had before the merge."""
    ids = [CONTACT, *(f"0035g00000000{number:02}AAA" for number in range(2, 2 + merges))]
    decision = Decision(
        contact=None,
        more=[{**CONTACT_ROW, "Id": ids[-1], "Email": "kept@example.com"}],
        deleted=dict(pairwise(ids)),
    )
    invitation = await decision.about(change(CASE, CLOSED))
    assert invitation is not None
    assert (invitation.email, invitation.suppressed) == ("kept@example.com", None)
    assert invitation.custom_attributes == {"external_id": ids[-1]}


@pytest.mark.parametrize(
    ("deleted", "detail"),
    [
        ({CONTACT: None}, f"Contact {CONTACT} was deleted"),
        ({CONTACT: OTHER, OTHER: None}, f"Contact {OTHER} was deleted"),
        ({CONTACT: OTHER, OTHER: CONTACT}, "was merged more than 10 times"),
        ({}, f"Salesforce has no Contact {CONTACT}, or the user may not see it"),
    ],
)
async def test_a_customer_who_cannot_be_found_is_not_one_without_an_address(
    deleted: dict[str, str | None], detail: str
) -> None:
    decision = Decision(contact=None, deleted=deleted)
    invitation = await decision.about(change(CASE, CLOSED))
    assert invitation is not None
    assert invitation.suppressed is Reason.RECORD_GONE
    assert detail in (invitation.detail or "")


async def test_a_refused_credential_is_no_evidence_about_a_record() -> None:
    async def nothing(object_name: str, fields: Iterable[str], ids: list[str]) -> list[dict[str, Any]]:
        return []

    async def refused(object_name: str, fields: Iterable[str], ids: list[str]) -> list[dict[str, Any]]:
        raise Fatal("invalid_client", whole=True)

    with pytest.raises(Fatal, match="invalid_client"):
        await Reader(Lookup(nothing), Lookup(refused)).read("Case", CASE, frozenset({"Status"}))


async def test_a_missing_contact_suppresses_nobody_whose_address_is_elsewhere() -> None:
    decision = Decision(contact=None, email="{{ record.SuppliedEmail }}", protect={})
    invitation = await decision.about(change(CASE, {**CLOSED, "SuppliedEmail": "ada@example.com"}))
    assert invitation is not None
    assert (invitation.email, invitation.suppressed) == ("ada@example.com", None)


@pytest.mark.parametrize("chained", [False, True])
async def test_nobody_is_invited_whose_opt_out_cannot_be_read(chained: bool) -> None:
    """The record that holds the opt-out is gone, or the one whose field leads to it. The address is known."""
    contact = {**SURVEY["lookup"]["contact"], "fields": ["Id", "AccountId", "HasOptedOutOfEmail"]}
    consent = {"object": "Consent__c", "id": "{{ contact.AccountId }}", "fields": ["Opt_Out__c"]}
    decision = Decision(
        contact=None,
        email="{{ record.SuppliedEmail }}",
        lookup={"contact": contact, "consent": consent} if chained else {"contact": contact},
        protect={"opted_out": "{{ consent.Opt_Out__c }}" if chained else "{{ contact.HasOptedOutOfEmail }}"},
    )
    invitation = await decision.about(change(CASE, {**CLOSED, "SuppliedEmail": "ada@example.com"}))
    assert invitation is not None
    assert (invitation.email, invitation.suppressed) == (None, Reason.RECORD_GONE)
    assert f"no Contact {CONTACT}" in (invitation.detail or "")


async def test_a_missing_record_that_does_not_lead_to_the_address_is_not_the_reason() -> None:
    """A queue owns the case, and the configuration reads its owner as a user."""
    queue = {"object": "User", "id": "{{ record.OwnerId }}", "fields": ["Name"]}
    decision = Decision(
        contact={**CONTACT_ROW, "Email": None},
        lookup={**SURVEY["lookup"], "owner": queue},
        built_in_responses={"agent_name": "{{ owner.Name }}"},
    )
    invitation = await decision.about(change(CASE, {**CLOSED, "OwnerId": "00G5g0000000001AAA"}))
    assert invitation is not None
    assert (invitation.suppressed, invitation.detail) == (Reason.NO_ADDRESS, None)


async def test_a_template_of_several_lines_finds_its_record() -> None:
    contact = {**SURVEY["lookup"]["contact"], "id": "{% if true %}\n  {{ record.ContactId }}\n{% endif %}\n"}
    invitation = await Decision(lookup={"contact": contact}).about(change(CASE, CLOSED))
    assert invitation is not None
    assert (invitation.email, invitation.suppressed) == ("ada@example.com", None)


@pytest.mark.parametrize(
    ("fields", "invited"),
    [
        (CLOSED, True),
        ({"Status": "New"}, False),
        ({"Status": None}, False),
    ],
)
async def test_a_record_that_is_created_in_its_final_state_has_changed(
    fields: dict[str, str | None], invited: bool
) -> None:
    """Report 5: a phone case that is logged as closed is one CREATE, whose list of changed fields is empty."""
    event = change(CASE, {**fields, "ContactId": CONTACT}, change_type="CREATE", changed_fields=())
    invitation = await Decision().about(event)
    assert (invitation is not None) is invited


async def test_a_created_record_has_not_changed_what_it_has_no_value_for() -> None:
    decision = Decision(when='changed contains "Branch__c"')
    event = change(CASE, {**CLOSED, "Branch__c": None}, change_type="CREATE", changed_fields=())
    assert await decision.about(event) is None


@pytest.mark.parametrize("kind", ["UNDELETE", "GAP_UNDELETE"])
@pytest.mark.parametrize(
    ("when", "suppressed"),
    [
        ('record.Status == "Closed"', Reason.RESTORED),
        ('record.Status == "Closed" and event.change_type contains "UNDELETE"', None),
    ],
)
async def test_a_record_that_comes_back_invites_only_where_the_survey_asks_for_it(
    kind: str, when: str, suppressed: Reason | None
) -> None:
    """Report 5: it was decided before it was deleted, and its event has a new id."""
    invitation = await Decision(when=when).about(change(CASE, CLOSED, change_type=kind, changed_fields=()))
    assert invitation is not None
    assert invitation.suppressed is suppressed


@pytest.mark.parametrize("kind", ["UNDELETE", "GAP_UNDELETE"])
async def test_a_record_that_comes_back_invites_nobody_where_the_survey_asks_what_changed(kind: str) -> None:
    decision = Decision()
    invitation = await decision.about(change(CASE, {}, change_type=kind))
    assert invitation is not None
    assert invitation.suppressed is Reason.RESTORED
    assert decision.read == {}


async def test_a_record_that_comes_back_and_is_not_meant_leaves_no_record() -> None:
    event = change(CASE, {"Status": "New"}, change_type="UNDELETE", changed_fields=())
    assert await Decision(when='record.Status == "Closed"').about(event) is None


async def test_a_platform_event_is_all_that_there_is_to_read() -> None:
    survey: dict[str, Any] = {
        "on": "Store_Visit__e",
        "when": None,
        "lookup": {},
        "email": "{{ record.Email__c }}",
        "custom_attributes": {},
        "protect": {},
        "built_in_responses": {"store": "{{ record.Store__c }}"},
    }
    attributes = {"entity": "Store_Visit__e", "change_type": "EVENT"}
    event = change("a-uuid", {"Email__c": "ada@example.com", "Store__c": "7"}, **attributes)
    decision = Decision(**survey)
    invitation = await decision.about(event)
    assert invitation is not None
    assert (invitation.email, invitation.built_in_responses) == ("ada@example.com", {"store": "7"})
    assert decision.read == {}
    with pytest.raises(Rejected, match="Store_Visit__e has no field Store__c"):
        await decision.about(change("a-uuid", {"Email__c": "ada@example.com"}, **attributes))
