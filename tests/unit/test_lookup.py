"""Lookup: many readers share a call, each gets its own row, and a failure of one does not affect the others."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from helpers.waiting import until

from connector.errors import ConnectorError, Fatal, Rejected, Retryable
from connector.salesforce.soql import Source, Value, select
from connector.surveys.lookup import Lookup

CASE = Source("Case")
Row = dict[str, Any]


def case_id(number: int) -> str:
    return f"500{number:012d}AAA"


class Org:
    """Cases 0 to 999 with a Subject each. It remembers the ids and fields of each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], list[str]]] = []
        self.refuse: dict[str, ConnectorError] = {}  # by the id that a call contains

    async def find(self, source: Source, fields: Iterable[str], values: list[Value]) -> list[Row]:
        assert source == CASE
        ids = [str(value) for value in values]
        self.calls.append(([*fields], ids))
        for record_id in ids:
            if record_id in self.refuse:
                raise self.refuse[record_id]
        numbers = {case_id(number)[:15]: number for number in range(1000)}
        return [
            {"Id": record_id[:15] + "AAA", "Subject": f"subject {numbers[record_id[:15]]}", "Status": "New"}
            for record_id in ids
            if record_id[:15] in numbers
        ]


@pytest.fixture
def org() -> Org:
    return Org()


@pytest.fixture
def lookup(org: Org) -> Lookup:
    return Lookup(org.find)


async def test_450_readers_share_three_calls_and_each_gets_its_own_row(org: Org, lookup: Lookup) -> None:
    rows = await asyncio.gather(*(lookup.read(CASE, case_id(number), ["Subject"]) for number in range(450)))
    assert [row and row["Subject"] for row in rows] == [f"subject {number}" for number in range(450)]
    assert [len(ids) for _, ids in org.calls] == [200, 200, 50]


async def test_readers_of_one_record_share_its_row_whatever_they_ask_of_it(org: Org, lookup: Lookup) -> None:
    """15 and 18 characters name the same record; a call reads what any of its readers needs."""
    rows = await asyncio.gather(
        lookup.read(CASE, case_id(1), ["Subject"]), lookup.read(CASE, case_id(1)[:15], ["Status"])
    )
    assert [row and (row["Subject"], row["Status"]) for row in rows] == [("subject 1", "New")] * 2
    assert [fields for fields, _ in org.calls] == [["Id", "Status", "Subject"]]


async def test_a_record_that_is_not_there_has_no_row(lookup: Lookup) -> None:
    assert await lookup.read(CASE, case_id(1000), ["Subject"]) is None


@pytest.mark.parametrize(
    "text", ["", "5001", "x') OR Id != ('", "500000000000001' ", "001*", "\uff15" * 15, case_id(1) + "A"]
)
async def test_what_is_no_id_reaches_no_query(text: str, org: Org, lookup: Lookup) -> None:
    with pytest.raises(Rejected, match="not a Salesforce record id"):
        await lookup.read(CASE, text, ["Subject"])
    assert org.calls == []


async def test_an_id_that_only_salesforce_knows_to_be_none_fails_its_own_reader_only(org: Org, lookup: Lookup) -> None:
    """Salesforce refuses the whole query because of one such id."""
    org.refuse[case_id(7)] = Rejected("invalid ID field", code="INVALID_QUERY_FILTER_OPERATOR")
    reads = [lookup.read(CASE, case_id(number), ["Subject"]) for number in range(200)]
    rows = await asyncio.gather(*reads, return_exceptions=True)
    failed = [number for number, row in enumerate(rows) if isinstance(row, Rejected)]
    assert failed == [7]
    assert all(isinstance(row, dict) for number, row in enumerate(rows) if number != 7)
    assert len(org.calls) < 20


async def test_a_value_that_is_too_long_for_a_query_fails_its_own_reader_only() -> None:
    """One record's text of 12,000 characters, beside 20 ordinary ones that share the call."""
    accounts, asked = Source("Account", "Name"), list[str]()

    async def find(source: Source, fields: Iterable[str], values: list[Value]) -> list[Row]:
        asked.extend(select(source, fields, values))  # as the client of Salesforce does
        return [{"Id": "0015g0000000001AAA", "Name": value} for value in values]

    lookup, long = Lookup(find), "private " * 1_500
    names = [*(f"Company {number}" for number in range(20)), long]
    rows = await asyncio.gather(*(lookup.read(accounts, name, ["Id"]) for name in names), return_exceptions=True)
    assert [row["Name"] for row in rows if isinstance(row, dict)] == names[:-1]
    assert isinstance(rows[-1], Rejected)
    assert rows[-1].code == "value_too_long"
    assert str(rows[-1]).startswith("a value is too long to look up: it has 15,")
    assert "private" not in "".join([str(rows[-1]), *asked])
    assert len(asked) <= 5, "each half is asked once"


async def test_what_is_no_records_fault_is_raised_to_every_reader_of_the_call(org: Org, lookup: Lookup) -> None:
    error = org.refuse[case_id(0)] = Fatal("no rights")
    reads = [lookup.read(CASE, case_id(number), ["Subject"]) for number in range(3)]
    assert await asyncio.gather(*reads, return_exceptions=True) == [error] * 3
    assert len(org.calls) == 1


async def test_an_outage_is_waited_out_by_one_call_for_all(org: Org, lookup: Lookup) -> None:
    org.refuse[case_id(0)] = Retryable("away", retry_after=0.0)
    reads = [asyncio.create_task(lookup.read(CASE, case_id(number), ["Subject"])) for number in range(3)]
    await until(lambda: len(org.calls) > 2)
    org.refuse.clear()
    assert all(await asyncio.gather(*reads))
    assert {len(ids) for _, ids in org.calls} == {3}


async def test_a_reader_that_gives_up_takes_nothing_from_the_others(org: Org, lookup: Lookup) -> None:
    first = asyncio.create_task(lookup.read(CASE, case_id(1), ["Subject"]))
    second = asyncio.create_task(lookup.read(CASE, case_id(2), ["Subject"]))
    await asyncio.sleep(0)
    first.cancel()
    row = await second
    assert row is not None
    assert row["Subject"] == "subject 2"


async def test_a_field_written_in_other_capitals_stops_instead_of_being_taken_for_empty(lookup: Lookup) -> None:
    """SOQL ignores the case of a field's name, and answers with its own spelling."""
    with pytest.raises(Fatal, match="does not write subject like this"):
        await lookup.read(CASE, case_id(1), ["subject"])
