"""Checks the Salesforce double's writes over REST against contracts/salesforce.md §D2 and §D4, with only httpx."""

import asyncio
from typing import Any

import httpx
import pytest
from helpers.waiting import until
from salesforce_wire import API, error, pubsub, rest

from connector.sandbox.doubles.salesforce import Fault, SalesforceDouble

RESPONSES = f"{API}/composite/sobjects/Survey_Response__c/Pisano_Id__c"
MANY = f"{API}/composite/sobjects"


def response(key: str, **fields: Any) -> dict[str, Any]:
    return {"attributes": {"type": "Survey_Response__c"}, "Pisano_Id__c": key, **fields}


def case(record_id: str, **fields: Any) -> dict[str, Any]:
    return {"attributes": {"type": "Case"}, "Id": record_id, **fields}


async def upsert(http: httpx.AsyncClient, *records: dict[str, Any], all_or_none: bool = False) -> list[dict[str, Any]]:
    answer = await http.patch(RESPONSES, json={"allOrNone": all_or_none, "records": records})
    assert answer.status_code == 200
    return answer.json()


def codes(results: list[dict[str, Any]]) -> list[str | None]:
    return [result["errors"][0]["statusCode"] if result["errors"] else None for result in results]


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
        ({"Answered_At__c": "2026-01-31 09:30"}, "JSON_PARSER_ERROR"),
        ({"Answered_At__c": "20260131T093000Z"}, "JSON_PARSER_ERROR"),
        ({"Answered_At__c": "2026-01-31T09:30:00"}, "JSON_PARSER_ERROR"),
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
    """salesforce §D2, §D4: the call gets a 200, and each record has its own statusCode."""
    results = await upsert(http, response("good"), {**response("bad"), **fields}, response("fine"))
    assert codes(results) == [None, expected, None]
    assert "id" not in results[1]
    assert {row["Pisano_Id__c"] for row in sf.records("Survey_Response__c")} == {"good", "fine"}


async def test_a_wrong_field_may_fail_the_whole_call(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """salesforce §G: we do not know what Salesforce does, so the double can do both."""
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
    """salesforce §D2: the good records are rolled back too, and make no events."""
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
    """salesforce §D4: unknown, deleted and malformed ids fail only their own record."""
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
    """salesforce §D2: 201 for a new record, 204 for a change, 404 for a missing record."""
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
    """The double can refuse a call, or lose it before or after carrying it out."""
    sf.fail(Fault(match="PATCH .*composite", status=503, error_code="SERVER_UNAVAILABLE"))
    assert error(await http.patch(RESPONSES, json={"records": [response("a")]})) == (503, "SERVER_UNAVAILABLE")
    for done, kept in ((False, 0), (True, 1)):
        sf.fail(Fault(match="PATCH .*composite", kind="reset", done=done))
        with pytest.raises(httpx.TransportError):
            await http.patch(RESPONSES, json={"records": [response("a")]})
        assert len(sf.records("Survey_Response__c")) == kept
    sf.fail(Fault(match="limits", kind="hang"))
    hung = asyncio.create_task(http.get(f"{API}/limits"))
    await until(lambda: sf.calls[-1].what.endswith("/limits"))
    await asyncio.wait([hung], timeout=0.1)
    assert not hung.done()
    hung.cancel()
    assert [call.status for call in sf.calls] == [200, 503, None, None, None]
