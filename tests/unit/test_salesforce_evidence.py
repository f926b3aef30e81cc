"""The connector tells apart an outage of Salesforce, a bad record, a batch that is too large and a missing field."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from helpers.simulated_loop import simulate

from connector.errors import ConnectorError, Fatal, Rejected, Retryable
from connector.retry import Lasts
from connector.salesforce import CallOptions, CollectionWriter, RecordWrite, Result, errors
from connector.salesforce.soql import Source, Value
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader


def problem(status_code: str, message: str = "m") -> list[dict[str, Any]]:
    return [{"statusCode": status_code, "message": message, "fields": []}]


class Org:
    """Takes every record unless `meets(key, size of the call)` returns an error for it; `down` fails every call."""

    def __init__(self, meets: Callable[[str, int], Exception | None] = lambda *_: None) -> None:
        self.meets = meets
        self.down: Exception | None = None
        self.calls: list[tuple[str, int]] = []
        self.stored: list[str] = []

    async def describe(self, _: str) -> dict[str, Any]:
        if self.down:
            raise self.down
        return {"fields": []}

    async def upsert(
        self, object_name: str, field: str, records: Sequence[dict[str, object]], _: CallOptions
    ) -> list[Result]:
        await asyncio.sleep(0.1)
        self.calls.append((object_name, len(records)))
        if self.down:
            raise self.down
        keys = [str(record[field]) for record in records]
        found = {key: self.meets(key, len(records)) for key in keys}
        for error in found.values():
            if isinstance(error, errors.Failing | Fatal):  # these fail the whole call
                raise error
        self.stored += [key for key in keys if not found[key]]
        return [Result(not found[key], error=found[key]) for key in keys]  # type: ignore[arg-type]

    async def update(
        self, object_name: str, records: Sequence[dict[str, object]], options: CallOptions
    ) -> list[Result]:
        return await self.upsert(object_name, "Id", records, options)

    async def limits(self) -> object:
        if self.down:
            raise self.down
        return {}


def response(key: str, object_name: str = "Response__c", **fields: Any) -> RecordWrite:
    return RecordWrite("upsert", object_name, "Key__c", key, fields or {"Score__c": 1})


async def all_of(org: Org, writes: list[RecordWrite], calls: int = 10) -> list[Any]:
    loop = asyncio.get_running_loop()
    writer = CollectionWriter(org, calls=calls, clock=loop.time)
    return await asyncio.gather(*map(writer.write, writes), return_exceptions=True)


@pytest.mark.parametrize(
    "message",
    [
        "ResponseTrigger: System.LimitException: Too many SOQL queries: 101",
        "System.LimitException: Apex CPU time limit exceeded",
        "Too many future calls: 51",
        "System.LimitException: Too many DML rows: 10001",
    ],
)
def test_a_limit_of_the_whole_call_halves_it_and_the_size_that_passed_is_kept(message: str) -> None:
    """Report 3, and three similar messages: calls of 50 records pass, so no record is refused."""
    writes = [response(str(number)) for number in range(400)]
    limit = errors.from_record(problem("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message), "upsert")
    org = Org(lambda _, size: limit if size > 50 else None)
    results = simulate(all_of(org, writes, calls=1))
    assert all(result.success for result in results)
    assert [size for _, size in org.calls] == [200, 100, *[50] * 8]
    org.calls.clear()
    results = simulate(all_of(org, writes))
    assert all(result.success for result in results)
    assert [size for _, size in org.calls][-8:] == [50] * 8  # those under way when the first was refused are halved too


def test_a_record_that_breaks_a_limit_by_itself_is_refused() -> None:
    limit = errors.from_record(problem("UNKNOWN", "System.LimitException: Too many SOQL queries: 101"), "upsert")
    org = Org(lambda key, _: limit if key == "7" else None)
    results = simulate(all_of(org, [response(str(number)) for number in range(20)]))
    assert [number for number, result in enumerate(results) if not result.success] == [7]
    assert isinstance(results[7].error, Rejected)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "unknown_error", "error_description": "retry your request"}),
        (400, {"error": "invalid_grant", "error_description": "login rate exceeded"}),
        (400, {"error": "server_error", "error_description": "x"}),
        (400, {"error": "temporarily_unavailable"}),
        (400, {"error": "nobody_has_seen_this"}),
        (403, {"error": "slow_down"}),
        (302, {}),
    ],
)
def test_a_login_that_may_work_later_is_tried_again(status: int, body: dict[str, str]) -> None:
    """Report 7, and others: only a known permanent error waits for a person."""
    assert type(errors.from_token_response(httpx.Response(status, json=body))) is Retryable


@pytest.mark.parametrize("error", ["invalid_client", "invalid_client_id", "invalid_grant", "inactive_user"])
def test_a_login_that_is_refused_for_good_concerns_all_that_uses_it(error: str) -> None:
    answer = httpx.Response(400, json={"error": error, "error_description": "user hasn't approved this consumer"})
    refusal = errors.from_token_response(answer)
    assert isinstance(refusal, Fatal)
    assert refusal.whole


def test_a_login_page_that_is_no_json_is_tried_again() -> None:
    assert type(errors.from_token_response(httpx.Response(400, text="<html>maintenance</html>"))) is Retryable


def failing(status: int = 500, code: str = "UNKNOWN_EXCEPTION") -> ConnectorError:
    request = httpx.Request("PATCH", "https://org")
    body = [{"errorCode": code, "message": "ErrorId: 1-2 (-3)"}]
    return errors.from_response(httpx.Response(status, json=body, request=request), "upsert Response__c")


def test_one_record_that_is_always_a_500_stops_nobody() -> None:
    """Report 8: the writer finds it by halving calls while the others pass, and gives up on it after a few tries."""
    org = Org(lambda key, _: failing() if key == "bad" else None)
    others = [response(str(number)) for number in range(50)]
    results = simulate(all_of(org, [others[0], response("bad"), *others[1:], response("1", "Other__c")]))
    assert results[1].error.code == "UNKNOWN_EXCEPTION"
    assert Counter(org.stored) == Counter([str(number) for number in range(50)] + ["1"])
    assert len(org.calls) < 40


@pytest.mark.parametrize("may_ask", [True, False])
def test_the_only_record_that_waits_is_given_up_too_where_the_org_answers(may_ask: bool) -> None:
    """Whether it answers, /limits tells, which many users may not read: they get a 403, and that is an answer."""
    org = Org(lambda *_: failing())
    if not may_ask:
        org.limits = forbidden  # type: ignore[method-assign]
    [result] = simulate(all_of(org, [response("bad")]))
    assert isinstance(result.error, Rejected)


async def forbidden() -> object:
    raise failing(403, "INSUFFICIENT_ACCESS")


@pytest.mark.parametrize(
    "outage", [failing(503, "SERVER_UNAVAILABLE"), failing(), Retryable("no answer from Salesforce: ConnectError")]
)
def test_an_outage_refuses_nobody_and_holds_the_object_that_it_hits(outage: ConnectorError) -> None:
    """Rule 4: every waiting caller learns that the outage lasts, and no record is written after that."""
    org = Org()
    org.down = outage
    results = simulate(all_of(org, [response(str(number)) for number in range(30)]))
    assert {type(result) for result in results} == {Lasts}
    assert org.stored == []


def test_an_outage_of_one_object_costs_another_nothing() -> None:
    """Each object has its own calls, so a slow or unavailable object does not delay the others."""

    async def play() -> tuple[list[Any], float]:
        org, loop = Org(), asyncio.get_running_loop()
        taken = org.upsert

        async def upsert(
            object_name: str, field: str, records: Sequence[dict[str, object]], options: CallOptions
        ) -> list[Result]:
            if object_name == "Slow__c":
                await asyncio.sleep(25)
                raise Retryable("no answer from Salesforce: ReadTimeout")
            return await taken(object_name, field, records, options)

        org.upsert = upsert  # type: ignore[method-assign]
        writer = CollectionWriter(org, clock=loop.time)
        slow = asyncio.create_task(writer.write(response("1", "Slow__c")))
        await asyncio.sleep(1)
        results = await asyncio.gather(*(writer.write(response(str(number))) for number in range(500)))
        took = loop.time() - 1
        slow.cancel()
        return results, took

    results, took = simulate(play())
    assert all(result.success for result in results)
    assert took < 1


def test_an_unknown_exception_of_one_record_is_tried_again_and_often_passes() -> None:
    seen: Counter[str] = Counter()

    def meets(key: str, _: int) -> Any:
        seen[key] += 1
        passing = key == "7" and seen[key] < 3
        return errors.from_record(problem("UNKNOWN_EXCEPTION"), "upsert") if passing or key == "8" else None

    org = Org()
    org.meets = meets

    async def upsert(_: str, field: str, records: Sequence[dict[str, object]], __: CallOptions) -> list[Result]:
        await asyncio.sleep(0.1)
        found = [meets(str(record[field]), len(records)) for record in records]
        return [Result(not error, error=error) for error in found]

    org.upsert = upsert  # type: ignore[method-assign]
    results = simulate(all_of(org, [response(str(number)) for number in range(10)]))
    assert [number for number, result in enumerate(results) if not result.success] == [8]
    assert seen["8"] < 10


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"),
        ("CANNOT_EXECUTE_FLOW_TRIGGER", "We can't save this record. UNABLE_TO_LOCK_ROW: unable to obtain exclusive"),
        ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "Record Currently Unavailable: The record you are attempting to edit"),
        ("DML_OPERATION_FAILED", "common.exception.SqlException: row lock"),
    ],
)
def test_a_lock_is_a_lock_in_whatever_wording_of_a_code_that_wraps_others(code: str, message: str) -> None:
    """Report 10, and others."""
    assert type(errors.from_record(problem(code, message), "update Case")) is Retryable


def test_a_record_in_approval_is_tried_again_after_minutes() -> None:
    locked = errors.from_record(problem("ENTITY_IS_LOCKED"), "update Case")
    assert isinstance(locked, Retryable)
    assert (locked.retry_after or 0) >= 60


@pytest.mark.parametrize("code", ["INVALID_FIELD_FOR_INSERT_UPDATE", "INVALID_FIELD", "INVALID_TYPE"])
def test_a_field_that_is_hidden_is_the_rules_fault_and_no_records(code: str) -> None:
    """Report 9, for a write: the error says where to look, and all writes with that field wait together."""
    hidden = errors.from_record(problem(code, "Unable to create/update fields: Branch__c"), "update Case")
    assert isinstance(hidden, Fatal)
    assert "field-level security" in str(hidden)

    async def play() -> list[Any]:
        org = Org()

        async def upsert(_: str, __: str, records: Sequence[dict[str, object]], ___: CallOptions) -> list[Result]:
            return [Result("Branch__c" not in r, error=hidden if "Branch__c" in r else None) for r in records]

        org.upsert = upsert  # type: ignore[method-assign]
        writes = [response("1", Branch__c="x"), response("2", Score__c=1), response("3", Branch__c="y")]
        return await all_of(org, writes)

    first, second, third = simulate(play())
    assert isinstance(first, Fatal)
    assert isinstance(third, Fatal)
    assert second.success


def test_a_survey_whose_field_is_hidden_fails_no_other_survey_that_shares_its_call() -> None:
    """Report 9, for a lookup."""

    async def play() -> list[Any]:
        async def select(_: Source, fields: Any, ids: list[Value]) -> list[dict[str, Any]]:
            await asyncio.sleep(0.1)
            if "Branch__c" in fields:
                raise Fatal("No such column Branch__c")
            return [{field: id_ if field == "Id" else "x" for field in fields} for id_ in ids]

        lookup = Lookup(select)
        wanted = [["Branch__c"], ["Status"], ["Branch__c", "Status"], ["Status"]]
        reads = (lookup.read(Source("Case"), f"50000000000000{n}", fields) for n, fields in enumerate(wanted))
        return await asyncio.gather(*reads, return_exceptions=True)

    results = simulate(play())
    assert [isinstance(result, Fatal) for result in results] == [True, False, True, False]


def test_a_survey_that_is_tried_again_delays_no_other_survey_until_its_field_is_back() -> None:
    """Report 9: a try of the held survey would fail a call that it shares, and the others would wait for another."""

    async def play() -> list[list[set[str]]]:
        calls: list[set[str]] = []
        hidden = {"Branch__c"}

        async def select(_: Source, fields: Any, ids: list[Value]) -> list[dict[str, Any]]:
            calls.append({*fields} - {"Id"})
            if hidden & {*fields}:
                raise Fatal("No such column Branch__c")
            return [{field: id_ if field == "Id" else "x" for field in fields} for id_ in ids]

        async def both() -> list[set[str]]:
            calls.clear()
            reads = (lookup.read(Source("Case"), "500000000000001", [field]) for field in ("Branch__c", "Status"))
            await asyncio.gather(*reads, return_exceptions=True)
            return sorted(calls, key=sorted)

        lookup = Lookup(select)
        rounds = [await both(), await both()]
        hidden.clear()
        return [*rounds, await both(), await both()]

    first, held, mended, after = simulate(play())
    assert first == [{"Branch__c"}, {"Branch__c", "Status"}, {"Status"}]
    assert held == mended == [{"Branch__c"}, {"Status"}]
    assert after == [{"Branch__c", "Status"}]


def test_an_outage_that_lasts_is_told_to_whoever_reads_that_object() -> None:
    async def play() -> tuple[Any, Any]:
        async def select(source: Source, fields: Any, ids: list[Value]) -> list[dict[str, Any]]:
            if source.object == "Case":
                raise Retryable("no answer from Salesforce")
            return [{field: id_ if field == "Id" else "x" for field in fields} for id_ in ids]

        lookup = Lookup(select)
        reads = (lookup.read(Source(name), "500000000000001", ["Name"]) for name in ("Case", "Contact"))
        case, contact = await asyncio.gather(*reads, return_exceptions=True)
        return case, contact

    case, contact = simulate(play())
    assert isinstance(case, Lasts)
    assert contact["Name"] == "x"


class Taking(Org):
    """An org whose errors are all of the record, and never of the whole call."""

    async def upsert(self, _: str, field: str, records: Sequence[dict[str, object]], __: CallOptions) -> list[Result]:
        found = [self.meets(str(record[field]), len(records)) for record in records]
        return [Result(not error, error=error) for error in found]  # type: ignore[arg-type]


@pytest.mark.parametrize("then", [["DUPLICATE_VALUE"], ["UNKNOWN_EXCEPTION"] * 3])
def test_a_lock_before_takes_no_tries_from_another_error_that_may_pass(then: list[str]) -> None:
    """An upsert that lost a race, or failed for no reason, became a dead letter after a lock."""
    codes = iter(["UNABLE_TO_LOCK_ROW"] * 5 + then)

    def meets(_: str, __: int) -> Any:
        code = next(codes, None)
        return errors.from_record(problem(code), "upsert Response__c") if code else None

    [result] = simulate(all_of(Taking(meets), [response("7")]))
    assert result.success


@pytest.mark.parametrize(
    "code",
    ["STORAGE_LIMIT_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE"],
)
def test_an_org_that_takes_no_records_for_hours_holds_the_object_and_does_not_let_it_wait_in_silence(code: str) -> None:
    """salesforce §D4: these come for each record of a call that itself passes, as the storage's end does."""
    full = errors.from_record(problem(code), "upsert Response__c")
    org = Taking(lambda key, _: full if key else None)
    writes = [*map(response, ["1", "2", "2", "3"]), response("1", "Other__c")]
    *held, _ = simulate(all_of(org, writes))
    assert [(type(each), each.at_least) for each in held] == [(Lasts, 300.0)] * 4
    assert code in str(held[0])


def lookup_failing_for(bad: set[str], down: bool = False) -> tuple[Lookup, list[int]]:
    """A lookup where Salesforce answers each call that reads one of the `bad` ids with a 500, and its calls' sizes."""
    calls: list[int] = []

    async def select(_: Source, fields: Any, ids: list[Value]) -> list[dict[str, Any]]:
        calls.append(len(ids))
        await asyncio.sleep(0.1)
        if down or bad & {*ids}:
            raise failing()
        return [dict.fromkeys(fields, "x") | {"Id": id_} for id_ in ids]

    return Lookup(select), calls


async def reads(lookup: Lookup, numbers: Sequence[int]) -> list[str]:
    """What became of the reads of these cases, each by two surveys."""
    wanted = [lookup.read(Source("Case"), case(n), [field]) for n in numbers for field in ("Name", "Status")]
    found = await asyncio.gather(*wanted, return_exceptions=True)
    return [getattr(each, "code", None) or type(each).__name__ for each in found]


def case(number: int) -> str:
    return f"500{number:012d}"


def test_one_record_that_salesforce_cannot_read_stops_no_other() -> None:
    """One record made the call fail for all, each time, and every survey that reads the object stood still."""

    async def play() -> tuple[list[str], list[int]]:
        lookup, calls = lookup_failing_for({case(70)})
        return await reads(lookup, range(200)), calls

    said, calls = simulate(play())
    assert said == [*["dict"] * 140, *["UNKNOWN_EXCEPTION"] * 2, *["dict"] * 258]
    assert len(calls) < 60


def test_a_record_that_fails_alone_is_given_up_when_another_one_can_be_read() -> None:
    """When few changes come, none shares its call, and while its survey is held nothing else is read. Before any was
    read, nobody knows whether it is an outage.
    """

    async def play() -> list[list[str]]:
        lookup, _ = lookup_failing_for({case(1), case(2)})
        return [await reads(lookup, [number]) for number in (1, 1, 3, 1, 2)]

    assert simulate(play()) == [
        *[["Lasts"] * 2] * 2,
        ["dict"] * 2,
        *[["UNKNOWN_EXCEPTION"] * 2] * 2,
    ]


def test_a_record_that_could_be_read_before_is_given_up_too() -> None:
    async def play() -> list[list[str]]:
        bad: set[str] = set()
        lookup, _ = lookup_failing_for(bad)
        before = [await reads(lookup, [number]) for number in (1, 2, 2)]
        bad.add(case(2))
        return [*before, await reads(lookup, [2])]

    assert simulate(play()) == [*[["dict"] * 2] * 3, ["UNKNOWN_EXCEPTION"] * 2]


def test_two_records_that_salesforce_cannot_read_stop_no_other() -> None:
    """With one in each half of the call, all of it was taken for an outage."""

    async def play() -> list[str]:
        lookup, _ = lookup_failing_for({case(30), case(70)})
        await reads(lookup, [1000])
        return await reads(lookup, range(200))

    said = simulate(play())
    assert [number // 2 for number, each in enumerate(said) if each != "dict"] == [30, 30, 70, 70]
    assert {*said} == {"dict", "UNKNOWN_EXCEPTION"}


def test_many_records_that_salesforce_cannot_read_are_an_outage() -> None:
    """All other reads of the object wait for the search."""

    async def play() -> tuple[list[str], float]:
        lookup, _ = lookup_failing_for({case(number) for number in range(100)})
        await reads(lookup, [1000])
        return await reads(lookup, range(100)), asyncio.get_running_loop().time()

    said, seconds = simulate(play())
    assert {*said} == {"Lasts", "UNKNOWN_EXCEPTION"}
    assert said.count("UNKNOWN_EXCEPTION") == 10
    assert seconds < 150


def test_a_record_that_fails_in_two_outages_is_not_at_fault() -> None:
    """Between them others were read, and it was not."""

    async def play() -> list[list[str]]:
        bad = {case(1)}
        lookup, _ = lookup_failing_for(bad)
        first = [await reads(lookup, [1])]
        middle = [await reads(lookup, [2])]
        bad |= {case(number) for number in range(10)}
        return [*first, *middle, await reads(lookup, [1])]

    assert simulate(play()) == [["Lasts"] * 2, ["dict"] * 2, ["Lasts"] * 2]


@pytest.mark.parametrize("other", [Retryable("HTTP 503"), Fatal("the login is refused", whole=True)])
def test_an_outage_with_several_errors_blames_no_record(other: Exception) -> None:
    async def play() -> list[str]:
        async def select(_: Source, __: Any, ids: list[Value]) -> list[dict[str, Any]]:
            raise other if ids == [case(0)] else failing()

        return await reads(Lookup(select), range(2))

    assert {*simulate(play())} <= {"Lasts", "Fatal"}


def test_an_outage_of_reads_blames_no_record() -> None:
    async def play() -> tuple[list[str], list[int]]:
        lookup, calls = lookup_failing_for(set(), down=True)
        return await reads(lookup, range(200)), calls

    said, calls = simulate(play())
    assert said == ["Lasts"] * 400
    assert len(calls) < 60


def test_a_record_whose_trace_salesforce_fails_to_read_is_not_taken_for_missing() -> None:
    """Where it was merged into another one, what that one says, such as an opt-out, must count."""

    async def play() -> None:
        async def nothing(*_: object) -> list[dict[str, Any]]:
            return []

        lookup, _ = lookup_failing_for({case(1)})
        reader, source = Reader(Lookup(nothing), lookup), Source("Contact", "Case__c")
        with pytest.raises(Lasts):
            await reader.find(source, case(1), frozenset({"Email"}))
        await lookup.read(Source("Case"), case(2), ["IsDeleted"])
        with pytest.raises(Rejected, match="UNKNOWN_EXCEPTION"):
            await reader.find(source, case(1), frozenset({"Email"}))

    simulate(play())


class Merging(Org):
    """Case 1 was merged into case 2, which is locked once. The question which case survives takes a second."""

    def __init__(self) -> None:
        super().__init__()
        self.locks = 1

    async def query(self, _: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        assert deleted
        await asyncio.sleep(1)
        return [{"MasterRecordId": case(2)}]

    async def update(self, _: str, records: Sequence[dict[str, object]], __: CallOptions) -> list[Result]:
        await asyncio.sleep(0.1)
        return [self._written(str(record["Id"])) for record in records]

    def _written(self, key: str) -> Result:
        code = "ENTITY_IS_DELETED" if key == case(1) else "ENTITY_IS_LOCKED" if self.locks else None
        if key == case(2):
            self.locks = 0
        return Result(code is None, key, error=errors.from_record(problem(code), "update Case") if code else None)


def test_a_write_that_followed_a_merge_goes_on_when_the_write_of_another_rule_before_it_has_paused() -> None:
    """Nobody told the calls of its own headers, so it waited until some other call ended, perhaps for hours."""

    async def play() -> list[Result]:
        writer = CollectionWriter(Merging(), clock=asyncio.get_running_loop().time)
        first = asyncio.create_task(writer.write(RecordWrite("update", "Case", "Id", case(1), {"Score__c": 1})))
        await asyncio.sleep(0.5)
        assigned = CallOptions(auto_assign=True)
        other = writer.write(RecordWrite("update", "Case", "Id", case(2), {"Status": "New"}, options=assigned))
        return [*await asyncio.gather(first, other)]

    assert [result.success for result in simulate(play())] == [True, True]


def test_a_deleted_record_whose_survivor_salesforce_fails_to_tell_holds_nobody() -> None:
    """A held rule is tried with its oldest work, so this record would have held all that came after it."""

    async def play() -> Result:
        org = Merging()
        org.query = failing_query  # type: ignore[method-assign]
        writer = CollectionWriter(org, clock=asyncio.get_running_loop().time)
        return await writer.write(RecordWrite("update", "Case", "Id", case(1), {"Score__c": 1}))

    error = simulate(play()).error
    assert isinstance(error, Rejected)
    assert error.code == "ENTITY_IS_DELETED"


async def failing_query(_: str, *, deleted: bool = False) -> list[dict[str, Any]]:
    assert deleted
    raise failing()


def test_of_a_record_that_is_not_found_no_reference_is_to_blame() -> None:
    """The dead letter named the reference as the cause, and the record was called a second time without it."""

    class References(Org):
        async def describe(self, _: str) -> dict[str, Any]:
            told = {"updateable": True, "createable": True, "nillable": True}
            return {"fields": [{"name": "ContactId", "type": "reference", **told}]}

        async def query(self, *_: object, **__: object) -> list[dict[str, Any]]:
            return []

    gone = Rejected("update Case: NOT_FOUND", code="NOT_FOUND")
    org = References(lambda *_: gone)
    write = RecordWrite("update", "Case", "Id", case(1), {"ContactId": "003000000000001AAA"})
    (result,) = simulate(all_of(org, [write]))
    assert (result.error, len(org.calls)) == (gone, 1)
