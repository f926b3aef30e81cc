"""Checks the double's composite, batch and tree, and its records by external id, with only httpx (salesforce §D2)."""

from typing import Any

import httpx
import pytest
from salesforce_wire import API, error

from connector.sandbox.doubles.salesforce import SalesforceDouble


def call(name: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
    return {"referenceId": name, "method": method, "url": f"{API}{path}", "body": body}


async def composite(http: httpx.AsyncClient, *calls: dict[str, Any], all_or_none: bool = False) -> list[Any]:
    body = {"allOrNone": all_or_none, "compositeRequest": calls}
    return (await http.post(f"{API}/composite/", json=body)).json()["compositeResponse"]


@pytest.mark.parametrize("all_or_none", [True, False])
async def test_a_composite_call_is_one_transaction_if_it_wants_to(
    sf: SalesforceDouble, http: httpx.AsyncClient, all_or_none: bool
) -> None:
    """Each later call may use an earlier answer. With allOrNone, a failure leaves neither records nor events."""
    calls = [
        call("who", "POST", "/sobjects/Contact", {"LastName": "x"}),
        call("bad", "POST", "/sobjects/Case", {"Nothing__c": 1}),
        call("what", "POST", "/sobjects/Case", {"ContactId": "@{who.id}", "Subject": "for @{who.id}"}),
        call("lost", "GET", "/sobjects/Case/@{bad.id}"),
    ]
    found = await composite(http, *calls, all_or_none=all_or_none)
    assert [each["httpStatusCode"] for each in found] == ([400] * 4 if all_or_none else [201, 400, 201, 400])
    assert [each["body"][0]["errorCode"] for each in found if each["httpStatusCode"] == 400] == (
        ["PROCESSING_HALTED", "INVALID_FIELD", "PROCESSING_HALTED", "PROCESSING_HALTED"]
        if all_or_none
        else ["INVALID_FIELD", "PROCESSING_HALTED"]
    )
    assert len(sf.records("Contact")) == len(sf.events("Contact")) == (0 if all_or_none else 1)
    assert [write.success for write in sf.history()] == ([False, False] if all_or_none else [True, False, True])
    assert [case["ContactId"] for case in sf.records("Case")] == [each["Id"] for each in sf.records("Contact")]


async def test_together_they_are_one_transaction_of_this_client(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    calls = [call(f"n{number}", "POST", "/sobjects/Case", {"Subject": str(number)}) for number in range(2)]
    await composite(http, *calls, all_or_none=True)
    first, second = (event.header or {} for event in sf.events("Case"))
    assert first["transactionKey"] == second["transactionKey"]
    assert first["changeOrigin"].endswith(";client=pisano")
    assert sf.api_usage == 1


async def test_what_a_composite_call_refuses(http: httpx.AsyncClient) -> None:
    """At most 25 calls, with different names, and none inside another."""
    one = call("n", "GET", "/limits")
    for calls in ([one] * 26, [one, one], []):
        answer = await http.post(f"{API}/composite", json={"compositeRequest": calls})
        assert answer.status_code == 400
    (inner,) = await composite(http, call("n", "POST", "/composite", {"compositeRequest": [one]}))
    assert inner["httpStatusCode"] == 404


async def test_batch_and_tree(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """A batch may stop at its first failure; a tree is all or nothing."""
    calls = [{"method": "GET", "url": f"v68.0/{path}"} for path in ("nothing", "limits")]
    for halt, expected in ((False, [404, 200]), (True, [404, 412])):
        body = {"batchRequests": calls, "haltOnError": halt}
        answer = (await http.post(f"{API}/composite/batch", json=body)).json()
        assert (answer["hasErrors"], [each["statusCode"] for each in answer["results"]]) == (True, expected)
    records = [{"attributes": {"type": "Case", "referenceId": f"r{n}"}, "NPS__c": n or "x"} for n in range(2)]
    answer = await http.post(f"{API}/composite/tree/Case", json={"records": records})
    assert (answer.status_code, [each["referenceId"] for each in answer.json()["results"]]) == (400, ["r0"])
    assert sf.records("Case") == []


async def test_records_by_external_id_and_names_in_any_case(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """Salesforce ignores the case of names, and a last slash. POST stands for PATCH where it says so."""
    contact = sf.create("Contact", {"LastName": "x"})
    case = sf.create("Case", {"External_Key__c": "a/b", "ContactId": contact})
    path = f"{API}/sobjects/case/external_key__c/a%2Fb"
    assert (await http.get(path)).json()["Id"] == case
    assert (await http.get(f"{API}/sobjects/Case/{case}/contact/")).json()["Id"] == contact
    assert (await http.post(f"{path}?_HttpMethod=PATCH", json={"Subject": "x"})).json()["created"] is False
    assert (await http.patch(f"{API}/sobjects/Case/Id/{case}", json={"Subject": "y"})).json()["id"] == case
    many = {"ids": [contact, "0035g0000000009AAA"], "fields": ["lastname"]}
    found = (await http.post(f"{API}/composite/sobjects/contact", json=many)).json()
    assert [each and each["LastName"] for each in found] == ["x", None]
    assert (await http.delete(path)).status_code == 204
    assert error(await http.get(path)) == (404, "NOT_FOUND")
    assert error(await http.get(f"{API}/sobjects/Case/Subject/x")) == (400, "NOT_FOUND")


async def test_a_parent_named_by_its_external_id(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    case = sf.create("Case", {"External_Key__c": "K1"})
    path = f"{API}/sobjects/Survey_Response__c/Pisano_Id__c/f-1"
    answer = await http.patch(path, json={"Case__r": {"External_Key__c": "K1"}})
    assert sf.record("Survey_Response__c", answer.json()["id"])["Case__c"] == case
    assert error(await http.patch(path, json={"Case__r": {"External_Key__c": "K2"}})) == (400, "INVALID_FIELD")


async def test_an_event_over_rest_is_only_queued(sf: SalesforceDouble, http: httpx.AsyncClient) -> None:
    """The REST guide: the id names no record, and the EventUuid is the text of a message."""
    answer = await http.post(f"{API}/sobjects/Store_Visit__e/", json={"Store__c": "Izmir"})
    (message,) = answer.json()["errors"]
    assert (answer.status_code, answer.json()["id"][:3], message["statusCode"]) == (201, "e01", "OPERATION_ENQUEUED")
    assert message["message"] == sf.log.entries[-1].event_id
    schema = (await http.get(f"{API}/sobjects/Store_Visit__e/eventSchema")).json()
    assert (await http.get(f"{API}/event/eventSchema/{schema['uuid']}")).json()["name"] == "Store_Visit__e"
