"""Our Salesforce client's REST calls and logins against the double, over real sockets."""

from collections.abc import AsyncIterator

import pytest
from helpers.plain_http import plain_http
from salesforce_client import CASES, Client, connected

from connector.errors import Fatal, Rejected, Retryable
from connector.salesforce import ClientCredentials, JwtBearer, client_of
from connector.salesforce.soql import Source
from connector.sandbox.doubles.salesforce import Fault, SalesforceDouble


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with connected() as connection:
        yield connection


async def test_our_write_comes_back_with_our_name(client: Client) -> None:
    """salesforce §0.9: Sforce-Call-Options comes back in changeOrigin."""
    case = client.sf.create("Case", {})
    [result] = await client.rest.update("Case", [{"Id": case, "Status": "Reopened"}])
    assert (result.success, result.id) == (True, case)
    by_a_user, by_us = await client.changes(CASES, count=2)
    assert client_of(by_a_user.change_origin) is None
    assert client_of(by_us.change_origin) == "pisano-connector"


async def test_upsert_creates_once_and_updates_after(client: Client) -> None:
    """salesforce §D2: results are in order, and one bad record does not affect the others."""
    records = [
        {"External_Key__c": "k1", "Subject": "one"},
        {"External_Key__c": "k2", "Status": "No such status"},
        {"External_Key__c": "k3", "Subject": "three"},
    ]
    first = await client.rest.upsert("Case", "External_Key__c", records)
    again = await client.rest.upsert("Case", "External_Key__c", records)
    assert [result.created for result in first] == [True, None, True]
    assert [result.created for result in again] == [False, None, False]
    assert isinstance(first[1].error, Rejected)
    assert first[1].error.code == "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
    assert first[0].id == again[0].id
    assert len(client.sf.records("Case")) == 2


async def test_locked_record_alone_is_retryable(client: Client) -> None:
    """salesforce §D4: UNABLE_TO_LOCK_ROW."""
    cases = [client.sf.create("Case", {}) for _ in range(2)]
    client.sf.lock(cases[0])
    locked, free = await client.rest.update("Case", [{"Id": case, "Priority": "High"} for case in cases])
    assert isinstance(locked.error, Retryable)
    assert free.success


async def test_query_reads_all_pages_of_many_ids() -> None:
    """salesforce §D2, §D3: the client follows pages, and hundreds of ids fit into the URIs."""
    async with connected(page=50) as client:
        cases = [client.sf.create("Case", {"Subject": str(number)}) for number in range(450)]
        rows = await client.rest.find(Source("Case"), ["Subject"], cases)
        assert {row["Id"]: row["Subject"] for row in rows} == {case: str(n) for n, case in enumerate(cases)}


async def test_text_in_a_query_stays_a_text(client: Client) -> None:
    """An id that tries to widen the query is treated as one wrong id."""
    client.sf.create("Case", {})
    with pytest.raises(Rejected, match="invalid ID field: x'"):
        await client.rest.find(Source("Case"), ["Id"], ["x') OR (Id != '"])


async def test_query_for_a_field_that_is_not_there_is_fatal(client: Client) -> None:
    """salesforce §D4: the configuration names the field, so no record is at fault."""
    with pytest.raises(Fatal, match="INVALID_FIELD"):
        await client.rest.find(Source("Case"), ["Nowhere__c"], ["500000000000000AAA"])


async def test_token_that_ended_is_renewed_under_a_rest_call(client: Client) -> None:
    """salesforce §D4: 401 INVALID_SESSION_ID."""
    assert "DailyApiRequests" in await client.rest.limits()
    client.sf.revoke_tokens()
    assert (await client.rest.describe("Case"))["name"] == "Case"
    assert len(client.sf.tokens) == 2


async def test_exhausted_org_asks_for_a_long_pause() -> None:
    """salesforce §D4: 403 REQUEST_LIMIT_EXCEEDED is an outage, not a refusal."""
    async with connected(api_limit=0) as client:
        with pytest.raises(Retryable) as caught:
            await client.rest.limits()
        assert caught.value.retry_after == 300


async def test_answer_that_never_comes_is_retryable_and_the_repeat_is_harmless(client: Client) -> None:
    """If the answer of a write is lost, the client repeats the write: upserts and updates are keyed."""
    client.sf.fail(Fault(match="PATCH", kind="reset", done=True))
    record = {"External_Key__c": "k1", "Subject": "one"}
    with pytest.raises(Retryable):
        await client.rest.upsert("Case", "External_Key__c", [record])
    [result] = await client.rest.upsert("Case", "External_Key__c", [record])
    assert (result.success, result.created) == (True, False)


async def test_wrong_secret_is_fatal_and_jwt_bearer_logs_in() -> None:
    """salesforce §D1."""
    async with SalesforceDouble() as sf, plain_http() as http:
        wrong = ClientCredentials(http, sf.login_url, client_id=sf.client_id, client_secret="wrong")
        with pytest.raises(Fatal, match="invalid_client"):
            await wrong.token()
        bearer = JwtBearer(
            http, sf.login_url, client_id=sf.client_id, username=sf.username, private_key=sf.jwt_private_key
        )
        assert (await bearer.token()).org_id == sf.org_id


@pytest.mark.parametrize("body", [{"message": "please log in"}, {"records": None}, ["no", "results"], [{"id": "x"}], 1])
async def test_an_answer_of_another_shape_is_an_outage_and_no_fault_of_the_record(client: Client, body: object) -> None:
    """A proxy's page with a 200 is treated like an answer without JSON (rule 4)."""
    case = client.sf.create("Case", {})
    client.sf.fail(Fault(match="query|composite", times=2, status=200, body=body))
    with pytest.raises(Retryable, match="proxy"):
        await client.rest.query("SELECT Id FROM Case")
    with pytest.raises(Retryable, match="proxy"):
        await client.rest.update("Case", [{"Id": case, "Priority": "High"}])
