"""What the connector sends when a value is empty, or when its Salesforce field does not take it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from helpers.plans import carry_out
from helpers.simulated_loop import simulate
from hypothesis import given
from hypothesis import strategies as st

from connector.config import FeedbackRule
from connector.errors import ConnectorError, Fatal, Rejected, Retryable
from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.observe.metrics import Metrics
from connector.records import Feedback, Write, read
from connector.retry import Lasts
from connector.salesforce import CallOptions, Choice, CollectionWriter, RecordWrite, Result, errors
from connector.stages.write import WriteBack

FIELDS = [
    {"name": "Comment__c", "type": "textarea", "length": 10, "nillable": True},
    {"name": "Long__c", "type": "string", "length": 40},
    {"name": "Email__c", "type": "email", "length": 20, "nillable": True},
    {"name": "Score__c", "type": "double", "precision": 3, "scale": 1, "nillable": True},
    {"name": "Count__c", "type": "int", "nillable": True},
    {"name": "Opt_In__c", "type": "boolean", "nillable": False},
    {"name": "Day__c", "type": "date", "nillable": True},
    {"name": "At__c", "type": "datetime", "nillable": True},
    {"name": "Opens__c", "type": "time", "nillable": True},
    {
        "name": "Channel__c",
        "type": "picklist",
        "length": 40,
        "nillable": True,
        "restrictedPicklist": True,
        "picklistValues": [{"value": "Web", "active": True}, {"value": "Fax", "active": False}],
    },
    {
        "name": "Topics__c",
        "type": "multipicklist",
        "length": 40,
        "nillable": True,
        "restrictedPicklist": True,
        "picklistValues": [{"value": value, "active": True} for value in ("Price", "Speed")],
    },
]


class Org:
    """Describes one object, and takes each record for which `refuses` returns nothing."""

    def __init__(self) -> None:
        self.fields = FIELDS
        self.describe_fails: list[ConnectorError] = []
        self.described = 0
        self.calls: list[tuple[list[dict[str, object]], CallOptions]] = []

    async def describe(self, _: str) -> dict[str, Any]:
        self.described += 1
        if self.describe_fails:
            raise self.describe_fails.pop(0)
        return {"fields": self.fields}

    def refuses(self, _: dict[str, object]) -> list[dict[str, Any]]:
        return []

    async def upsert(self, _: str, __: str, records: Sequence[dict[str, object]], options: CallOptions) -> list[Result]:
        self.calls.append(([*records], options))
        return [self._result(record) for record in records]

    async def update(self, _: str, records: Sequence[dict[str, object]], options: CallOptions) -> list[Result]:
        return await self.upsert("", "", records, options)

    def _result(self, record: dict[str, object]) -> Result:
        if problems := self.refuses(record):
            return Result(False, error=errors.from_record(problems, "update Answer__c"))
        return Result(True, id="a00")

    async def limits(self) -> object:
        return {}

    @property
    def sent(self) -> list[dict[str, object]]:
        """The records of all calls, without their keys."""
        records = [record for records, _ in self.calls for record in records]
        return [{name: value for name, value in record.items() if name != "Id"} for record in records]


def write(key: str = "a00", choice: Choice = Choice(), **fields: Any) -> RecordWrite:  # noqa: B008 - it is frozen
    return RecordWrite("update", "Answer__c", "Id", key, fields, dict.fromkeys(fields, choice))


async def written(org: Org, *writes: RecordWrite) -> list[Any]:
    writer = CollectionWriter(org)
    return [await writer.write(each) for each in writes]


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("Comment__c", "short", "short"),
        ("Comment__c", 9, "9"),
        ("Comment__c", 9.0, "9"),
        ("Comment__c", True, "true"),
        ("Comment__c", " 9\n", " 9\n"),
        ("Comment__c", Decimal("9.10"), "9.10"),
        ("Long__c", 1e22, "10000000000000000000000"),
        ("Long__c", Decimal("123456789012345678.90"), "123456789012345678.90"),
        ("Email__c", "jane@example.com", "jane@example.com"),
        ("Score__c", "9", 9),
        ("Score__c", "-9.5", Decimal("-9.5")),
        ("Score__c", " 9.10\n", Decimal("9.10")),
        ("Score__c", "1.23456789012345678901", Decimal("1.23456789012345678901")),
        ("Score__c", 0, 0),
        ("Count__c", 9.0, 9),
        ("Opt_In__c", "1", True),
        ("Opt_In__c", 0, False),
        ("Opt_In__c", "FALSE", False),
        ("Opt_In__c", "true\n", True),
        ("Opt_In__c", 1.0, True),
        ("Day__c", "2026-01-31", "2026-01-31"),
        ("Day__c", "20260131", "2026-01-31"),
        ("Day__c", "2026-W05-6", "2026-01-31"),
        ("Day__c", "2026-01-31T23:30:00-05:00", "2026-01-31"),
        ("At__c", "2026-01-31", "2026-01-31T00:00:00.000Z"),
        ("At__c", "2026-01-31 09:30", "2026-01-31T09:30:00.000Z"),
        ("At__c", "2026-01-31T09:30:00.000+0000", "2026-01-31T09:30:00.000Z"),
        ("At__c", "2026-01-31T09:30:00,5+03", "2026-01-31T06:30:00.500Z"),
        ("Opens__c", "09:30:00Z", "09:30:00.000Z"),
        ("Opens__c", "0930", "09:30:00.000Z"),
        ("Opens__c", "01:30+03:00", "22:30:00.000Z"),
        ("Channel__c", "Web", "Web"),
        ("Channel__c", " Web\n", "Web"),
        ("Topics__c", "Speed;Price", "Speed;Price"),
        ("Unknown__c", "x" * 300, "x" * 300),
        ("comment__C", "short", "short"),
    ],
)
async def test_a_value_that_fits_is_sent_in_the_type_of_its_field(name: str, value: object, sent: object) -> None:
    org = Org()
    [result] = await written(org, write(**{name: value}))
    assert org.sent == [{name: sent}]
    assert type(org.sent[0][name]) is type(sent)
    assert (result.success, result.cut, result.left_out) == (True, {}, {})


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("Comment__c", "a long comment", "at most 10 characters"),
        ("Email__c", "somebody.long@example.com", "at most 20 characters"),
        ("Score__c", "nine", "a number"),
        ("Score__c", "1_0", "a number"),
        ("Score__c", True, "a number"),
        ("Score__c", 100, "at most 2 digits"),
        ("Count__c", 9.5, "a whole number"),
        ("Count__c", 2**31, "a whole number"),
        ("Opt_In__c", "perhaps", "true or false"),
        ("At__c", "0001-01-01T00:00:00+14:00", "a date and time such as"),
        ("Day__c", "yesterday", "a date such as"),
        ("Day__c", 1_795_500_000, "a date such as"),
        ("At__c", "noon", "a date and time such as"),
        ("Opens__c", "noon", "a time such as"),
        ("Channel__c", "Pigeon", "one of Web"),
        ("Channel__c", "Fax", "one of Web"),
        ("Topics__c", "Speed;Taste", "one of Price, Speed"),
    ],
)
async def test_a_value_that_does_not_fit_is_left_out_and_the_rest_is_written(
    name: str, value: object, why: str
) -> None:
    """Report 25. The reason says what would fit, and masks the customer's value."""
    org = Org()
    [result] = await written(org, write(**{name: value, "Other__c": "rest"}))
    assert org.sent == [{"Other__c": "rest"}]
    assert result.success
    assert why in result.left_out[name]
    assert isinstance(value, bool) or str(value) not in result.left_out[name]


async def test_a_text_is_cut_and_nothing_else() -> None:
    """Half an address or half a picklist value is worse than none, so those are left out."""
    org, cut = Org(), Choice(does_not_fit="cut")
    [result] = await written(
        org, write(choice=cut, Comment__c="a long comment", Email__c="somebody.long@example.com", Channel__c="Pigeon")
    )
    assert org.sent == [{"Comment__c": "a long com"}]
    assert result.cut == {"Comment__c": "a*** (14 characters) does not fit: at most 10 characters"}
    assert result.left_out.keys() == {"Email__c", "Channel__c"}


async def test_one_value_that_must_fit_refuses_the_whole_record() -> None:
    org = Org()
    choices = {"Comment__c": Choice(does_not_fit="refuse")}
    fields = {"Comment__c": "a long comment", "Score__c": 9}
    [result] = await written(org, RecordWrite("update", "Answer__c", "Id", "a00", fields, choices))
    assert org.calls == []
    assert "Comment__c: a*** (14 characters) does not fit: at most 10 characters" in str(result.error)
    assert "a long" not in str(result.error)


async def test_one_value_that_salesforce_refuses_and_that_must_fit_refuses_the_record_without_telling_it() -> None:
    """Salesforce's own message quotes the value."""
    org = Org()
    said = "bad value for restricted picklist field: Web"
    refusal = {"statusCode": "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "message": said, "fields": ["Channel__c"]}
    org.refuses = lambda _: [refusal]  # type: ignore[method-assign]
    [result] = await written(org, write(choice=Choice(does_not_fit="refuse"), Channel__c="Web", Score__c=9))
    assert len(org.calls) == 1
    assert "Channel__c: Salesforce refused *** (3 characters): INVALID_OR_NULL" in str(result.error)
    assert "Web" not in str(result.error)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        pytest.param("Comment__c", 10**5000, "a number of at most 4,300 digits", id="for-a-text"),
        pytest.param("Opt_In__c", 10**5000, "a number of at most 4,300 digits", id="for-a-checkbox"),
        pytest.param("Score__c", "9" * 5000, "at most 2 digits before the point", id="for-a-number"),
    ],
)
async def test_a_number_that_python_does_not_write_is_left_out(name: str, value: object, why: str) -> None:
    org = Org()
    [result] = await written(org, write(**{name: value, "Other__c": "rest"}))
    assert org.sent == [{"Other__c": "rest"}]
    assert why in result.left_out[name]


async def test_a_value_that_breaks_the_fitting_costs_no_other_write_anything() -> None:
    class Odd:
        def __str__(self) -> str:
            raise ZeroDivisionError("a secret")

    writer = CollectionWriter(Org())
    writes = [write("a01", Comment__c=Odd()), write("a02", Comment__c="even")]
    odd, even = await asyncio.gather(*map(writer.write, writes))
    assert even.success
    assert "ZeroDivisionError while the values were made to fit" in str(odd.error)
    assert "secret" not in str(odd.error)


@pytest.mark.parametrize("choice", ["cut", "leave_out"])
async def test_half_a_number_is_never_written(choice: Any) -> None:
    org = Org()
    [result] = await written(org, write(choice=Choice(does_not_fit=choice), Comment__c=10**12, Score__c=9))
    assert org.sent == [{"Score__c": 9}]
    assert result.left_out.keys() == {"Comment__c"}


@given(st.text(), st.integers(1, 20))
def test_a_cut_text_is_the_beginning_and_fits_however_its_characters_are_counted(text: str, length: int) -> None:
    """Salesforce may count an emoji as one character or as two."""
    org = Org()
    org.fields = [{"name": "Comment__c", "type": "string", "length": length}]
    [result] = simulate(written(org, write(choice=Choice(does_not_fit="cut"), Comment__c=text, Score__c=9)))
    if result.left_out:  # nothing would be left to see
        assert text[:length].strip() == "" or length == 1
        return
    [sent] = [record["Comment__c"] for record in org.sent]
    assert text.startswith(str(sent))
    assert len(str(sent)) <= length
    if result.cut:
        assert len(str(sent).encode("utf-16-le")) <= 2 * length < len(text.encode("utf-16-le"))
    else:
        assert sent == text


@pytest.mark.parametrize(
    ("when_empty", "sent", "kept"),
    [
        ("keep", {"Score__c": 9}, {}),
        ("clear", {"Score__c": 9, "Comment__c": None}, {"Opt_In__c": "the field cannot be empty"}),
    ],
)
async def test_an_empty_value_keeps_or_clears_its_field_and_never_a_checkbox(
    when_empty: Any, sent: dict[str, object], kept: dict[str, str]
) -> None:
    """Reports 14 and 11."""
    org = Org()
    empty = {"Comment__c": None, "Opt_In__c": None}
    [result] = await written(org, write(choice=Choice(when_empty=when_empty), Score__c=9, **empty))
    assert org.sent == [sent]
    assert (result.success, result.left_out, result.kept) == (True, {}, kept)


@pytest.mark.parametrize("also", [{}, {"score": "9"}])
async def test_a_field_that_salesforce_does_not_empty_stays_and_the_write_says_so(also: dict[str, str]) -> None:
    org = Org()

    def refuses(record: dict[str, object]) -> list[dict[str, Any]]:
        problem = {"statusCode": "REQUIRED_FIELD_MISSING", "message": "no", "fields": ["Comment__c"]}
        return [problem] if "Comment__c" in record else []

    org.refuses = refuses  # type: ignore[method-assign]
    fields = {"Comment__c": "{{ body.comment }}", "Score__c": "{{ body.score }}"}
    stage = Stage(org, fields={**fields, "Comment__c": {"value": "{{ body.comment }}", "when_empty": "clear"}})
    await stage.takes(comment="", **also)
    [write] = stage.writes
    assert (write.success, write.left_out, stage.letters) == (True, {}, [])
    assert write.kept == {"Comment__c": "Salesforce refused no value: REQUIRED_FIELD_MISSING"}


async def test_an_update_with_nothing_to_write_makes_no_call() -> None:
    org = Org()
    [result] = await written(org, write(Comment__c=None))
    assert (result.success, result.id, org.calls) == (True, "a00", [])


async def test_what_salesforce_refuses_by_name_is_left_out_and_the_rest_is_written() -> None:
    """Such as a picklist value that exists but not for this record's type, which describe does not tell."""
    org = Org()

    def refuses(record: dict[str, object]) -> list[dict[str, Any]]:
        code = "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
        return [{"statusCode": code, "message": "no", "fields": ["CHANNEL__C"]}] if "Channel__c" in record else []

    org.refuses = refuses  # type: ignore[method-assign]
    [result] = await written(org, write(Channel__c="Web", Score__c=9))
    assert org.sent == [{"Channel__c": "Web", "Score__c": 9}, {"Score__c": 9}]
    assert result.left_out == {
        "Channel__c": "Salesforce refused *** (3 characters): INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
    }


@given(
    values=st.dictionaries(
        st.sampled_from(["A__c", "B__c", "C__c", "D__c"]), st.none() | st.text(min_size=1, max_size=4)
    ),
    known=st.sets(st.sampled_from(["A__c", "B__c"])),
    refused=st.sets(st.sampled_from(["A__c", "B__c", "C__c"])),
    when_empty=st.sampled_from(["keep", "clear"]),
    at_once=st.booleans(),
)
def test_every_value_is_written_or_named_whatever_salesforce_refuses(
    values: dict[str, str | None], known: set[str], refused: set[str], when_empty: Any, at_once: bool
) -> None:
    """The writer ends: a field that was refused is never sent again, with or without a description."""
    org = Org()
    org.fields = [{"name": name, "type": "string", "length": 2, "nillable": True} for name in known]

    def refuses(record: dict[str, object]) -> list[dict[str, Any]]:
        named = sorted(refused & record.keys())[: None if at_once else 1]
        return [{"statusCode": "FIELD_INTEGRITY_EXCEPTION", "message": "no", "fields": named}] if named else []

    org.refuses = refuses  # type: ignore[method-assign]
    asked = RecordWrite("upsert", "Answer__c", "Key__c", "a", values, dict.fromkeys(values, Choice(when_empty)))
    [result] = simulate(written(org, asked))
    assert result.success
    assert not refused & result.fields.keys()
    assert len(org.calls) <= 1 + len(refused)
    given = {name for name, value in values.items() if value is not None}
    assert {*result.left_out} | {name for name, value in result.fields.items() if value is not None} == given
    assert not result.left_out.keys() & result.fields.keys()


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("STRING_TOO_LONG", ["Elsewhere__c"]),
        ("STRING_TOO_LONG", []),
        ("MALFORMED_ID", ["Id"]),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", ["Score__c"]),
        ("REQUIRED_FIELD_MISSING", ["Score__c"]),
    ],
)
async def test_a_refusal_that_leaving_out_does_not_help_refuses_the_record(code: str, fields: list[str]) -> None:
    org = Org()
    org.refuses = lambda _: [{"statusCode": code, "message": "no", "fields": fields}]  # type: ignore[method-assign]
    [result] = await written(org, write(Score__c=9))
    assert isinstance(result.error, Rejected)
    assert len(org.calls) == 1


async def test_of_several_refused_values_each_is_left_out_for_its_own_reason_and_unsent_fields_do_not_matter() -> None:
    org = Org()

    def refuses(record: dict[str, object]) -> list[dict[str, Any]]:
        email = {"statusCode": "INVALID_EMAIL_ADDRESS", "message": "no", "fields": ["Email__c"]}
        copied = {"statusCode": "STRING_TOO_LONG", "message": "no", "fields": ["Comment__c", "Copy_Of_Comment__c"]}
        return [email, copied] if record.keys() & {"Email__c", "Comment__c"} else []

    org.refuses = refuses  # type: ignore[method-assign]
    [result] = await written(org, write(Email__c="x@y", Comment__c="hi", Score__c=9))
    assert org.sent[-1] == {"Score__c": 9}
    assert {name: why.split(": ")[1] for name, why in result.left_out.items()} == {
        "Email__c": "INVALID_EMAIL_ADDRESS",
        "Comment__c": "STRING_TOO_LONG",
    }


@pytest.mark.parametrize("operation", ["upsert", "update"])
@pytest.mark.parametrize("code", ["INVALID_CROSS_REFERENCE_KEY", "ENTITY_IS_DELETED", "MALFORMED_ID"])
async def test_a_reference_to_a_record_that_is_gone_is_left_out_also_when_salesforce_does_not_name_it(
    code: str, operation: Any
) -> None:
    org = Org()
    org.fields = [*FIELDS, {"name": "Case__c", "type": "reference", "length": 18}]
    org.refuses = lambda record: (  # type: ignore[method-assign]
        [{"statusCode": code, "message": "no", "fields": []}] if "Case__c" in record else []
    )
    values: dict[str, Any] = {"Case__c": "500", "Score__c": 9}
    [result] = await written(org, RecordWrite(operation, "Answer__c", "Id", "a00", values))
    assert result.success
    assert result.fields == {"Score__c": 9}
    assert result.left_out == {"Case__c": f"Salesforce refused *** (3 characters): {code}"}


class Merged(Org):
    """Every record but `last` is merged into the one that `into` names, and Salesforce does not say which it means."""

    def __init__(self, into: dict[str, str], last: str) -> None:
        super().__init__()
        self.into, self.last = into, last

    def refuses(self, record: dict[str, object]) -> list[dict[str, Any]]:
        points_to_last = record.get("Case__c") in {self.last, None}
        return [] if points_to_last else [{"statusCode": "ENTITY_IS_DELETED", "message": "no", "fields": []}]

    async def query(self, query: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        assert query.startswith("SELECT MasterRecordId FROM Case WHERE Id = '500")
        assert deleted
        return [{"MasterRecordId": self.into[query.split("'")[1]]}]


CASES = [f"500{number:012}" for number in range(40)]


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("merges", [1, 9])
async def test_a_reference_is_followed_also_when_salesforce_does_not_name_it(merges: int, described: bool) -> None:
    """Report 28. Without a description, whatever looks like the id of such a record may be what it means."""
    org = Merged(dict(pairwise(CASES)), CASES[merges])
    org.fields = [*FIELDS, {"name": "Case__c", "type": "reference", "length": 18}] if described else []
    [result] = await written(org, write(Case__c=CASES[0], Score__c=9))
    assert result.fields == {"Case__c": CASES[merges], "Score__c": 9}


NAMES = ["A__c", "B__c", "C__c", "D__c"]


class Moody(Merged):
    """Refuses each field for a reason of its own, all at once or one after the other."""

    def __init__(self, reasons: dict[str, str], at_once: bool) -> None:
        super().__init__(dict(pairwise(CASES)), CASES[3])
        self.fields = []
        self.reasons, self.at_once = reasons, at_once

    def refuses(self, record: dict[str, object]) -> list[dict[str, Any]]:
        found = [problem for name in NAMES if name in record and (problem := self._problem(name, record[name]))]
        return found if self.at_once else found[:1]

    def _problem(self, name: str, value: object) -> dict[str, Any] | None:
        code = self.reasons.get(name, "")
        fits = {
            "STRING_TOO_LONG": len(str(value)) <= 2 or value is None,
            "REQUIRED_FIELD_MISSING": value is not None,
            "INVALID_CROSS_REFERENCE_KEY": value in {None, self.last},
            "FIELD_INTEGRITY_EXCEPTION": False,
            "": True,
        }
        message = f"{name}: no (max length=2)"
        return None if fits[code] else {"statusCode": code, "message": message, "fields": [name.upper()]}


@given(
    st.dictionaries(st.sampled_from(NAMES), st.none() | st.text(min_size=1, max_size=6) | st.sampled_from(CASES[:4])),
    st.dictionaries(
        st.sampled_from(NAMES),
        st.sampled_from(
            ["STRING_TOO_LONG", "REQUIRED_FIELD_MISSING", "INVALID_CROSS_REFERENCE_KEY", "FIELD_INTEGRITY_EXCEPTION"]
        ),
    ),
    st.sampled_from(["keep", "clear"]),
    st.sampled_from(["cut", "leave_out", "refuse"]),
    st.booleans(),
)
def test_every_value_is_written_cut_or_named_whatever_the_reasons(
    values: dict[str, str | None], reasons: dict[str, str], when_empty: Any, does_not_fit: Any, at_once: bool
) -> None:
    org = Moody(reasons, at_once)
    choices = dict.fromkeys(values, Choice(when_empty, does_not_fit))
    [result] = simulate(written(org, RecordWrite("upsert", "Answer__c", "Key__c", "a", values, choices)))
    assert result.success == (result.error is None)
    if not result.success:
        assert does_not_fit == "refuse"
        assert result.error.code == "does_not_fit"
        return
    assert result.fields == {name: value for name, value in org.sent[-1].items() if name != "Key__c"}
    for name, value in values.items():
        written_as = result.fields.get(name)
        if value is None:
            assert written_as is None
        elif name not in result.left_out:
            assert written_as in {value, org.last} or (name in result.cut and value.startswith(str(written_as)))
        else:
            assert name not in result.fields


async def test_merges_in_a_circle_end() -> None:
    org = Merged({CASES[0]: CASES[1], CASES[1]: CASES[0]}, "")
    org.fields = [*FIELDS, {"name": "Case__c", "type": "reference", "length": 18}]
    [result] = await written(org, write(Case__c=CASES[0], Score__c=9))
    assert (result.fields, result.left_out.keys()) == ({"Score__c": 9}, {"Case__c"})


async def test_a_record_that_is_gone_is_told_from_a_reference_that_is() -> None:
    org = Org()
    org.fields = [*FIELDS, {"name": "Case__c", "type": "reference", "length": 18}]
    org.refuses = lambda _: [{"statusCode": "ENTITY_IS_DELETED", "message": "no", "fields": []}]  # type: ignore[method-assign]
    rule = {"fields": {"Case__c": "{{ body.case }}", "Score__c": 9}}
    with pytest.raises(Rejected) as caught:
        await Stage(org, **rule).takes(case="500")
    assert caught.value.code == "record_gone"
    assert len(org.calls) == 2
    with pytest.raises(Rejected) as caught:
        await Stage(org, **rule, update=None, upsert="Answer__c", by={"Key__c": "{{ body.id }}"}).takes(case="500")
    assert caught.value.code == "write_rejected"


@pytest.mark.parametrize(("outages", "expected"), [(1, Rejected), (10_000, Lasts)])
def test_an_outage_of_the_query_for_the_survivor_is_waited_out_with_the_usual_patience(
    outages: int, expected: type[Exception]
) -> None:
    class Merges(Org):
        left = outages

        async def query(self, _: str, *, deleted: bool = False) -> list[dict[str, Any]]:
            assert deleted
            self.left -= 1
            if self.left >= 0:
                raise Retryable("no answer")
            return []

    async def play() -> list[Any]:
        org = Merges()
        org.refuses = lambda _: [{"statusCode": "ENTITY_IS_DELETED", "message": "no", "fields": []}]  # type: ignore[method-assign]
        writer = CollectionWriter(org, clock=asyncio.get_running_loop().time)
        writes = [RecordWrite("update", "case", "Id", "500", {"Score__c": score}) for score in (1, 2)]
        return await asyncio.gather(*map(writer.write, writes), return_exceptions=True)

    for result in simulate(play()):
        assert isinstance(getattr(result, "error", result), expected)


async def test_tries_that_leave_out_values_do_not_count_as_tries_of_a_failing_record() -> None:
    """The same holds for an upsert that lost a race after a value was left out."""
    org, names = Org(), [f"Bad_{number}__c" for number in range(4)]
    codes = ["UNKNOWN_EXCEPTION", "DUPLICATE_VALUE"]

    def refuses(record: dict[str, object]) -> list[dict[str, Any]]:
        if bad := next((name for name in names if name in record), None):
            return [{"statusCode": "STRING_TOO_LONG", "message": "no", "fields": [bad]}]
        return [{"statusCode": refused_once.pop(), "message": "no", "fields": []}] if refused_once else []

    org.refuses = refuses  # type: ignore[method-assign]
    for code in codes:
        refused_once = [code]
        fields: dict[str, Any] = {**dict.fromkeys(names, "x"), "Score__c": 9}
        [result] = await written(org, RecordWrite("upsert", "Answer__c", "Key__c", "k", fields))
        assert result.success
        assert result.left_out.keys() == {*names}


async def test_an_update_of_which_no_value_fits_is_not_called_written() -> None:
    org = Org()
    stage = Stage(org, fields={"Comment__c": "{{ body.comment }}"})
    with pytest.raises(Rejected, match=r"Comment__c: a.* at most 10 characters\. Nothing was written"):
        await stage.takes(comment="a long comment")
    assert (org.calls, stage.letters) == ([], [])
    [write] = stage.writes
    assert not write.success


@pytest.mark.parametrize(
    "code", ["FIELD_CUSTOM_VALIDATION_EXCEPTION", "REQUIRED_FIELD_MISSING", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"]
)
async def test_a_refusal_of_the_whole_record_beside_one_of_a_value_refuses_the_record(code: str) -> None:
    """Without its score, a record would pass a rule that detractors give a reason."""
    org = Org()
    org.refuses = lambda _: [  # type: ignore[method-assign]
        {"statusCode": "INVALID_EMAIL_ADDRESS", "message": "no", "fields": ["Email__c"]},
        {"statusCode": code, "message": "no", "fields": ["Score__c"]},
    ]
    [result] = await written(org, write(Email__c="x@y", Score__c=2))
    assert len(org.calls) == 1
    assert isinstance(result.error, Rejected)
    assert result.error.code == code


@given(
    st.text("a\U0001f600", min_size=1, max_size=12),
    st.integers(1, 10),
    st.sampled_from([{}, {"length": 11}, {"length": 4}]),
    st.sampled_from(["cut", "leave_out", "refuse"]),
)
def test_a_length_that_salesforce_counts_otherwise_ends_with_what_it_takes(
    text: str, most: int, described: dict[str, int], choice: Any
) -> None:
    """An emoji may count as two characters. Whatever we knew, the writer ends, and the neighbour is written."""
    org = Org()
    org.fields = [{"name": "Comment__c", "type": "string", "nillable": True, **described}] if described else []

    def refuses(record: dict[str, object]) -> list[dict[str, Any]]:
        units = len(str(record.get("Comment__c", "")).encode("utf-16-le")) // 2
        said = f"Comment__c: data value too large: {text} (max length={most})"
        return [{"statusCode": "STRING_TOO_LONG", "message": said, "fields": ["Comment__c"]}] if units > most else []

    org.refuses = refuses  # type: ignore[method-assign]
    [result] = simulate(written(org, write(choice=Choice(does_not_fit=choice), Comment__c=text, Score__c=9)))
    assert result.success == (not result.error)
    if result.success:
        assert result.fields["Score__c"] == 9
        assert choice != "refuse" or not result.left_out
        sent = result.fields.get("Comment__c")
        assert sent == text or (choice == "cut" and sent and text.startswith(sent)) or "Comment__c" in result.left_out
    else:
        assert choice == "refuse"


@pytest.mark.parametrize(
    ("message", "cut"),
    [
        ("Comment__c: data value too large: 0123456789... (max length=5)", "01234"),
        ("Comment__c: Datenwert zu groß: 0123456789... (maximale Länge=5) ", "01234"),
        ("Comment__c: data value too large: it was (length=3)... (max length=5)", "01234"),
        ("Comment__c: data value too large: it was (length=3)", "012"),
        ("Comment__c: data value too large", None),
        ("Comment__c: (max length=)", None),
    ],
)
async def test_the_length_is_the_last_thing_that_the_refusal_says(message: str, cut: str | None) -> None:
    """Where it is not said, the text is left out."""
    org = Org()
    org.fields = []
    org.refuses = lambda record: (  # type: ignore[method-assign]
        [{"statusCode": "STRING_TOO_LONG", "message": message, "fields": ["Comment__c"]}]
        if len(str(record.get("Comment__c", ""))) > 5
        else []
    )
    [result] = await written(org, write(choice=Choice(does_not_fit="cut"), Comment__c="0123456789", Score__c=9))
    assert (result.success, result.fields["Score__c"], result.fields.get("Comment__c")) == (True, 9, cut)


@pytest.mark.parametrize("words", ["System.LimitException", "record currently unavailable", "row lock"])
@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("STRING_TOO_LONG", ["Comment__c"]),
        ("STRING_TOO_LONG", []),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", []),
        ("DUPLICATES_DETECTED", []),
        ("SOMETHING_NEW", ["Comment__c"]),
    ],
)
def test_a_lock_or_limit_in_a_quoted_value_is_none(code: str, fields: list[str], words: str) -> None:
    problem = {"statusCode": code, "message": f"value too large: they said {words} and", "fields": fields}
    assert type(errors.from_record([problem], "update Answer__c")) in {Rejected, errors.FieldsRefused}


@pytest.mark.parametrize("code", ["CANNOT_EXECUTE_FLOW_TRIGGER", "APEX_ERROR", "SOMETHING_NEW"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("T: System.LimitException: Too many SOQL queries: 101", errors.BatchTooLarge),
        ("T: UNABLE_TO_LOCK_ROW, unable to obtain exclusive access to this record", Retryable),
        ("could not get the row lock", Retryable),
        ("the arrow locker is empty", Rejected),
    ],
)
def test_a_code_that_wraps_others_is_told_by_its_words(code: str, words: str, expected: type[ConnectorError]) -> None:
    problem = {"statusCode": code, "message": words, "fields": []}
    assert type(errors.from_record([problem], "update Answer__c")) is expected


def test_fields_are_asked_for_once_and_again_when_an_old_description_is_wrong() -> None:
    """An administrator shortens the field: the next refusal makes the writer ask again, and then it cuts to fit."""

    async def play() -> tuple[Org, list[Any]]:
        now, org = [0.0], Org()
        writer = CollectionWriter(org, clock=lambda: now[0])
        cut = Choice(does_not_fit="cut")
        found = [await writer.write(write("a01", cut, Comment__c="0123456789")) for _ in range(3)]
        assert org.described == 1
        org.fields = [{**FIELDS[0], "length": 5}]

        def refuses(record: dict[str, object]) -> list[dict[str, Any]]:
            too_long = len(str(record["Comment__c"])) > 5
            return [{"statusCode": "STRING_TOO_LONG", "message": "no", "fields": ["Comment__c"]}] if too_long else []

        org.refuses = refuses  # type: ignore[method-assign]
        now[0] = 120.0
        found.append(await writer.write(write("a01", cut, Comment__c="0123456789")))
        return org, found

    org, found = simulate(play())
    assert org.sent[-2:] == [{"Comment__c": "0123456789"}, {"Comment__c": "01234"}]
    assert [bool(result.cut) for result in found] == [False, False, False, True]
    assert org.described == 2


def test_all_writes_of_a_call_profit_from_the_new_description() -> None:
    async def play() -> list[Any]:
        now, org = [0.0], Org()
        writer = CollectionWriter(org, clock=lambda: now[0])
        cut = Choice(does_not_fit="cut")
        await writer.write(write("a00", cut, Comment__c="x"))
        org.fields = [{**FIELDS[0], "length": 5}]

        def refuses(record: dict[str, object]) -> list[dict[str, Any]]:
            too_long = len(str(record["Comment__c"])) > 5
            return [{"statusCode": "STRING_TOO_LONG", "message": "no", "fields": ["Comment__c"]}] if too_long else []

        org.refuses = refuses  # type: ignore[method-assign]
        now[0] = 120.0
        return await asyncio.gather(*[writer.write(write(f"a1{n}", cut, Comment__c="0123456789")) for n in range(4)])

    assert [result.fields for result in simulate(play())] == [{"Comment__c": "01234"}] * 4


@pytest.mark.parametrize(("age", "described", "fits"), [(30.0, 1, False), (120.0, 2, True)])
async def test_an_old_description_is_asked_for_again_before_a_value_is_left_out(
    age: float, described: int, fits: bool
) -> None:
    """An administrator has just added the picklist value."""
    now, org = [0.0], Org()
    writer = CollectionWriter(org, clock=lambda: now[0])
    await writer.write(write("a00", Channel__c="Web"))
    org.fields = [{"name": "Channel__c", "type": "picklist", "length": 40}]
    now[0] = age
    result = await writer.write(write("a01", Channel__c="Pigeon", Other__c="rest"))
    assert ("Channel__c" in result.fields) == fits
    assert org.described == described


def test_a_description_is_asked_for_again_after_an_hour() -> None:
    async def play() -> int:
        now, org = [0.0], Org()
        writer = CollectionWriter(org, clock=lambda: now[0])
        for hours in (0, 0.5, 1.5):
            now[0] = hours * 3600
            await writer.write(write(Score__c=9))
        return org.described

    assert simulate(play()) == 2


def test_an_outage_of_describe_writes_nothing_and_blames_no_record() -> None:
    """Rule 4, also for a 5xx that would blame a record if it came to a write."""

    async def play() -> tuple[Org, list[Any]]:
        org = Org()
        org.describe_fails = [*[errors.Failing("HTTP 500")] * 50, Retryable("no answer")] * 50
        writer = CollectionWriter(org, clock=asyncio.get_running_loop().time)
        writes = (writer.write(write(str(number), Score__c=9)) for number in range(5))
        return org, await asyncio.gather(*writes, return_exceptions=True)

    org, results = simulate(play())
    assert {type(result) for result in results} == {Lasts}
    assert org.calls == []


@pytest.mark.parametrize("described", [{}, {"fields": None}, {"fields": ["a"]}, {"fields": [{"label": "Name"}]}])
def test_a_description_of_another_shape_is_an_outage(described: dict[str, Any]) -> None:
    """It may come from a proxy. Taken as it is, it would switch off every check for an hour."""

    async def play() -> list[Any]:
        org = Org()

        async def describe(_: str) -> dict[str, Any]:
            return described

        org.describe = describe  # type: ignore[method-assign]
        writer = CollectionWriter(org, clock=asyncio.get_running_loop().time)
        return await asyncio.gather(writer.write(write(Score__c=9)), return_exceptions=True)

    assert [type(result) for result in simulate(play())] == [Lasts]


@pytest.mark.parametrize("error", [Fatal("403 INSUFFICIENT_ACCESS"), Rejected("400")])
async def test_where_describe_is_not_allowed_the_write_goes_on_without(error: ConnectorError) -> None:
    org = Org()
    org.describe_fails = [error]
    results = await written(org, *[write(Comment__c="a long comment")] * 2)
    assert org.sent == [{"Comment__c": "a long comment"}] * 2
    assert all(result.success for result in results)
    assert org.described == 1


async def test_a_refused_credential_is_raised_from_describe_too() -> None:
    org = Org()
    org.describe_fails = [Fatal("invalid_client", whole=True)]
    with pytest.raises(Fatal, match="invalid_client"):
        await written(org, write(Score__c=9))


async def test_writes_with_different_headers_never_share_a_call() -> None:
    """Reports 4 and 24: the headers are those of the whole call."""
    org = Org()
    writer = CollectionWriter(org)
    options = [CallOptions(), CallOptions(auto_assign=True), CallOptions(save_duplicates=True)]
    writes = [
        RecordWrite("update", "Case", "Id", f"50{number}", {"Score__c": number}, options=options[number % 3])
        for number in range(12)
    ]
    await asyncio.gather(*map(writer.write, writes))
    assert sorted(len(records) for records, _ in org.calls) == [4, 4, 4]
    for records, shared in org.calls:
        assert {options[int(str(record["Score__c"])) % 3] for record in records} == {shared}
    assert [dict(each.headers) for each in options] == [
        {"Sforce-Auto-Assign": "FALSE"},
        {"Sforce-Auto-Assign": "TRUE"},
        {"Sforce-Auto-Assign": "FALSE", "Sforce-Duplicate-Rule-Header": "allowSave=true"},
    ]


class Stage:
    """The stage with one rule. `writes` and `letters` are what it publishes."""

    def __init__(self, org: Org, **rule: Any) -> None:
        self.writes: list[Write] = []
        self.letters: list[tuple[str, str]] = []
        self.metrics = Metrics()
        whole = {"update": "Answer__c", "by": {"Id": "{{ body.id }}"}, **rule}
        self._stage = WriteBack(
            {"answer": FeedbackRule.model_validate(whole)},
            CollectionWriter(org),
            self._publish,
            "salesforce.writes",
            read_writes=self._none,
            kept=timedelta(days=1),
            set_aside=self._set_aside,
            metrics=self.metrics,
        )

    async def takes(self, **body: Any) -> None:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        feedback = Feedback(id="ab" * 32, account="main", received_at=at, body={"id": "a00", **body})
        record = InRecord("pisano.feedback", 0, 0, b"key", feedback.model_dump_json().encode(), (), 0.0)
        await carry_out(self._stage.plan, record)

    async def _none(self, _: int) -> AsyncIterator[Write]:
        for write in self.writes:
            yield write

    async def _publish(self, record: OutRecord) -> None:
        if record.topic == "salesforce.writes":
            self.writes.append(read(Write, record.value))

    def _set_aside(
        self, _: InRecord, reason: str, error: Exception, cell: str, fields: Sequence[str] = ()
    ) -> OutRecord:
        assert (cell, bool(fields)) == ("write/answer", reason == "does_not_fit")
        self.letters.append((reason, str(error)))
        return OutRecord("connector.deadletters", b"", b"", [])


async def test_a_value_that_is_left_out_stands_on_the_topic_among_the_dead_letters_and_in_a_metric() -> None:
    org = Org()
    stage = Stage(org, fields={"Comment__c": "{{ body.comment }}", "Score__c": "{{ body.score }}"})
    await stage.takes(comment="a long comment", score=9)
    why = "a*** (14 characters) does not fit: at most 10 characters"
    [write] = stage.writes
    assert (write.success, write.fields, write.left_out) == (True, {"Score__c": 9}, {"Comment__c": why})
    [(reason, said)] = stage.letters
    assert reason == "does_not_fit"
    assert said == f"rule answer: the record was written without Comment__c: {why}"
    labels = {"rule": "answer", "field": "Comment__c", "done": "left_out"}
    assert stage.metrics.registry.get_sample_value("connector_unfit_values_total", labels) == 1


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ body.said | number: ',' }}", "the text is not a number"),
        ("{{ body.said | date_of: '%d.%m.%Y' }}", "the text is not a date"),
        ("{{ body.list }}", "gives a list; a text or number is wanted"),
    ],
)
async def test_a_value_that_cannot_be_rendered_costs_its_field_alone(template: str, said: str) -> None:
    org = Org()
    stage = Stage(org, fields={"Comment__c": template, "Score__c": "{{ body.score }}"})
    await stage.takes(said="a secret", list=["a secret"], score=9)
    assert org.sent == [{"Score__c": 9}]
    [write] = stage.writes
    assert said in write.left_out["Comment__c"]
    [(reason, letter)] = stage.letters
    assert reason == "does_not_fit"
    assert said in letter
    assert "secret" not in letter


async def test_a_value_that_must_fit_and_cannot_be_rendered_refuses_the_record() -> None:
    org = Org()
    stage = Stage(org, does_not_fit="refuse", fields={"Day__c": "{{ body.day | date_of: '%Y' }}", "Score__c": 9})
    with pytest.raises(Rejected, match=r"Day__c: .* Nothing was written"):
        await stage.takes(day="soon")
    assert org.calls == []


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("A1\n", "A1"),
        (5, "5"),
        (5.0, "5"),
        (True, "true"),
        (1e22, "10000000000000000000000"),
        (Decimal("9.50"), "9.50"),
        (123456789012345678901234567890, "123456789012345678901234567890"),
    ],
)
async def test_a_key_is_written_as_a_person_would_write_it(value: object, key: str) -> None:
    org = Org()
    stage = Stage(org, update=None, upsert="Answer__c", by={"Key__c": "{{ body.key }}"}, fields={"Score__c": 9})
    await stage.takes(key=value)
    assert org.sent == [{"Key__c": key, "Score__c": 9}]


async def test_a_rule_chooses_for_its_fields_and_a_field_for_itself() -> None:
    org = Org()
    fields = {
        "Comment__c": "{{ body.comment }}",
        "Email__c": {"value": "{{ body.nothing }}", "when_empty": "keep"},
        "Day__c": "{{ body.nothing }}",
        "Channel__c": {"value": "{{ body.channel }}", "does_not_fit": "leave_out"},
    }
    stage = Stage(org, fields=fields, when_empty="clear", does_not_fit="cut")
    await stage.takes(comment="a long comment", channel="Pigeon")
    [write] = stage.writes
    assert write.fields == org.sent[0] == {"Comment__c": "a long com", "Day__c": None}
    assert (write.cut.keys(), write.left_out.keys()) == ({"Comment__c"}, {"Channel__c"})
    assert len(stage.letters) == 1


async def test_a_rule_chooses_its_headers() -> None:
    org = Org()
    fields = {"Score__c": "{{ body.score }}"}
    await Stage(org, fields=fields).takes(score=9)
    await Stage(org, fields=fields, auto_assign=True, duplicates="save").takes(score=9)
    assert [options for _, options in org.calls] == [CallOptions(), CallOptions(True, True)]


@pytest.mark.parametrize(
    ("code", "reason", "advice"),
    [
        ("DUPLICATES_DETECTED", "write_rejected", "set duplicates: save in this rule"),
        ("ENTITY_IS_DELETED", "record_gone", "ENTITY_IS_DELETED"),
        ("INVALID_CROSS_REFERENCE_KEY", "record_gone", "INVALID_CROSS_REFERENCE_KEY"),
        ("NOT_FOUND", "record_gone", "NOT_FOUND"),
    ],
)
async def test_a_refusal_says_what_can_be_done(code: str, reason: str, advice: str) -> None:
    """Reports 24 and 28."""
    org = Org()
    org.refuses = lambda _: [{"statusCode": code, "message": "no", "fields": []}]  # type: ignore[method-assign]
    stage = Stage(org, fields={"Score__c": "{{ body.score }}"})
    with pytest.raises(Rejected, match=advice) as caught:
        await stage.takes(score=9)
    assert caught.value.code == reason
    assert [write.success for write in stage.writes] == [False]
    assert stage.letters == []
