"""Checks that the Salesforce double does to a write what real orgs do: rules, limits, locks, merges, firewalls."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from salesforce_wire import API, error, rest

from connector.sandbox.doubles.salesforce import Fault, SalesforceDouble
from connector.sandbox.doubles.salesforce.org_rules import Lock

CASES = f"{API}/composite/sobjects"
CONTACTS = f"{API}/composite/sobjects/Contact/Loyalty_Number__c"


@pytest.fixture
async def sf() -> AsyncIterator[SalesforceDouble]:
    async with SalesforceDouble() as double:
        yield double


@pytest.fixture
async def http(sf: SalesforceDouble) -> AsyncIterator[httpx.AsyncClient]:
    async with rest(sf) as http:
        yield http


def case(record_id: str, **fields: Any) -> dict[str, Any]:
    return {"attributes": {"type": "Case"}, "Id": record_id, **fields}


def contact(number: str, **fields: Any) -> dict[str, Any]:
    return {"attributes": {"type": "Contact"}, "Loyalty_Number__c": number, "LastName": "Doe", **fields}


async def patch(http: httpx.AsyncClient, url: str, *records: dict[str, Any], **headers: str) -> list[str | None]:
    """The status code of each record, or None if it was stored."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await http.patch(url, json={"records": [*records]}, headers=named)
    assert answer.status_code == 200
    return [result["errors"][0]["statusCode"] if result["errors"] else None for result in answer.json()]


@pytest.mark.parametrize(("header", "owner"), [({}, "queue"), ({"Sforce_Auto_Assign": "FALSE"}, "agent")])
async def test_an_update_runs_the_assignment_rule_unless_the_header_forbids_it(
    sf: SalesforceDouble, http: httpx.AsyncClient, header: dict[str, str], owner: str
) -> None:
    """Report 4: the default is TRUE for created and for updated records."""
    queue = sf.create("User", {"LastName": "Queue", "Username": "q@example.com", "Email": "q@example.com"})
    sf.configure(assignment_rules={"Case": queue})
    record = sf.create("Case", {"OwnerId": sf.agent_id})
    assert await patch(http, CASES, case(record, Status="Reopened"), **header) == [None]
    assert sf.record("Case", record)["OwnerId"] == {"queue": queue, "agent": sf.agent_id}[owner]


async def test_a_duplicate_rule_refuses_a_record_unless_the_header_allows_it(
    sf: SalesforceDouble, http: httpx.AsyncClient
) -> None:
    """Report 24: of a call's records, only the duplicate is refused. A record is no duplicate of itself."""
    sf.configure(duplicate_rules={"Contact": "Email"})
    sf.create("Contact", {"LastName": "Doe", "Email": "jane@example.com"})
    twice, other = contact("1", Email="JANE@example.com"), contact("2", Email="joe@example.com")
    assert await patch(http, CONTACTS, twice, other) == ["DUPLICATES_DETECTED", None]
    assert await patch(http, CONTACTS, other) == [None]
    assert await patch(http, CONTACTS, twice, Sforce_Duplicate_Rule_Header="allowSave=true") == [None]


async def test_a_checkbox_cannot_be_null(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """Report 11; describe says so too."""
    record = sf.create("Case", {})
    assert await patch(http, CASES, case(record, Is_VIP__c=None)) == ["INVALID_TYPE_ON_FIELD_IN_RECORD"]
    described = (await http.get(f"{API}/sobjects/Case/describe")).json()["fields"]
    assert {each["name"]: each["nillable"] for each in described}["Is_VIP__c"] is False


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("row", "UNABLE_TO_LOCK_ROW"),
        ("flow", "CANNOT_EXECUTE_FLOW_TRIGGER"),
        ("trigger", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"),
        ("busy", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"),
        ("approval", "ENTITY_IS_LOCKED"),
    ],
)
async def test_a_lock_comes_in_many_wordings(
    sf: SalesforceDouble, http: httpx.AsyncClient, kind: Lock, code: str
) -> None:
    """Report 10; salesforce §D4."""
    record = sf.create("Case", {})
    sf.lock(record, kind=kind)
    assert await patch(http, CASES, case(record, NPS__c=1)) == [code]
    assert await patch(http, CASES, case(record, NPS__c=1)) == [None]


async def test_too_many_records_in_a_call_break_a_governor_limit_together(
    sf: SalesforceDouble, http: httpx.AsyncClient
) -> None:
    """Report 3: the answer is a 200, every record is refused, and nothing is stored. Fewer records pass."""
    sf.configure(records_per_call=2)
    cases = [case(sf.create("Case", {}), NPS__c=9) for _ in range(3)]
    answer = (await http.patch(CASES, json={"records": cases})).json()
    assert all("System.LimitException" in result["errors"][0]["message"] for result in answer)
    assert [record["NPS__c"] for record in sf.records("Case")] == [None] * 3
    assert await patch(http, CASES, *cases[:2]) == [None, None]


async def test_a_merged_record_is_deleted_and_names_the_one_that_survives(
    sf: SalesforceDouble, http: httpx.AsyncClient
) -> None:
    """Report 28: only queryAll sees it."""
    survivor, loser = sf.create("Case", {}), sf.create("Case", {})
    sf.merge("Case", survivor, loser)
    assert await patch(http, CASES, case(loser, NPS__c=1)) == ["ENTITY_IS_DELETED"]
    query = {"q": "SELECT Id, MasterRecordId FROM Case WHERE IsDeleted = true"}
    assert (await http.get(f"{API}/query", params=query)).json()["records"] == []
    [row] = (await http.get(f"{API}/queryAll", params=query)).json()["records"]
    assert row["MasterRecordId"] == survivor


async def test_a_time_field(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    sf.add_field("Case", "Visit_At__c time")
    record = sf.create("Case", {})
    assert await patch(http, CASES, case(record, Visit_At__c="09:30:00Z")) == [None]
    assert sf.record("Case", record)["Visit_At__c"] == "09:30:00.000Z"
    assert sf.events("Case")[-1].values["Visit_At__c"] == (9 * 60 + 30) * 60_000
    assert await patch(http, CASES, case(record, Visit_At__c="half past nine")) == ["JSON_PARSER_ERROR"]


async def test_a_number_has_at_most_so_many_digits(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    record = sf.create("Case", {})
    assert await patch(http, CASES, case(record, NPS__c=10**16)) == ["NUMBER_OUTSIDE_VALID_RANGE"]
    assert await patch(http, CASES, case(record, NPS__c=10**15)) == [None]


async def test_a_firewall_refuses_what_it_dislikes_with_a_page(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """Report 2 on this side: the page comes from a front and not from the API."""
    sf.configure(firewall="<script>")
    record = sf.create("Case", {})
    answer = await http.patch(CASES, json={"records": [case(record, Comments="<script>")]})
    assert (answer.status_code, answer.text[:6], answer.headers["Content-Type"][:9]) == (403, "<html>", "text/html")
    assert await patch(http, CASES, case(record, Comments="fine")) == [None]


async def test_a_call_may_get_a_400_that_asks_to_be_repeated(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """Report 7, for REST."""
    body = [{"errorCode": "UNKNOWN", "message": "An error occurred. Please retry your request."}]
    sf.fail(Fault(match="PATCH", status=400, body=body))
    record = sf.create("Case", {})
    assert error(await http.patch(CASES, json={"records": [case(record)]})) == (400, "UNKNOWN")
    assert await patch(http, CASES, case(record)) == [None]


async def test_an_org_may_not_let_the_user_describe(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    sf.configure(describable=False)
    assert error(await http.get(f"{API}/sobjects/Case/describe")) == (403, "INSUFFICIENT_ACCESS")
