"""Checks the Salesforce double's OAuth and REST API against contracts/salesforce.md §D, with only httpx."""

from typing import Any

import httpx
import jwt
import pytest
from helpers.clock import Clock
from helpers.plain_http import plain_http
from salesforce_wire import API, error, log_in, rest

from connector.sandbox.doubles.salesforce import SalesforceDouble, ids
from connector.sandbox.doubles.salesforce.oauth import make_key


async def query(http: httpx.AsyncClient, text: str) -> httpx.Response:
    return await http.get(f"{API}/query", params={"q": text})


def test_the_checksum_of_an_id() -> None:
    """18 characters name the same record as 15, even if their case is lost."""
    assert ids.normal("001A0000006Vm9u") == "001A0000006Vm9uIAC"
    assert ids.normal("001a0000006vm9uIAC") is None


async def test_a_token_and_the_org_in_its_id(sf: SalesforceDouble) -> None:
    """salesforce §A, §D1: the org id is the second-last part of `id`; there is no expires_in."""
    token = await log_in(sf)
    assert token["id"].split("/")[-2] == sf.org_id
    assert token["instance_url"] == sf.login_url
    assert token["issued_at"] == "1795500000250"
    assert "expires_in" not in token


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"}, "invalid_client"),
    ],
)
async def test_a_refused_login_is_a_400(sf: SalesforceDouble, form: dict[str, str], expected: str) -> None:
    """salesforce §D1."""
    async with plain_http() as http:
        answer = await http.post(f"{sf.login_url}/services/oauth2/token", data=form)
    assert answer.status_code == 400
    assert answer.json()["error"] == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"aud": "https://acme.my.salesforce.com"}, "audience is invalid"),
        ({"sub": "nobody@example.com"}, "user hasn't approved this consumer"),
        ({"exp": 1_795_500_000}, "invalid assertion"),
        ({"exp": 1_795_500_900}, "invalid assertion"),
        ({"exp": "soon"}, "invalid assertion"),
        ({"aud": ["https://login.salesforce.com"]}, "audience is invalid"),
        ({"iss": "somebody"}, "client identifier invalid"),
        ({"key": "another"}, "invalid assertion"),
    ],
)
async def test_the_jwt_bearer_flow_checks_signature_and_claims(
    sf: SalesforceDouble, change: dict[str, Any], expected: str | None
) -> None:
    """salesforce §D1."""
    key = make_key() if change.get("key") else sf.jwt_private_key
    claims = {"iss": sf.client_id, "sub": sf.username, "aud": "https://login.salesforce.com", "exp": 1_795_500_180}
    assertion = jwt.encode({**claims, **change}, key, algorithm="RS256")
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    async with plain_http() as http:
        answer = await http.post(f"{sf.login_url}/services/oauth2/token", data=form)
    assert answer.json().get("error_description") == expected
    assert answer.status_code == (400 if expected else 200)


async def test_an_expired_or_revoked_token_is_a_401(sf: SalesforceDouble, clock: Clock) -> None:
    """salesforce §D4."""
    async with rest(sf) as http:
        assert (await http.get(f"{API}/limits")).status_code == 200
        clock.now += sf.settings.token_lifetime
        assert error(await http.get(f"{API}/limits")) == (401, "INVALID_SESSION_ID")
    async with rest(sf) as http:
        sf.revoke_tokens()
        assert error(await http.get(f"{API}/limits")) == (401, "INVALID_SESSION_ID")


async def test_limits_and_usage(http: httpx.AsyncClient) -> None:
    """salesforce §A5, §D2."""
    answer = await http.get(f"{API}/limits")
    assert answer.headers["Sforce-Limit-Info"] == "api-usage=1/100000; api-bursts=1/750"
    assert answer.json()["DailyApiRequests"] == {"Max": 100_000, "Remaining": 99_999}
    assert "DailyDeliveredPlatformEvents" in answer.json()


async def test_describe(http: httpx.AsyncClient) -> None:
    described = (await http.get(f"{API}/sobjects/Survey_Response__c/describe")).json()
    fields = {field["name"]: field for field in described["fields"]}
    assert (fields["Pisano_Id__c"]["externalId"], fields["Pisano_Id__c"]["length"]) == (True, 64)
    assert (fields["Score__c"]["type"], fields["Score__c"]["updateable"]) == ("double", True)
    assert fields["Name"]["updateable"] is False
    assert described["keyPrefix"] == "a0X"


async def test_a_query_reads_fields_related_fields_and_compounds(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    name = {"FirstName": "Jane", "LastName": "O'Hara", "Email": "jane@example.com", "MailingCity": "Izmir"}
    contact = sf.create("Contact", name)
    first = sf.create("Case", {"ContactId": contact, "Subject": "b", "Branch__c": "7"})
    second = sf.create("Case", {"Subject": "a"})
    ids = f"('{first[:15]}', '{second}')"
    answer = (
        await query(http, f"SELECT Id, Contact.Email, Branch_Label__c FROM Case WHERE Id IN {ids} ORDER BY Subject")  # noqa: S608
    ).json()
    assert (answer["totalSize"], answer["done"]) == (2, True)
    assert [(row["Id"], row["Contact"] and row["Contact"]["Email"]) for row in answer["records"]] == [
        (second, None),
        (first, "jane@example.com"),
    ]
    assert answer["records"][1]["Branch_Label__c"] == "7/Medium"
    text = "select name, mailingaddress from Contact where LastName = 'O\\'Hara' and HasOptedOutOfEmail = false limit 1"
    (row,) = (await query(http, text)).json()["records"]
    assert row["attributes"] == {"type": "Contact", "url": f"{API}/sobjects/Contact/{contact}"}
    assert (row["Name"], row["MailingAddress"]["city"]) == ("Jane O'Hara", "Izmir")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT Id, Nothing__c FROM Case", "INVALID_FIELD"),
        ("SELECT Id, Contact.Nothing__c FROM Case", "INVALID_FIELD"),
        ("SELECT Id FROM Nothing__c", "INVALID_TYPE"),
        ("SELECT Id Subject FROM Case", "MALFORMED_QUERY"),
        ("SELECT Id, id FROM Case", "MALFORMED_QUERY"),
        ("SELECT Id FROM Case WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FROM Case WHERE NPS__c = '3'", "INVALID_FIELD"),
        ("SELECT Id FROM Case WHERE Subject = 3", "INVALID_FIELD"),
        ("SELECT Id FROM Case WHERE Description = 'x'", "INVALID_FIELD"),
        ("SELECT Id FROM Case WHERE Subject = 'x' OR Subject = 'y' AND IsClosed = true", "MALFORMED_QUERY"),
        ("SELECT Status, COUNT(Id) FROM Case GROUP BY Status", "MALFORMED_QUERY"),
        ("SELECT FIELDS(ALL) FROM Case", "MALFORMED_QUERY"),
        ("SELECT Id FROM Case WHERE CreatedDate = LAST_YEAR", "MALFORMED_QUERY"),
        ("SELECT Id FROM Case WHERE NPS__c LIKE '3%'", "INVALID_FIELD"),
        ("SELECT Id FROM Store_Visit__e", "INVALID_TYPE"),
    ],
)
async def test_a_wrong_query_is_a_400(http: httpx.AsyncClient, text: str, expected: str) -> None:
    """salesforce §D4."""
    assert error(await query(http, text)) == (400, expected)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("Subject LIKE 'A_' OR Subject LIKE '%z'", "ab xyz"),
        ("(Subject = 'ab' OR Subject = 'cd') AND Priority = 'High'", "ab"),
        ("NOT Subject IN ('ab', 'cd')", "xyz"),
        ("Subject NOT IN ('ab', 'xyz')", "cd"),
        ("Contact.Account.Name = 'Acme'", "cd"),
        ("CreatedDate = TODAY ORDER BY Subject LIMIT 1 OFFSET 2", "xyz"),
        ("CreatedDate > LAST_N_DAYS:3 OR Purchase_Date__c < TODAY", "ab"),
    ],
)
async def test_conditions(sf: SalesforceDouble, http: httpx.AsyncClient, where: str, expected: str) -> None:
    """The SOQL reference. A relationship may lead over another."""
    account = sf.create("Account", {"Name": "Acme"})
    contact = sf.create("Contact", {"LastName": "x", "AccountId": account})
    sf.create("Case", {"Subject": "ab", "Priority": "High", "Purchase_Date__c": "2026-11-01"})
    sf.create("Case", {"Subject": "cd", "ContactId": contact})
    sf.create("Case", {"Subject": "xyz"})
    rows = (await query(http, f"SELECT Subject FROM case WHERE {where}")).json()["records"]  # noqa: S608
    assert " ".join(row["Subject"] for row in rows) == expected
    counted = (await query(http, "SELECT COUNT() FROM Case")).json()
    assert counted == {"totalSize": 3, "done": True, "records": []}
    (row,) = (await query(http, "SELECT Contact.Account.Name FROM Case WHERE Subject = 'cd'")).json()["records"]
    assert row["Contact"]["Account"]["Name"] == "Acme"


async def test_a_query_comes_in_pages_and_its_uri_is_bounded(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """salesforce §D2, §D3: at most 2,000 rows per page and 16,384 bytes of URI."""
    assert sf.settings.page == 2000
    sf.configure(page=3)
    for number in range(7):
        sf.create("Case", {"Subject": str(number)})
    page = (await query(http, "SELECT Subject FROM Case ORDER BY Subject")).json()
    found = page["records"]
    while not page["done"]:
        assert page["totalSize"] == 7
        page = (await http.get(page["nextRecordsUrl"])).json()
        found += page["records"]
    assert [row["Subject"] for row in found] == list("0123456")
    many = ",".join(["'5005g0000000001AAA'"] * 800)
    assert (await query(http, f"SELECT Id FROM Case WHERE Id IN ({many})")).status_code == 414  # noqa: S608


async def test_the_daily_limit_and_unknown_resources(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """salesforce §D4."""
    assert error(await http.get("/services/data/v99.0/limits")) == (404, "NOT_FOUND")
    assert error(await http.get(f"{API}/nothing")) == (404, "NOT_FOUND")
    assert error(await http.get(f"{API}/sobjects/Nothing__c/describe")) == (404, "NOT_FOUND")
    assert error(await http.put(f"{API}/limits")) == (405, "METHOD_NOT_ALLOWED")
    assert error(await http.get("/services/apexrest/nothing")) == (404, "NOT_FOUND")
    assert error(await http.get(f"{API}/jobs/ingest/")) == (404, "NOT_FOUND")
    sf.configure(api_limit=1)
    assert error(await http.get(f"{API}/limits")) == (403, "REQUEST_LIMIT_EXCEEDED")
