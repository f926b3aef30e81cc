"""The collection writer against the double's rules: owners stay, what does not fit stays out, locks pass."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from helpers.plain_http import plain_http
from helpers.waiting import PATIENCE

from connector.errors import Rejected
from connector.salesforce import CallOptions, Choice, ClientCredentials, CollectionWriter, RecordWrite, RestClient
from connector.sandbox.doubles.salesforce import Fault, SalesforceDouble
from connector.sandbox.doubles.salesforce.org_rules import Lock

CUT = Choice(does_not_fit="cut")


@pytest.fixture
async def sf() -> AsyncIterator[SalesforceDouble]:
    async with SalesforceDouble() as double:
        yield double


@pytest.fixture
async def writer(sf: SalesforceDouble) -> AsyncIterator[CollectionWriter]:
    async with plain_http() as http:
        tokens = ClientCredentials(http, sf.login_url, client_id=sf.client_id, client_secret=sf.client_secret)
        rest = RestClient(tokens, http, client_name="pisano-connector", calls_per_second=1000)
        yield CollectionWriter(rest, sleep=lambda _: asyncio.sleep(0.001))


def update(case: str, choice: Choice | None = None, options: CallOptions | None = None, **fields: Any) -> RecordWrite:
    choices = dict.fromkeys(fields, choice or Choice())
    return RecordWrite("update", "Case", "Id", case, fields, choices, options or CallOptions())


def contact(number: str, options: CallOptions | None = None, **fields: Any) -> RecordWrite:
    given = {"LastName": "Doe", **fields}
    return RecordWrite("upsert", "Contact", "Loyalty_Number__c", number, given, options=options or CallOptions())


def other_user(sf: SalesforceDouble) -> str:
    return sf.create("User", {"LastName": "Queue", "Username": "q@example.com", "Email": "q@example.com"})


async def test_an_answer_leaves_the_case_with_its_owner_unless_its_rule_says_otherwise(
    sf: SalesforceDouble, writer: CollectionWriter
) -> None:
    """Report 4: the simplest update moved the case to the default queue."""
    queue = other_user(sf)
    sf.configure(assignment_rules={"Case": queue})
    kept, moved = (sf.create("Case", {"OwnerId": sf.agent_id}) for _ in range(2))
    writes = [update(kept, Status="Reopened"), update(moved, options=CallOptions(auto_assign=True), Status="Reopened")]
    results = await asyncio.gather(*map(writer.write, writes))
    assert all(result.success for result in results)
    assert (sf.record("Case", kept)["OwnerId"], sf.record("Case", moved)["OwnerId"]) == (sf.agent_id, queue)


async def test_a_duplicate_is_refused_or_saved_by_choice(sf: SalesforceDouble, writer: CollectionWriter) -> None:
    """Report 24."""
    sf.configure(duplicate_rules={"Contact": "Email"})
    sf.create("Contact", {"LastName": "Doe", "Email": "jane@example.com"})
    saves = CallOptions(save_duplicates=True)
    writes = [contact("1", Email="jane@example.com"), contact("2", saves, Email="jane@example.com")]
    refused, saved = await asyncio.gather(*map(writer.write, writes))
    assert isinstance(refused.error, Rejected)
    assert (refused.error.code, saved.success) == ("DUPLICATES_DETECTED", True)


async def test_one_bad_value_costs_its_record_nothing_else(sf: SalesforceDouble, writer: CollectionWriter) -> None:
    """Reports 11 and 25, with what the org itself describes."""
    case = sf.create("Case", {"Is_VIP__c": True, "Comments": "old"})
    fields = {"Branch__c": "x" * 41, "Priority": "Urgent", "NPS__c": "9", "Is_VIP__c": None, "Comments": None}
    result = await writer.write(update(case, Choice(when_empty="clear", does_not_fit="cut"), **fields))
    assert (result.success, result.cut.keys(), result.left_out.keys()) == (True, {"Branch__c"}, {"Priority"})
    stored = sf.record("Case", case)
    assert (stored["Branch__c"], stored["NPS__c"], stored["Comments"]) == ("x" * 40, 9, None)
    assert (stored["Priority"], stored["Is_VIP__c"]) == ("Medium", True)


@pytest.mark.parametrize("bad_field", ["record", "call"])
async def test_without_describe_salesforce_decides_what_fits(
    sf: SalesforceDouble, writer: CollectionWriter, bad_field: str
) -> None:
    """The values that it refuses by name are left out one after the other, and the neighbours are written."""
    sf.configure(describable=False, bad_field=bad_field)
    case, other = sf.create("Case", {}), sf.create("Case", {})
    bad = update(case, Branch__c="x" * 41, Priority="Urgent", NPS__c="nine", CSAT__c=3)
    results = await asyncio.gather(writer.write(bad), writer.write(update(other, NPS__c=9)))
    assert [result.success for result in results] == [True, True]
    assert results[0].left_out.keys() == {"Branch__c", "Priority", "NPS__c"}
    assert (sf.record("Case", case)["CSAT__c"], sf.record("Case", other)["NPS__c"]) == (3, 9)


@pytest.mark.parametrize("bad_field", ["record", "call"])
@pytest.mark.parametrize(
    ("choice", "branch"),
    [("cut", "x" * 40), ("leave_out", "before"), ("refuse", "before")],
    ids=lambda value: value[:9],
)
async def test_a_text_that_only_salesforce_finds_too_long_is_treated_as_its_field_chose(
    sf: SalesforceDouble, writer: CollectionWriter, choice: Any, branch: str, bad_field: str
) -> None:
    """Report 25: the user may not describe the object, so the length stands in the refusal alone."""
    sf.configure(describable=False, bad_field=bad_field)
    case = sf.create("Case", {"Branch__c": "before"})
    result = await writer.write(update(case, Choice(does_not_fit=choice), Branch__c="x" * 41, NPS__c=9))
    assert (sf.record("Case", case)["Branch__c"], sf.record("Case", case)["NPS__c"]) == (
        branch,
        None if choice == "refuse" else 9,
    )
    told = [*result.cut.values(), *result.left_out.values(), *([str(result.error)] if result.error else [])]
    assert len(told) == 1
    assert "at most 40 characters" in told[0]
    assert "xx" not in told[0]


async def test_half_a_link_is_not_written_where_nobody_knows_the_fields_type(
    sf: SalesforceDouble, writer: CollectionWriter
) -> None:
    sf.configure(describable=False)
    case = sf.create("Case", {})
    links = {"Branch__c": "https://example.com/" + "x" * 40, "Agent_Code__c": "somebody.with.a.long.name@example.com"}
    result = await writer.write(update(case, CUT, **links, NPS__c=9))
    assert (result.fields, result.left_out.keys()) == ({"NPS__c": 9}, links.keys())


async def test_a_required_field_that_may_not_be_cleared_stays_and_the_rest_is_written(
    sf: SalesforceDouble, writer: CollectionWriter
) -> None:
    sf.configure(describable=False)
    account = sf.create("Account", {"Name": "Shop", "Industry": "Retail"})
    clear = Choice(when_empty="clear", does_not_fit="refuse")
    fields = {"Name": None, "Industry": None, "Active__c": None, "NumberOfEmployees": 5}
    result = await writer.write(RecordWrite("update", "Account", "Id", account, fields, dict.fromkeys(fields, clear)))
    assert (result.success, result.left_out) == (True, {})
    stored = sf.record("Account", account)
    assert [stored[name] for name in fields] == ["Shop", None, True, 5]


async def test_a_new_record_without_a_required_field_is_refused(sf: SalesforceDouble, writer: CollectionWriter) -> None:
    sf.configure(describable=False)
    choices = {"LastName": Choice(when_empty="clear")}
    result = await writer.write(
        RecordWrite("upsert", "Contact", "Loyalty_Number__c", "1", {"LastName": None, "Title": "Dr."}, choices)
    )
    assert isinstance(result.error, Rejected)
    assert result.error.code == "REQUIRED_FIELD_MISSING"


async def test_an_answer_about_a_merged_case_reaches_the_case_that_survives(
    sf: SalesforceDouble, writer: CollectionWriter
) -> None:
    """Report 28: the answers keep their order, also when the survivor was merged again."""
    first, second, last = (sf.create("Case", {}) for _ in range(3))
    sf.merge("Case", second, first)
    sf.merge("Case", last, second)
    results = await asyncio.gather(*(writer.write(update(first, NPS__c=number)) for number in range(5)))
    assert {result.id for result in results} == {last}
    assert [write.fields["NPS__c"] for write in sf.history(last)] == [*range(5)]


@pytest.mark.parametrize(("merges", "reaches_it"), [(10, True), (11, False)])
async def test_a_write_follows_ten_merges_and_no_circle(
    sf: SalesforceDouble, writer: CollectionWriter, merges: int, reaches_it: bool
) -> None:
    cases = [sf.create("Case", {}) for _ in range(1 + merges)]
    for loser, survivor in pairwise(cases):
        sf.merge("Case", survivor, loser)
    async with asyncio.timeout(PATIENCE):
        result = await writer.write(update(cases[0], NPS__c=9))
    assert (result.id if result.success else None) == (cases[-1] if reaches_it else None)


async def test_a_record_that_is_gone_for_good_is_refused(sf: SalesforceDouble, writer: CollectionWriter) -> None:
    case = sf.create("Case", {})
    sf.delete("Case", case)
    result = await writer.write(update(case, NPS__c=9))
    assert isinstance(result.error, Rejected)
    assert result.error.code == "ENTITY_IS_DELETED"


async def test_an_outage_while_the_survivor_is_looked_up_is_waited_out(
    sf: SalesforceDouble, writer: CollectionWriter
) -> None:
    survivor, loser = sf.create("Case", {}), sf.create("Case", {})
    sf.merge("Case", survivor, loser)
    sf.fail(Fault(match="GET .*/queryAll", status=503, times=3))
    results = await asyncio.gather(*[writer.write(update(loser, NPS__c=number)) for number in range(2)])
    assert [result.id for result in results] == [survivor, survivor]
    assert [row["NPS__c"] for row in sf.records("Case") if row["Id"] == survivor] == [1]


@pytest.mark.parametrize("kind", ["row", "flow", "trigger", "busy", "approval"])
async def test_a_lock_passes_in_whatever_wording(sf: SalesforceDouble, writer: CollectionWriter, kind: Lock) -> None:
    """Report 10."""
    case = sf.create("Case", {})
    sf.lock(case, times=3, kind=kind)
    assert (await writer.write(update(case, NPS__c=9))).success


async def test_a_call_is_made_smaller_until_the_orgs_triggers_bear_it(
    sf: SalesforceDouble, writer: CollectionWriter
) -> None:
    """Report 3."""
    sf.configure(records_per_call=3)
    writes = [update(sf.create("Case", {}), NPS__c=9) for _ in range(20)]
    assert all(result.success for result in await asyncio.gather(*map(writer.write, writes)))


async def test_a_firewall_that_dislikes_one_answer_costs_the_others_nothing(
    sf: SalesforceDouble, writer: CollectionWriter
) -> None:
    """Report 2 on this side: a page with a 403 is no word of the org about our rights."""
    sf.configure(firewall="<script>")
    writes = [update(sf.create("Case", {}), Comments=f"fine {number}") for number in range(5)]
    bad = update(sf.create("Case", {}), Comments="<script>")
    results = await asyncio.gather(*map(writer.write, [*writes[:2], bad, *writes[2:]]))
    assert [result.success for result in results] == [True, True, False, True, True, True]


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 400, "body": [{"errorCode": "UNKNOWN", "message": "Please retry your request."}]},
        {"status": 200, "body": "<html>maintenance", "headers": {"Content-Type": "text/html"}},
        {"status": 503, "body": "<html>maintenance", "headers": {"Content-Type": "text/html"}},
        {"status": 404, "body": "<html>maintenance", "headers": {"Content-Type": "text/html"}},
    ],
)
async def test_an_answer_that_blames_nobody_is_asked_for_again(
    sf: SalesforceDouble, writer: CollectionWriter, fault: dict[str, Any]
) -> None:
    """Report 7 for REST, and pages from a front."""
    sf.fail(Fault(match="PATCH .*composite", **fault))
    case = sf.create("Case", {})
    assert (await writer.write(update(case, NPS__c=9))).success
