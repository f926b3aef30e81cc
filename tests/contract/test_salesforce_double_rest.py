"""The Salesforce double's OAuth and REST API against contracts/salesforce.md §D, with httpx alone."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
from salesforce_wire import API, Clock, log_in, pubsub, rest

from connector.doubles.salesforce import Fault, SalesforceDouble, ids
from connector.doubles.salesforce.oauth import make_key

RESPONSES = f"{API}/composite/sobjects/Survey_Response__c/Pisano_Id__c"
MANY = f"{API}/composite/sobjects"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sf(clock: Clock) -> AsyncIterator[SalesforceDouble]:
    async with SalesforceDouble(clock=clock) as double:
        yield double


@pytest.fixture
async def http(sf: SalesforceDouble) -> AsyncIterator[httpx.AsyncClient]:
    async with rest(sf, client="pisano") as http:
        yield http


def response(key: str, **fields: Any) -> dict[str, Any]:
    return {"attributes": {"type": "Survey_Response__c"}, "Pisano_Id__c": key, **fields}


def case(record_id: str, **fields: Any) -> dict[str, Any]:
    return {"attributes": {"type": "Case"}, "Id": record_id, **fields}


async def upsert(http: httpx.AsyncClient, *records: dict[str, Any], all_or_none: bool = False) -> list[dict[str, Any]]:
    answer = await http.patch(RESPONSES, json={"allOrNone": all_or_none, "records": records})
    assert answer.status_code == 200
    return answer.json()


async def query(http: httpx.AsyncClient, text: str) -> httpx.Response:
    return await http.get(f"{API}/query", params={"q": text})


def codes(results: list[dict[str, Any]]) -> list[str | None]:
    return [result["errors"][0]["statusCode"] if result["errors"] else None for result in results]


def error(answer: httpx.Response) -> tuple[int, str]:
    """Status and errorCode: the body is an array (salesforce §D4)."""
    (problem,) = answer.json()
    assert problem["message"]
    return answer.status_code, problem["errorCode"]


def test_the_checksum_of_an_id() -> None:
    """18 characters name the same record as 15, whatever becomes of their case."""
    assert ids.normal("001A0000006Vm9u") == "001A0000006Vm9uIAC"
    assert ids.normal("001a0000006vm9uIAC") is None


async def test_a_token_and_the_org_in_its_id(sf: SalesforceDouble) -> None:
    """salesforce §A, §D1: the org id is the last but one part of `id`; there is no expires_in."""
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
    async with httpx.AsyncClient() as http:
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
    async with httpx.AsyncClient() as http:
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
        ("SELECT Id FROM Case WHERE Subject = 'x' OR Subject = 'y'", "MALFORMED_QUERY"),
    ],
)
async def test_a_wrong_query_is_a_400(http: httpx.AsyncClient, text: str, expected: str) -> None:
    """salesforce §D4."""
    assert error(await query(http, text)) == (400, expected)


async def test_a_query_comes_in_pages_and_its_uri_is_bounded(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """salesforce §D2, §D3: 2,000 rows a page, 16,384 bytes of URI."""
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


async def test_upserts_have_results_in_order(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """salesforce §D2."""
    about = sf.create("Case", {})
    await upsert(http, response("a", Score__c=1))
    results = await upsert(http, response("b", Case__c=about), response("a", Score__c=9))
    assert [(result["success"], result["created"]) for result in results] == [(True, True), (True, False)]
    assert all(result["id"].startswith("a0X") and len(result["id"]) == 18 for result in results)
    stored = {row["Pisano_Id__c"]: row for row in sf.records("Survey_Response__c")}
    assert (stored["a"]["Score__c"], stored["b"]["Case__c"]) == (9, about)
    assert [(write.created, write.client) for write in sf.history("a")] == [(True, "pisano"), (False, "pisano")]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"Nothing__c": 1}, "INVALID_FIELD"),
        ({"Score__c": "9"}, "JSON_PARSER_ERROR"),
        ({"Comment__c": 9}, "JSON_PARSER_ERROR"),
        ({"Answered_At__c": "yesterday"}, "JSON_PARSER_ERROR"),
        ({"Channel__c": "Fax"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ({"Source__c": "x" * 81}, "STRING_TOO_LONG"),
        ({"Email__c": "nobody"}, "INVALID_EMAIL_ADDRESS"),
        ({"Case__c": "500"}, "MALFORMED_ID"),
        ({"Case__c": "5005g0000000009AAA"}, "INVALID_CROSS_REFERENCE_KEY"),
        ({"Case__c": "0035g0000000001AAA"}, "FIELD_INTEGRITY_EXCEPTION"),
        ({"Name": "SR-1"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({"Pisano_Id__c": None}, "MISSING_ARGUMENT"),
        ({"Id": "a0X5g0000000001AAA"}, "INVALID_FIELD"),
    ],
)
async def test_a_refused_record_leaves_its_neighbours_alone(
    sf: SalesforceDouble, http: httpx.AsyncClient, fields: dict[str, Any], expected: str
) -> None:
    """salesforce §D2, §D4: the call is a 200, each record has its own statusCode."""
    results = await upsert(http, response("good"), {**response("bad"), **fields}, response("fine"))
    assert codes(results) == [None, expected, None]
    assert "id" not in results[1]
    assert {row["Pisano_Id__c"] for row in sf.records("Survey_Response__c")} == {"good", "fine"}


async def test_a_wrong_field_may_fail_the_whole_call(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """salesforce §G: not known, so the double can do both."""
    sf.configure(bad_field="call")
    records = [response("a"), response("b", Nothing__c=1)]
    assert error(await http.patch(RESPONSES, json={"records": records})) == (400, "INVALID_FIELD")
    assert sf.records("Survey_Response__c") == []


async def test_an_external_id_twice_in_a_call_fails(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """salesforce §D2."""
    results = await upsert(http, response("a"), response("b"), response("a"))
    assert codes(results) == ["DUPLICATE_VALUE", None, "DUPLICATE_VALUE"]
    assert len(sf.records("Survey_Response__c")) == 1


async def test_all_or_none(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """salesforce §D2: innocents are rolled back, and nothing is heard of them."""
    results = await upsert(http, response("a"), response("b", Nothing__c=1), all_or_none=True)
    assert codes(results) == ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "INVALID_FIELD"]
    assert sf.records("Survey_Response__c") == []
    assert not any(write.success for write in sf.writes)
    await upsert(http, response("c"))
    async with pubsub(sf) as api:
        (event,) = await api.events("/data/Survey_Response__ChangeEvent")
    assert event["Pisano_Id__c"] == "c"


@pytest.mark.parametrize(
    "body",
    [
        {"records": [response(str(number)) for number in range(201)]},
        {"records": [{"Pisano_Id__c": "a"}]},
        {"records": [{"attributes": {"type": "Case"}, "Pisano_Id__c": "a"}]},
        {"records": "a"},
        [],
    ],
)
async def test_a_malformed_collection_is_a_400(http: httpx.AsyncClient, body: Any) -> None:
    """salesforce §D2: at most 200 records, of one type, each with its attributes."""
    assert error(await http.patch(RESPONSES, json=body))[0] == 400


async def test_updates_by_id(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """salesforce §D4: unknown, deleted and malformed ids are the record's fault."""
    good, gone = sf.create("Case", {}), sf.create("Case", {})
    sf.delete("Case", gone)
    ids = [good[:15], gone, "5005g0000000099AAA", good[:15] + "ZZZ", sf.agent_id]
    records = [case(each, Status="Reopened") for each in ids]
    results = (await http.patch(MANY, json={"records": records})).json()
    assert codes(results[1:]) == ["ENTITY_IS_DELETED", "NOT_FOUND", "MALFORMED_ID", "MALFORMED_ID"]
    assert results[0] == {"id": good, "success": True, "errors": []}
    assert sf.record("Case", good)["Status"] == "Reopened"


async def test_create_and_delete_in_collections(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    await upsert(http, response("a"))
    body = {"records": [response("b"), response("a"), {"attributes": {"type": "Survey_Response__c"}}]}
    results = (await http.post(MANY, json=body)).json()
    assert codes(results) == [None, "DUPLICATE_VALUE", "REQUIRED_FIELD_MISSING"]
    assert results[2]["errors"][0]["fields"] == ["Pisano_Id__c"]
    results = (await http.delete(MANY, params={"ids": results[0]["id"], "allOrNone": "false"})).json()
    assert codes(results) == [None]
    assert len(sf.records("Survey_Response__c")) == 1


async def test_single_records(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """salesforce §D2: 201 for a new record, 204 for a change, 404 for what is not there."""
    created = await http.post(f"{API}/sobjects/Case", json={"Subject": "Late"})
    assert created.status_code == 201
    where = f"{API}/sobjects/Case/{created.json()['id']}"
    assert (await http.patch(where, json={"Subject": "Later"})).status_code == 204
    assert (await http.get(where)).json()["Subject"] == "Later"
    assert error(await http.patch(where, json={"Nothing__c": 1})) == (400, "INVALID_FIELD")
    assert (await http.delete(where)).status_code == 204
    assert error(await http.get(where)) == (404, "ENTITY_IS_DELETED")
    assert error(await http.get(f"{API}/sobjects/Case/5005g0000000099AAA")) == (404, "NOT_FOUND")
    keyed = f"{API}/sobjects/Survey_Response__c/Pisano_Id__c/a"
    assert [(await http.patch(keyed, json={"Score__c": 3})).status_code for _ in range(2)] == [201, 200]


@pytest.mark.parametrize("client", ["pisano", ""])
async def test_a_write_over_rest_is_a_change_event_with_its_origin(sf: SalesforceDouble, client: str) -> None:
    """salesforce §0.9, §B1: the client's name comes back in changeOrigin."""
    async with rest(sf, client) as http:
        await upsert(http, response("a"))
    async with pubsub(sf) as api:
        (event,) = await api.events("/data/Survey_Response__ChangeEvent")
    assert event["ChangeEventHeader"]["changeOrigin"] == "com/salesforce/api/rest/68.0" + (
        ";client=pisano" * bool(client)
    )
    assert event["ChangeEventHeader"]["commitUser"] == sf.user_id


async def test_a_locked_row_is_free_again_after_so_many_tries(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """salesforce §D4."""
    sf.lock("a", times=2)
    found = [codes(await upsert(http, response("a"), response(f"other-{number}"))) for number in range(3)]
    assert found == [["UNABLE_TO_LOCK_ROW", None], ["UNABLE_TO_LOCK_ROW", None], [None, None]]


async def test_faults(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """A call can be refused, or be lost before or after it was carried out."""
    sf.fail(Fault(match="PATCH .*composite", status=503, error_code="SERVER_UNAVAILABLE"))
    assert error(await http.patch(RESPONSES, json={"records": [response("a")]})) == (503, "SERVER_UNAVAILABLE")
    for done, kept in ((False, 0), (True, 1)):
        sf.fail(Fault(match="PATCH .*composite", kind="reset", done=done))
        with pytest.raises(httpx.TransportError):
            await http.patch(RESPONSES, json={"records": [response("a")]})
        assert len(sf.records("Survey_Response__c")) == kept
    sf.fail(Fault(match="limits", kind="hang"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await http.get(f"{API}/limits")
    assert [call.status for call in sf.calls] == [200, 503, None, None, None]


async def test_the_daily_limit_and_unknown_resources(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """salesforce §D4."""
    assert error(await http.get("/services/data/v99.0/limits")) == (404, "NOT_FOUND")
    assert error(await http.get(f"{API}/nothing")) == (404, "NOT_FOUND")
    assert error(await http.get(f"{API}/sobjects/Nothing__c/describe")) == (404, "NOT_FOUND")
    assert error(await http.put(f"{API}/limits")) == (405, "METHOD_NOT_ALLOWED")
    sf.configure(api_limit=1)
    assert error(await http.get(f"{API}/limits")) == (403, "REQUEST_LIMIT_EXCEEDED")


async def test_the_control_api_does_what_the_methods_do(sf: SalesforceDouble) -> None:
    async with httpx.AsyncClient(base_url=f"{sf.login_url}/_control") as http:
        made = (await http.post("/create", json={"entity": "Case", "fields": {"Subject": "Late"}})).json()
        assert (
            await http.post("/update", json={"entity": "Case", "record_ids": made, "fields": {"Status": "Closed"}})
        ).is_success
        record = (await http.get("/record", params={"entity": "Case", "record_id": made})).json()
        assert (record["Subject"], record["IsClosed"]) == ("Late", True)
        await http.post("/fail", json={"match": "oauth2", "status": 500})
        await http.post("/add_channel", json={"name": "Care__chn", "entities": ["Case"]})
        assert (await http.post("/configure", json={"batch": 1})).is_success
        wrong = await http.post("/create", json={"entity": "Case", "fields": {"Nothing__c": 1}})
        assert (wrong.status_code, "INVALID_FIELD" in wrong.text) == (422, True)
        assert (await http.get("/streams")).json() == []
        assert (await http.post(f"{sf.login_url}/services/oauth2/token")).status_code == 500
        (call,) = (await http.get("/calls")).json()
        assert call["what"] == "POST /services/oauth2/token"
    async with pubsub(sf) as api:
        assert len(await api.events("/data/Care__chn", 2)) == 2
