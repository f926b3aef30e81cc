"""The REST client: queries that fit and cannot be injected, collections with per-record errors, one renewal."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import ConnectorError, Fatal, Rejected, Retryable
from connector.salesforce import ClientCredentials, RestClient
from connector.salesforce._refusals import Exhausted
from connector.salesforce.soql import Source, literal, select

BASE = "/services/data/v66.0"


class Org:
    """An org behind httpx's mock transport. It gives `answers` in turn, remembers `requests` and numbers tokens."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.tokens_given = 0
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._handle))
        tokens = ClientCredentials(http, "https://acme.example", client_id="app", client_secret="s")
        self.client = RestClient(tokens, http, client_name="pisano-connector")

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/services/oauth2/token":
            self.tokens_given += 1
            token = {
                "access_token": f"t{self.tokens_given}",
                "instance_url": "https://acme.example",
                "id": "/id/00D/005",
            }
            return httpx.Response(200, json=token)
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def body(self) -> Any:
        return orjson.loads(self.requests[-1].content)


def problem(status: int, code: str, message: str = "m", **headers: str) -> httpx.Response:
    return httpx.Response(status, json=[{"errorCode": code, "message": message}], headers=headers)


def failure(code: str, message: str = "m") -> dict[str, Any]:
    return {"success": False, "errors": [{"statusCode": code, "message": message, "fields": []}]}


async def test_query_follows_every_page_and_names_the_client() -> None:
    """salesforce §0.9: the client name comes back in changeOrigin; §D2: pages of 2,000."""
    first = {"records": [{"attributes": {"type": "Case"}, "Id": "1"}], "nextRecordsUrl": f"{BASE}/query/01g-2000"}
    org = Org(httpx.Response(200, json=first), httpx.Response(200, json={"records": [{"Id": "2"}], "done": True}))
    assert await org.client.query("SELECT Id FROM Case") == [{"Id": "1"}, {"Id": "2"}]
    assert [request.url.path for request in org.requests] == [f"{BASE}/query", f"{BASE}/query/01g-2000"]
    assert {request.method for request in org.requests} == {"GET"}
    assert {request.headers["Sforce-Call-Options"] for request in org.requests} == {"client=pisano-connector"}


async def test_whole_number_is_the_same_from_a_lookup_as_from_an_event() -> None:
    row = {"Id": "1", "No__c": 5.0, "Amount": 5.5, "Open": True}
    org = Org(httpx.Response(200, json={"records": [row]}))
    [found] = await org.client.query("SELECT Id, No__c, Amount, Open FROM Case")
    assert found == row
    assert [type(value) for value in found.values()] == [str, int, float, bool]


@given(st.lists(st.text(max_size=30), max_size=450), st.integers(1, 300))
def test_queries_fit_into_a_uri_and_ask_for_every_id_once(ids: list[str], columns: int) -> None:
    """salesforce §D3: URI and headers together have at most 16,384 bytes."""
    queries = list(select(Source("Case"), [f"Field_{number}__c" for number in range(columns)], ids))
    assert all(len(quote(query, safe="")) <= 12_000 and query.startswith("SELECT Id,Field_0__c") for query in queries)
    asked = [query.split(" IN (", 1)[1] for query in queries]
    assert "".join(part.removesuffix(")") + "," for part in asked) == "".join(
        literal(i) + "," for i in dict.fromkeys(ids)
    )


def test_fields_that_leave_no_room_for_an_id_are_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ValueError, match="too many fields for one query"):
        list(select(Source("Case"), [f"Field_{number}__c" for number in range(1_000)], ["5005g0000000001AAA"]))


@given(st.text())
def test_no_text_gets_out_of_its_literal(text: str) -> None:
    """Inside the quotes every quote is escaped, and every backslash escapes something."""
    inner = literal(text)[1:-1]
    position = 0
    while position < len(inner):
        assert inner[position] != "'"
        position += 2 if inner[position] == "\\" else 1
    assert position == len(inner)


@pytest.mark.parametrize("name", ["Case WHERE", "Case;", "", "1Case", "Case'", "../limits"])
async def test_name_that_is_none_reaches_neither_query_nor_address(name: str) -> None:
    org = Org()
    with pytest.raises(ValueError, match="not the name"):
        list(select(Source(name), ["Id"], ["1"]))
    with pytest.raises(ValueError, match="not the name"):
        await org.client.upsert(name, "Ext__c", [{"Ext__c": "1"}])
    assert org.requests == []


async def test_upsert_gives_each_record_its_own_result_in_order() -> None:
    """salesforce §D2: 200 OK even when records fail; `fields`, `id` and `created` may be absent."""
    answers = [
        {"id": "a01", "success": True, "errors": [], "created": True},
        failure("STRING_TOO_LONG", "too long: ada@example.com"),
        failure("UNABLE_TO_LOCK_ROW"),
        {"id": "a02", "success": True},
    ]
    org = Org(httpx.Response(200, json=answers))
    results = await org.client.upsert("Response__c", "Key__c", [{"Key__c": str(n), "Score__c": n} for n in range(4)])
    assert [(result.success, result.id, result.created) for result in results] == [
        (True, "a01", True),
        (False, None, None),
        (False, None, None),
        (True, "a02", None),
    ]
    assert isinstance(results[1].error, Rejected)
    assert results[1].error.code == "STRING_TOO_LONG"
    assert "ada@" not in str(results[1].error)
    assert isinstance(results[2].error, Retryable)
    assert (org.requests[0].method, org.requests[0].url.path) == (
        "PATCH",
        f"{BASE}/composite/sobjects/Response__c/Key__c",
    )
    assert org.body()["allOrNone"] is False
    assert org.body()["records"][1] == {"attributes": {"type": "Response__c"}, "Key__c": "1", "Score__c": 1}


async def test_update_is_by_id() -> None:
    org = Org(httpx.Response(200, json=[{"id": "5001", "success": True, "errors": []}]))
    [result] = await org.client.update("Case", [{"Id": "5001", "Status": "Reopened"}])
    assert result.success
    assert org.requests[0].url.path == f"{BASE}/composite/sobjects"
    assert org.body()["records"] == [{"attributes": {"type": "Case"}, "id": "5001", "Status": "Reopened"}]


async def test_what_a_collections_call_cannot_hold_is_refused_before_it_is_made() -> None:
    """salesforce §D2: at most 200 records, and no external id twice."""
    org = Org()
    with pytest.raises(ValueError, match="200"):
        await org.client.upsert("Case", "Key__c", [{"Key__c": str(number)} for number in range(201)])
    with pytest.raises(ValueError, match="twice"):
        await org.client.update("Case", [{"Id": "1"}, {"Id": "1"}])
    assert await org.client.update("Case", []) == []
    assert org.requests == []


async def test_refused_token_is_renewed_once_and_the_call_repeated() -> None:
    """salesforce §D4: 401 INVALID_SESSION_ID."""
    org = Org(problem(401, "INVALID_SESSION_ID"), httpx.Response(200, json={"DailyApiRequests": {"Max": 1}}))
    assert await org.client.limits() == {"DailyApiRequests": {"Max": 1}}
    assert [request.headers["Authorization"] for request in org.requests] == ["Bearer t1", "Bearer t2"]


async def test_token_refused_twice_is_left_to_the_callers_backoff() -> None:
    org = Org(problem(401, "INVALID_SESSION_ID"), problem(401, "INVALID_SESSION_ID"))
    with pytest.raises(Retryable):
        await org.client.limits()
    assert len(org.requests) == 2


def query(client: RestClient) -> Any:
    return client.query("SELECT Id FROM Case")


def write(client: RestClient) -> Any:
    return client.upsert("Case", "Key__c", [{"Key__c": "1"}])


@pytest.mark.parametrize(
    ("call", "answer", "expected", "pause"),
    [
        (query, problem(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."), Retryable, 300),
        (query, problem(403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgApex Limit exceeded."), Retryable, 5),
        (query, problem(429, "X", **{"Retry-After": "9"}), Retryable, 9),
        (query, problem(503, "X", **{"Retry-After": "Sun, 09 Sep 2001 01:47:10 GMT"}), Retryable, 0),
        (query, problem(503, "SERVER_UNAVAILABLE"), Retryable, None),
        (query, httpx.Response(502, text="<html>"), Retryable, None),
        (query, httpx.Response(200, text="<html>"), Retryable, None),
        (query, httpx.ReadTimeout("slow"), Retryable, None),
        (write, httpx.ConnectError("refused"), Retryable, None),
        (query, problem(400, "QUERY_TIMEOUT"), Retryable, None),
        (write, problem(400, "JSON_PARSER_ERROR"), Rejected, None),
        (write, problem(400, "INVALID_FIELD"), Fatal, None),
        (write, httpx.Response(413, text="too large"), Rejected, None),
        (query, httpx.Response(503, headers=[(b"Retry-After", b"\xb2")]), Retryable, None),
        (query, problem(400, "INVALID_FIELD"), Fatal, None),
        (query, problem(403, "API_DISABLED_FOR_ORG"), Fatal, None),
        (write, problem(403, "INSUFFICIENT_ACCESS_OR_READONLY"), Fatal, None),
        (write, problem(404, "NOT_FOUND"), Fatal, None),
        (write, httpx.Response(200, json=[]), Fatal, None),
    ],
)
async def test_each_failure_of_a_call_says_what_to_do(
    call: Callable[[RestClient], Any],
    answer: httpx.Response | Exception,
    expected: type[ConnectorError],
    pause: float | None,
) -> None:
    """salesforce §D4."""
    with pytest.raises(ConnectorError) as caught:
        await call(Org(answer).client)
    assert type(caught.value) is expected
    assert getattr(caught.value, "retry_after", None) == pause


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([failure("ALL_OR_NONE_OPERATION_ROLLED_BACK")], Retryable),
        ([failure("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "T: UNABLE_TO_LOCK_ROW, unable to obtain")], Retryable),
        ([failure("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "T: System.NullPointerException")], Rejected),
        ([failure("STORAGE_LIMIT_EXCEEDED")], Exhausted),
        ([failure("DUPLICATE_VALUE")], Rejected),
        ([failure("INSUFFICIENT_ACCESS_OR_READONLY")], Rejected),
        ([failure("SOMETHING_NEW")], Rejected),
        ([{"success": False, "errors": []}], Rejected),
    ],
)
async def test_each_failure_of_a_record_says_what_to_do(
    errors: list[dict[str, Any]], expected: type[ConnectorError]
) -> None:
    """salesforce §D4: an outage causes a pause; only a bad record is given up."""
    [result] = await Org(httpx.Response(200, json=errors)).client.upsert("Case", "Key__c", [{"Key__c": "1"}])
    assert type(result.error) is expected
