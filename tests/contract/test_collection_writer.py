"""The collection writer against the double: few calls, each record's order, and it repeats only failed records."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from helpers.waiting import PATIENCE, until
from structlog.testing import capture_logs

from connector.errors import Fatal, Rejected, Retryable
from connector.salesforce import (
    CallOptions,
    Choice,
    ClientCredentials,
    CollectionWriter,
    RecordWrite,
    RestClient,
    Result,
)
from connector.sandbox.doubles.salesforce import Fault, SalesforceDouble

CALL = "PATCH .*/composite/sobjects"


class Naps:
    """The writer's sleep: each nap lasts until `end`."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._may_end = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await self._may_end.wait()

    def end(self) -> None:
        self._may_end.set()


@asynccontextmanager
async def connected(sf: SalesforceDouble) -> AsyncIterator[RestClient]:
    async with httpx.AsyncClient() as http:
        tokens = ClientCredentials(http, sf.login_url, client_id=sf.client_id, client_secret=sf.client_secret)
        yield RestClient(tokens, http, client_name="pisano-connector", calls_per_second=1000)


@pytest.fixture
async def sf() -> AsyncIterator[SalesforceDouble]:
    async with SalesforceDouble() as double:
        yield double


@pytest.fixture
async def rest(sf: SalesforceDouble) -> AsyncIterator[RestClient]:
    async with connected(sf) as client:
        yield client


def response(key: str, **fields: Any) -> RecordWrite:
    return RecordWrite("upsert", "Survey_Response__c", "Pisano_Id__c", key, fields)


def update(case: str, **fields: Any) -> RecordWrite:
    return RecordWrite("update", "Case", "Id", case, fields)


def scores(sf: SalesforceDouble, record: str) -> list[Any]:
    """The scores written to a record, in order."""
    return [write.fields.get("Score__c", write.fields.get("NPS__c")) for write in sf.history(record) if write.success]


def calls(sf: SalesforceDouble) -> int:
    return sum("composite/sobjects" in call.what for call in sf.calls)


async def all_of(writer: CollectionWriter, writes: Iterable[RecordWrite]) -> list[Result]:
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*(writer.write(write) for write in writes))


async def test_450_records_of_two_objects_take_four_calls_under_our_name(
    sf: SalesforceDouble, rest: RestClient
) -> None:
    """salesforce §D2: 200 records of one type per call; §0.9: our name comes back in changeOrigin."""
    case = sf.create("Case", {})
    writes = [response(f"key-{number}", Score__c=number) for number in range(449)]
    results = await all_of(CollectionWriter(rest), [*writes[:10], update(case, NPS__c=1), *writes[10:]])
    assert all(result.success for result in results)
    assert calls(sf) == 4
    assert {write.client for write in sf.history()} == {"pisano-connector"}
    assert len(sf.records("Survey_Response__c")) == 449


async def test_writes_to_one_record_keep_their_order_whatever_is_locked_meanwhile(
    sf: SalesforceDouble, rest: RestClient
) -> None:
    """salesforce §D2: the same record twice in a call would fail, so each write waits for the one before it."""
    cases = [sf.create("Case", {}) for _ in range(5)]
    keys = [f"key-{number}" for number in range(5)]
    for record in [*cases, *keys]:
        sf.lock(record, times=random.randrange(4))
    expected = range(8)
    writes = [write for n in expected for write in _to_each(cases, keys, n)]
    results = await all_of(CollectionWriter(rest, sleep=lambda _: asyncio.sleep(0.001)), writes)
    assert all(result.success for result in results)
    assert {record: scores(sf, record) for record in [*cases, *keys]} == {
        record: [*expected] for record in [*cases, *keys]
    }


def _to_each(cases: list[str], keys: list[str], number: int) -> list[RecordWrite]:
    return [*(update(case, NPS__c=number) for case in cases), *(response(key, Score__c=number) for key in keys)]


async def test_no_call_is_made_before_it_is_sure_whose_the_writes_are(sf: SalesforceDouble, rest: RestClient) -> None:
    """If a write turns out to belong to another worker, its caller gives up, and the writer leaves it out."""
    case, other = sf.create("Case", {}), sf.create("Case", {})
    is_sure, asked = asyncio.Event(), asyncio.Event()

    async def sure() -> None:
        asked.set()
        await is_sure.wait()

    writer = CollectionWriter(rest, sure=sure)
    given_away = asyncio.create_task(writer.write(update(case, NPS__c=1)))
    kept = asyncio.create_task(writer.write(update(other, NPS__c=2)))
    await asked.wait()
    assert calls(sf) == 0
    given_away.cancel()
    await asyncio.wait([given_away])
    is_sure.set()
    assert (await kept).success
    assert (scores(sf, case), scores(sf, other)) == ([], [2])


async def test_a_caller_can_give_a_write_up_until_its_turn_comes(sf: SalesforceDouble, rest: RestClient) -> None:
    """It knows then what became of the earlier writes of the record. Only this write is left out."""
    case, other = sf.create("Case", {}), sf.create("Case", {})
    sf.lock(case, times=2)
    writer = CollectionWriter(rest, sleep=lambda _: asyncio.sleep(0.001))
    known: list[Result] = []

    async def first() -> None:
        known.append(await writer.write(update(case, NPS__c=1)))

    def unless() -> Rejected | None:
        return Rejected("the first is written") if known[0].success else None

    _, second, third, elsewhere = await asyncio.gather(
        first(),
        writer.write(update(case, NPS__c=2), unless),
        writer.write(update(case, NPS__c=3)),
        writer.write(update(other, NPS__c=4)),
    )
    assert (second.success, str(second.error)) == (False, "the first is written")
    assert third.success
    assert elsewhere.success
    assert (scores(sf, case), scores(sf, other)) == ([1, 3], [4])


async def test_both_forms_of_an_id_are_one_record(sf: SalesforceDouble, rest: RestClient) -> None:
    """Salesforce refuses a call that names a record twice, even once by 15 and once by 18 characters."""
    case = sf.create("Case", {})
    results = await all_of(CollectionWriter(rest), [update(case, NPS__c=1), update(case[:15], NPS__c=2)])
    assert [result.error for result in results] == [None, None]
    assert sf.record("Case", case)["NPS__c"] == 2


async def test_a_locked_record_waits_longer_and_longer_and_nobody_waits_with_it(
    sf: SalesforceDouble, rest: RestClient
) -> None:
    """salesforce §D4: the writer repeats only locked records. Other writes go at once during their pause."""
    naps = Naps()
    writer = CollectionWriter(rest, sleep=naps.sleep)
    sf.lock("locked", times=12)
    locked = asyncio.create_task(writer.write(response("locked", Score__c=1)))
    behind = asyncio.create_task(writer.write(response("locked", Score__c=2)))
    await until(lambda: naps.seconds)
    assert (await asyncio.wait_for(writer.write(response("free")), PATIENCE)).success
    assert not behind.done()
    naps.end()
    assert (await locked).success
    assert (await behind).success
    assert scores(sf, "locked") == [1, 2]
    assert len(naps.seconds) == 12
    for tries, pause in enumerate(naps.seconds):
        longest = min(30.0, 0.2 * 2**tries)
        assert longest / 2 <= pause <= longest


@pytest.mark.parametrize("bad", [{"Case__c": 500}, {"Comment__c": "half an emoji: \ud83d"}])
async def test_one_record_that_fails_the_whole_call_sinks_no_other(
    bad: dict[str, Any], sf: SalesforceDouble, rest: RestClient
) -> None:
    """salesforce §G: a wrong type or field may fail the whole call with a 400; JSON cannot hold half an emoji."""
    sf.configure(bad_field="call")
    writer = CollectionWriter(rest)
    writes = [response(f"key-{number}", Score__c=number) for number in range(200)]
    refuse = {name: Choice(does_not_fit="refuse") for name in bad}
    writes[77] = RecordWrite("upsert", "Survey_Response__c", "Pisano_Id__c", "key-77", bad, refuse)
    results = await all_of(writer, writes)
    assert [number for number, result in enumerate(results) if not result.success] == [77]
    assert isinstance(results[77].error, Rejected)
    assert calls(sf) <= 20


async def test_a_field_that_is_gone_fails_whoever_writes_it_and_nobody_else(
    sf: SalesforceDouble, rest: RestClient
) -> None:
    """Two rules share the object. The rule whose field was deleted gets an error that says what to change; the other
    one goes on.
    """
    sf.configure(bad_field="call")
    writer = CollectionWriter(rest)
    gone = [response(f"gone-{number}", No_Such_Field__c=number) for number in range(5)]
    good = [response(f"good-{number}", Score__c=number) for number in range(50)]
    async with asyncio.timeout(PATIENCE):
        results = await asyncio.gather(*map(writer.write, [*gone, *good]), return_exceptions=True)
    assert all(isinstance(result, Fatal) and "No_Such_Field__c" in str(result) for result in results[:5])
    assert all(isinstance(result, Result) and result.success for result in results[5:])
    assert calls(sf) <= 3, "the writer must not split the call: no record is at fault"


async def test_an_upsert_that_lost_a_race_is_made_once_more_and_a_duplicate_is_refused(
    sf: SalesforceDouble, rest: RestClient
) -> None:
    """salesforce §D4: DUPLICATE_VALUE is final, except where two upserts created the same record at once."""
    body = [{"success": False, "errors": [{"statusCode": "DUPLICATE_VALUE", "message": "duplicate", "fields": []}]}]
    writer = CollectionWriter(rest, sleep=lambda _: asyncio.sleep(0))
    sf.fail(Fault(match=CALL, status=200, body=body))
    assert (await writer.write(response("raced"))).success
    sf.fail(Fault(match=CALL, times=2, status=200, body=body))
    [refused] = await all_of(writer, [response("duplicate")])
    assert isinstance(refused.error, Rejected)
    assert refused.error.code == "DUPLICATE_VALUE"


async def test_a_write_whose_caller_gave_up_is_not_made_when_salesforce_is_back() -> None:
    """By then another worker may own the caller's partition, and what that worker wrote must stay."""
    async with SalesforceDouble() as sf, connected(sf) as rest:
        writer = CollectionWriter(rest)
        sf.fail(Fault(match=CALL, times=1, status=503, headers={"Retry-After": "2"}))
        given_up = asyncio.create_task(writer.write(response("key", Score__c=1)))
        await until(lambda: calls(sf) == 1)
        given_up.cancel()
        with suppress(asyncio.CancelledError):
            await given_up
        assert (await writer.write(response("key", Score__c=2))).success
        assert scores(sf, "key") == [2]


async def test_what_only_a_person_can_mend_is_raised_to_everybody(sf: SalesforceDouble, rest: RestClient) -> None:
    writer = CollectionWriter(rest)
    sf.fail(Fault(match=CALL, status=403, error_code="API_DISABLED_FOR_ORG"))
    writes = [writer.write(response(f"key-{number}")) for number in range(3)]
    errors = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(error) for error in errors] == [Fatal] * 3
    assert calls(sf) == 1


class Answers:
    """Answers each call at once with `answer(key)`, and remembers the keys of each call."""

    def __init__(self, answer: Callable[[object], Result]) -> None:
        self.keys: list[list[object]] = []
        self._answer = answer

    async def describe(self, _: str) -> dict[str, Any]:
        return {"fields": []}

    async def limits(self) -> object:
        raise AssertionError("nothing fails")

    async def upsert(
        self, _: str, external_field: str, records: Sequence[dict[str, object]], __: CallOptions
    ) -> list[Result]:
        self.keys.append([record[external_field] for record in records])
        return [self._answer(key) for key in self.keys[-1]]

    async def update(self, _: str, records: Sequence[dict[str, object]], __: CallOptions) -> list[Result]:
        raise AssertionError(f"{len(records)} updates, but the test asked for none")


async def test_an_external_id_in_other_capitals_does_not_travel_in_the_same_call() -> None:
    """To Salesforce they are one record, unless the field is case-sensitive. In the double it is."""
    rest = Answers(lambda _: Result(True))
    await all_of(CollectionWriter(rest), [response("ada@example.com"), response("ADA@example.com"), response("b")])
    assert rest.keys == [["ada@example.com", "b"], ["ADA@example.com"]]


@pytest.mark.parametrize(("retry_after", "longest"), [(None, 30.0), (300.0, 300.0)])
async def test_a_lock_is_waited_out_for_days_and_the_log_says_so_once(
    retry_after: float | None, longest: float
) -> None:
    """salesforce §D4: a pause and no dead letter, even after so many tries that a power of two overflows a float."""
    locked = Result(False, error=Retryable("locked", retry_after=retry_after))
    rest = Answers(lambda _: locked if len(rest.keys) <= 1100 else Result(True))
    naps = Naps()
    naps.end()
    with capture_logs() as said:
        assert (await CollectionWriter(rest, sleep=naps.sleep).write(response("ada@example.com"))).success
    assert len(naps.seconds) == 1100
    assert max(naps.seconds) <= longest
    assert [(line["event"], line["key"], line["reason"]) for line in said] == [
        ("salesforce_record_waits", "a***@example.com", "locked")
    ]


class Slow:
    """Answers a call when the test lets it, and remembers which calls and records were under way at once."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.most_at_once = 0
        self.under_way: set[object] = set()
        self.stored: dict[object, list[object]] = {}
        self.fault: Callable[[Sequence[dict[str, object]]], None] = lambda _: None
        self._calls = 0
        self._random = random.Random(1)

    async def describe(self, _: str) -> dict[str, Any]:
        return {"fields": []}

    async def limits(self) -> object:
        return {}

    async def upsert(
        self, _: str, external_field: str, records: Sequence[dict[str, object]], __: CallOptions
    ) -> list[Result]:
        keys = {record[external_field] for record in records}
        assert not keys & self.under_way, "two writes of one record are under way"
        self.under_way |= keys
        self._calls += 1
        self.most_at_once = max(self.most_at_once, self._calls)
        try:
            await asyncio.sleep(self._random.uniform(0.001, 0.01))
            self.fault(records)
        finally:
            self._calls -= 1
            self.under_way -= keys
        self.sizes.append(len(records))
        for record in records:
            self.stored.setdefault(record[external_field], []).append(record["Score__c"])
        return [Result(True) for _ in records]

    async def update(self, _: str, records: Sequence[dict[str, object]], __: CallOptions) -> list[Result]:
        raise AssertionError(f"{len(records)} updates, but the test asked for none")


@pytest.mark.parametrize(("calls", "most"), [(1, 1), (2, 1), (10, 5)])
async def test_several_full_calls_are_under_way_at_once_and_each_record_keeps_its_order(calls: int, most: int) -> None:
    """One object takes at most half of the calls; none of them holds a record of another."""
    rest = Slow()
    writes = [response(f"key-{number % 1400}", Score__c=number) for number in range(4200)]
    results = await all_of(CollectionWriter(rest, calls=calls), writes)
    assert all(result.success for result in results)
    assert rest.most_at_once == most
    assert {key: [*numbers] for key, numbers in rest.stored.items()} == {
        f"key-{number}": [*range(number, 4200, 1400)] for number in range(1400)
    }
    assert len(rest.sizes) <= 30, "21 full calls hold them all"


async def test_a_single_write_does_not_wait_for_others_to_fill_its_call() -> None:
    rest = Slow()
    writer = CollectionWriter(rest)
    for number in range(3):
        assert (await writer.write(response("key", Score__c=number))).success
    assert rest.sizes == [1, 1, 1]


@pytest.mark.parametrize("error", [Rejected("HTTP 400"), Retryable("reset")])
async def test_a_bad_record_in_one_of_several_calls_fails_alone(error: Rejected | Retryable) -> None:
    """A refused call is tried in halves, and a lost one again. The other calls are not disturbed."""
    rest, lost = Slow(), iter(range(3))

    def fault(records: Sequence[dict[str, object]]) -> None:
        if isinstance(error, Rejected):
            if any(record["Pisano_Id__c"] == "key-333" for record in records):
                raise error
        elif next(lost, None) is not None:
            raise error

    rest.fault = fault
    writer = CollectionWriter(rest, sleep=lambda _: asyncio.sleep(0.001))
    results = await all_of(writer, [response(f"key-{number}", Score__c=number) for number in range(1000)])
    refused = [number for number, result in enumerate(results) if not result.success]
    assert refused == ([333] if isinstance(error, Rejected) else [])
    assert len(rest.stored) == 1000 - len(refused)
    assert all(len(numbers) == 1 for numbers in rest.stored.values())
    assert rest.most_at_once <= 10
