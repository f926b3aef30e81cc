"""The control APIs of the doubles, over HTTP only, as another connector and its tests would use them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from helpers.clock import Clock
from helpers.plain_http import plain_http
from helpers.waiting import until
from salesforce_wire import API, START, log_in, pubsub, rest

from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble

JANE = "jane@example.com"
SHARE = "/v1/email_campaigns/4711/email_sharings"
SENT = {"emails": [JANE], "built_in_responses": {JANE: {"sf_ref_id": "5"}}}


class Control:
    """POST and GET under /_control/."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def do(self, action: str, **arguments: Any) -> Any:
        answer = await self.http.post(f"/_control/{action}", json=arguments)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def see(self, memory: str, **query: str) -> Any:
        answer = await self.http.get(f"/_control/{memory}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
async def sf() -> AsyncIterator[SalesforceDouble]:
    async with SalesforceDouble(clock=Clock(START)) as double:
        yield double


@pytest.fixture
async def pisano() -> AsyncIterator[PisanoDouble]:
    async with PisanoDouble(clock=Clock(START)) as double:
        yield double


@pytest.fixture
async def org(sf: SalesforceDouble) -> AsyncIterator[Control]:
    async with plain_http(base_url=sf.login_url) as http:
        yield Control(http)


@pytest.fixture
async def account(pisano: PisanoDouble) -> AsyncIterator[Control]:
    headers = {"Authorization": f"Bearer {pisano.static_token}"}
    async with plain_http(base_url=pisano.base_url, headers=headers) as http:
        yield Control(http)


async def test_a_get_lists_all_that_can_be_called(org: Control, account: Control) -> None:
    """Every line of the list is an existing call, with its arguments."""
    for control, line in ((org, "POST /_control/fail  match, times=1, delay=0.0"), (account, "GET /_control/emails")):
        listed = (await control.http.get("/_control/")).text
        assert line in listed
        calls = [words[:2] for words in map(str.split, listed.splitlines()) if words and words[0] in {"GET", "POST"}]
        assert len(calls) > 10
        for method, path in calls:
            asked = await control.http.request(method, path, content=b"[]" if method == "POST" else None)
            assert asked.status_code in ({422} if method == "POST" else {200, 422})


async def test_what_users_and_administrators_do_in_salesforce(sf: SalesforceDouble, org: Control) -> None:
    case = await org.do("create", entity="Case", fields={"Subject": "Late"})
    await org.do("update", entity="Case", record_ids=[case], fields={"Status": "Closed"})
    record = await org.see("record", entity="Case", record_id=case)
    assert (record["Subject"], record["IsClosed"]) == ("Late", True)
    await org.do("delete", entity="Case", record_ids=case)
    assert await org.see("records", entity="Case") == []
    await org.do("undelete", entity="Case", record_ids=case)
    await org.do("gap", entity="Case", record_ids=[case], change_type="GAP_UPDATE")
    events = await org.see("events", entity="Case")
    assert [event["header"]["changeType"] for event in events] == [
        *("CREATE", "UPDATE", "DELETE", "UNDELETE", "GAP_UPDATE")
    ]
    assert events[1]["values"]["Status"] == "Closed"
    schema = await org.do("add_field", entity="Case", line="Floor__c text(20)")
    await org.do("add_channel", name="Care__chn", entities=["Case"])
    await org.do("update", entity="Case", record_ids=case, fields={"Floor__c": "2"})
    visit = await org.do("publish", event="Store_Visit__e", fields={"Store__c": "Izmir"})
    async with pubsub(sf) as api:
        care = await api.subscribe("/data/Care__chn").take(6)
        (visited,) = await api.subscribe("/event/Store_Visit__e").take(1)
    assert care[-1].event.schema_id == schema
    assert [event.replay_id.hex() for event in care] == [e["replay_id"] for e in await org.see("events", entity="Case")]
    assert visited.event.id == visit


async def test_several_changes_in_one_transaction_or_none(org: Control) -> None:
    """salesforce §B1: the changes share a transactionKey; if one is refused, none is made."""
    one = {"operation": "create", "entity": "Case", "fields": {"Subject": "one"}}
    wrong = {"operation": "create", "entity": "Case", "fields": {"Nothing__c": 1}}
    refused = await org.http.post("/_control/transaction", json={"changes": [one, wrong]})
    assert (refused.status_code, "INVALID_FIELD" in refused.text) == (422, True)
    assert await org.see("events") == []
    (case,) = await org.do("transaction", changes=[one])
    two = {"operation": "update", "entity": "Case", "record_id": case, "fields": {"Subject": "two"}}
    other = {"operation": "create", "entity": "Contact", "fields": {"LastName": "Doe"}}
    await org.do("transaction", changes=[two, other], origin="com/salesforce/api/rest/68.0;client=somebody")
    headers = [event["header"] for event in await org.see("events")][1:]
    assert headers[0]["transactionKey"] == headers[1]["transactionKey"]
    assert {header["changeOrigin"] for header in headers} == {"com/salesforce/api/rest/68.0;client=somebody"}


async def test_trouble_in_salesforce_and_its_memory(sf: SalesforceDouble, org: Control) -> None:
    """A call meets a fault, an old or revoked token is refused, and a reset forgets all of that."""
    case = await org.do("create", entity="Case", fields={})
    await org.do("fail", match="limits", status=503, body="<html>", headers={"Content-Type": "text/html"})
    async with rest(sf) as http:
        broken = await http.get(f"{API}/limits")
        assert (broken.status_code, broken.headers["Content-Type"], broken.text) == (503, "text/html", "<html>")
        await org.do("lock", record=case)
        where = f"{API}/sobjects/Case/{case}"
        assert [(await http.patch(where, json={"Subject": "x"})).status_code for _ in range(2)] == [400, 204]
        await org.do("advance", seconds=7199)
        assert (await http.get(f"{API}/limits")).status_code == 200
        await org.do("advance", seconds=1)
        assert (await http.get(f"{API}/limits")).status_code == 401
    async with rest(sf) as http:
        await org.do("revoke_tokens")
        assert (await http.get(f"{API}/limits")).status_code == 401
    assert [write["success"] for write in await org.see("history", record=case)] == [False, True]
    assert len(await org.see("tokens")) == 2
    assert [call["status"] for call in await org.see("calls")] == [200, 503, 400, 204, 200, 401, 200, 401]
    await org.do("reset")
    assert [await org.see(memory) for memory in ("calls", "history", "tokens", "streams")] == [[], [], [], []]
    assert len(await org.see("records", entity="Case")) == 1


async def test_streams_are_watched_and_broken(sf: SalesforceDouble, org: Control) -> None:
    await org.do("configure", keepalive=0.05, batch=1)
    async with pubsub(sf) as api:
        feed = api.subscribe()
        await feed.read()
        (stream,) = await org.see("streams")
        assert (stream["topic"], stream["pending"], stream["open"]) == ("/data/CaseChangeEvent", 100, True)
        await org.do("hang_streams", topic="/data/CaseChangeEvent")
        assert (await org.see("streams"))[0]["hung"]
        feed.call.cancel()
        other = api.subscribe()
        await other.read()
        await org.do("break_streams", status="UNAVAILABLE", error_code="service.unavailable")
        with pytest.raises(Exception, match="a fault that was asked for"):
            await other.drain()
        await org.do("lose_positions")
        assert await org.see("events") == []


async def test_credentials_are_enough_to_log_in(sf: SalesforceDouble, org: Control) -> None:
    told = await org.see("credentials")
    form = {"grant_type": "client_credentials", **{name: told[name] for name in ("client_id", "client_secret")}}
    token = (await org.http.post("/services/oauth2/token", data=form)).json()
    assert token["id"].split("/")[-2] == told["org_id"] == (await log_in(sf))["id"].split("/")[-2]
    assert "PRIVATE KEY" in told["jwt_private_key"]


async def test_pisano_is_set_up_and_asked(pisano: PisanoDouble, account: Control) -> None:
    """Control calls do not count against the limits, and a reset keeps the set-up."""
    await account.do("set_flow", name="f", questions=[{"key": "sf_ref_id"}])
    await account.do("set_campaign", name="4711", flow="f")
    await account.do("set_customer", address="JANE@example.com", answers={"nps_score": 9})
    await account.do("set_webhook", url="http://127.0.0.1:1/hook", resends=0)
    await account.do("configure", success_status=202)
    await account.do("fail", status=503, calls="email_sharings")
    assert [(await account.http.post(SHARE, json=SENT)).status_code for _ in range(3)] == [503, 202, 202]
    await account.do("send_webhook", body="not json", times=2)
    await pisano.webhooks.settled()
    assert [call["status"] for call in await account.see("calls")] == [503, 202, 202]
    assert len(await account.see("emails", address=JANE)) == 2
    assert len(await account.see("second_emails")) == 1
    assert await account.see("violations") == []
    bodies = [delivery["body"] for delivery in await account.see("deliveries")]
    assert (len(bodies), bodies.count("not json")) == (4, 2)
    await account.do("reset")
    assert [await account.see(m) for m in ("calls", "emails", "second_emails", "deliveries")] == [[], [], [], []]
    assert (await account.see("campaigns"))["4711"]["flow"] == "f"
    assert (await account.see("settings"))["success_status"] == 202


async def test_windows_pass_and_tokens_end_when_the_clock_is_set_forward(
    pisano: PisanoDouble, account: Control
) -> None:
    await account.do("add_campaign", campaign="4711", questions=["sf_ref_id", {"key": "visit", "type": "date"}])
    flow = "/external/v1/flows/4711"
    assert [(await account.http.get(flow)).status_code for _ in range(21)] == [200] * 20 + [429]
    await account.do("advance", seconds=625)
    secret = {"client_id": pisano.app_id, "client_secret": pisano.app_secret}
    token = (await account.http.post("/v1/authorized_apps/token", json=secret)).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert (await account.http.get(flow, headers=headers)).status_code == 200
    await account.do("advance", seconds=3600)
    assert (await account.http.get(flow, headers=headers)).status_code == 401
    await account.do("revoke_tokens")
    assert not pisano.tokens


async def test_a_reset_does_not_break_the_call_that_is_under_way(pisano: PisanoDouble, account: Control) -> None:
    await account.do("add_campaign", campaign="4711", questions=["sf_ref_id"])
    await account.do("fail", delay=0.2)
    call = asyncio.create_task(account.http.get("/external/v1/flows/4711"))
    await until(lambda: pisano.calls)
    await account.do("reset")
    assert (await call).status_code == 200


SALESFORCE_MISTAKES: list[tuple[str, Any, str]] = [
    ("create", {"entity": "Case", "fields": "x"}, "fields: Input should be a valid dictionary"),
    ("create", {"entity": "Nothing", "fields": {}}, "INVALID_TYPE"),
    ("create", {"entity": "Store_Visit__e", "fields": {}}, "publish it"),
    ("create", {"entity": "Case", "fields": {"Reopened_Count__c": 2**31}}, "NUMBER_OUTSIDE_VALID_RANGE"),
    ("publish", {"event": "Case", "fields": {}}, "no platform event"),
    ("update", {"entity": "Case", "record_ids": 5, "fields": {}}, "record_ids"),
    ("undelete", {"entity": "Case", "record_ids": "5005g0000000099AAA"}, "NOT_FOUND"),
    ("gap", {"entity": "Case", "record_ids": ["500*"], "change_type": "GAP"}, "GAP_OVERFLOW"),
    ("gap", {"entity": "Case"}, "needs the ids"),
    ("add_field", {"entity": "Case", "line": "Floor__c text(20)", "position": 1000}, "is no position"),
    ("add_field", {"entity": "Case", "line": "status text(20)"}, "has a field status already"),
    ("add_field", {"entity": "Case", "line": "Floor__c text(wide)"}, "is no argument of text"),
    ("add_field", {"entity": "Case", "line": "Floor__c ref(Nothing)"}, "INVALID_TYPE"),
    ("add_field", {"entity": "Case", "line": "Floor__c number =5"}, "has no default"),
    ("add_channel", {"name": "Care__chn", "entities": ["Nothing"]}, "INVALID_TYPE"),
    ("fail", {"match": "(", "status": 500}, "not a regular expression"),
    ("fail", {"match": "x", "status": "NOTHING"}, "UNAVAILABLE"),
    ("fail", {"match": "x", "headers": {"a": "b\r\nc"}}, "headers"),
    ("break_streams", {"status": "OK"}, "UNAVAILABLE"),
    ("configure", {"batch": 0}, "batch"),
    ("configure", {"keepalive": 300}, "less than or equal to 270"),
    ("advance", {"seconds": -1}, "is not between"),
    ("create", [1], "not an object"),
]
PISANO_MISTAKES: list[tuple[str, Any, str]] = [
    ("set_webhook", {"url": "http://127.0.0.1:1", "template": "{{ x"}, "not a Liquid template"),
    ("set_webhook", {"url": "nowhere"}, "url"),
    ("set_customer", {"address": JANE, "after": -1}, "after"),
    ("send_webhook", {"body": "x"}, "set_webhook"),
    ("fail", {"status": 7}, "status"),
    ("configure", {"nothing": 1}, "nothing"),
    ("advance", {"seconds": 1e12}, "is not between"),
]


async def test_a_mistake_is_a_4xx_that_says_so_and_changes_nothing(
    sf: SalesforceDouble, pisano: PisanoDouble, org: Control, account: Control
) -> None:
    for control, mistakes in ((org, SALESFORCE_MISTAKES), (account, PISANO_MISTAKES)):
        for action, arguments, said in mistakes:
            refused = await control.http.post(f"/_control/{action}", json=arguments)
            assert (refused.status_code, said in refused.text) == (422, True), (action, arguments, refused.text)
        assert (await control.http.post("/_control/fail", content=b"{")).status_code == 400
        assert (await control.http.post("/_control/nothing", json={})).status_code == 404
        assert (await control.http.get("/_control/fail")).status_code == 404
    assert (await org.http.get("/_control/record?entity=Case")).status_code == 422
    assert sf.events() == sf.calls == pisano.calls == []
    assert (sf.faults.waiting, pisano.faults) == ([], [])
    async with pubsub(sf) as api:
        sf.create("Case", {})
        assert (await api.events())[0]["Status"] == "New"
