"""Templates and conditions: a result is one scalar, names are strict, conditions are evaluated from left to right."""

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from connector.templates import Condition, RenderError, Template, TemplateError, Unread, Values

SCOPE: dict[str, Any] = {
    "record": {
        "Id": "5001",
        "Amount": 12.5,
        "Open": False,
        "Nothing": None,
        "Empty": "",
        "Blank": " ",
        "Count": 0,
        "Address": {"city": "Izmir"},
    },
    "changed": ("Status", "Priority"),
    "list": [1, None, 1.0],
    "rows": [{"k": "a", "n": 1}, {"k": "b", "n": 2}],
    "event": {"committed_at": datetime(2026, 3, 1, 12, 30, tzinfo=UTC)},
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ record.Id }}", "5001"),
        ("{{ record.Amount }}", 12.5),
        ("{{ record.Open }}", False),
        ("{{ record.Count }}", 0),
        ("{{ record.Nothing }}", None),
        ("{{ record.Empty }}", None),
        ("{{ record.Nothing }} {{ record.Blank }}", None),
        ("{{ record.Nothing.Name }}", None),
        ("{{ record.Nothing.Owner.Name }}", None),
        ("By {{ record.Nothing.Owner.Name | upcase }}.", "By ."),
        ("{{ record.Nothing.size }}", None),
        ("{{ record.Nothing[0].Name | default: 'nobody' }}", "nobody"),
        ("Case {{ record.Count }}", "Case 0"),
        ("{{ record.Open }}!", "false!"),
        ("{{ record.Missing | default: 'none' }}", "none"),
        ("{% if record.Count == 0 %}zero{% endif %}", "zero"),
        ("{{ record.Amount | times: 2 }}", 25.0),
        ("{{ -2.5 | round }}", -3),
        ("{{ '2,9' | plus: 0.25 }}", 2.25),
        ("{{ 'x;y;;' | split: ';' | size }}", 2),
        ("{{ list | join: '-' }}", "1--1.0"),
        ("{{ list | uniq | size }}", 3),
        ("{{ record.Open | append: '!' }}", "false!"),
        ("{{ '1,2.5,x' | split: ',' | sum }}", 3.5),
        ("{{ rows | sum: 'n' }}", 3),
        ("{{ rows | find: 'n', 2 | map: 'k' | join }}", "b"),
        ("{{ rows | find_index: 'k', 'b' }}", 1),
        ("{{ rows | has: 'n', 3 }}", False),
        ("{{ rows | reject: 'n', 1 | map: 'k' | join }}", "b"),
        ("{{ ' a  b ' | squish }}", "a b"),
        ('{{ "O\'Neil" | escape }}', "O&#39;Neil"),
        ("{{ changed | join: ', ' }}", "Status, Priority"),
        ("{{ changed | json }}", '["Status", "Priority"]'),
        ("{{ '<b>' }}", "<b>"),
        ("{{ event.committed_at }}", "2026-03-01T12:30:00+00:00"),
        ("Support_Ticket", "Support_Ticket"),
        ("5", "5"),
        (5, 5),
        (True, True),
    ],
)
def test_a_template_is_one_scalar_of_its_own_type(source: Any, expected: Any) -> None:
    rendered = Template(source).render(SCOPE)
    assert rendered == expected
    assert type(rendered) is type(expected)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ record.Missing }}", "record.Missing is undefined"),
        ("A {{ record.Missing }}", "record.Missing is undefined"),
        ("{{ nobody.Id }}", ": nobody is undefined"),
        ("{{ record.Id.x.y }}", "record.Id.x is undefined"),
        ("{{ size }}", ": size is undefined"),
        ("{{ record.Address[record.Id] }}", "record.Address.… is undefined"),
        ("{{ record.Address[record.Id].x | upcase }}", "record.Address.… is undefined"),
        ("{{ record.Address[record.Nothing] }}", "record.Address.… is undefined"),
        ("{{ [record.Id] }}", ": … is undefined"),
        ("{{ changed[7] }}", "changed.… is undefined"),
        ("{{ changed }}", "gives a list"),
        ("{{ record }}", "gives a mapping"),
        ("{{ record.Address | upcase }}", "upcase: a mapping has no text"),
        ("From {{ record.Address }}", "a value is of the wrong kind"),
        ("{{ record.Id | divided_by: 0 }}", "divide by 0"),
        ("{% for i in (1..5000) %}{{ record.Id }}{% endfor %}", "loop iteration limit reached"),
    ],
)
def test_what_cannot_be_rendered_is_this_records_fault_and_says_why(source: str, reason: str) -> None:
    with pytest.raises(RenderError, match=reason) as caught:
        Template(source).render(SCOPE)
    assert "5001" not in str(caught.value)  # no values in messages


def test_python_attributes_are_out_of_reach() -> None:
    with pytest.raises(RenderError):
        Template("{{ event.__class__ }}").render({"event": datetime.now(UTC)})


@pytest.mark.parametrize(
    ("source", "line", "column", "reason"),
    [
        ("{{ record.Id", 1, 1, "not closed by }}"),
        ("first\n{{ a b }}", 2, 6, "expected end of expression"),
        ("{{ a | defualt: 1 }}", 1, 8, "there is no filter defualt; did you mean default?"),
        ("{% if a %}{{ a | append }}{% endif %}", 1, 18, "the filter append does not take these arguments"),
        ("{% include 'x' %}", 1, 4, "this tag is not known here"),
        ("{{ 'now' | date: '%Y' }}", 1, 1, "differs at each replay"),
        ("{{ a | date: '%Y', 'Europe/Ankara' }}", 1, 8, "no such time zone"),
        ("{{ a | currency: 'TR', 'tr' }}", 1, 8, "no such currency"),
        *(
            (f"{{{{ a | date_of: '%d.%m.%Y {letter}' }}}}", 1, 8, "the pattern has a directive that cannot be read")
            for letter in ("%-d", "%Z", "%c", "%x", "%X", "%")
        ),
        *(
            (f"{{{{ a | date_of: '{pattern}' }}}}", 1, 8, "the pattern has no year")
            for pattern in ("%d.%m", "%d.%m. %H:%M", "%A %H:%M", "%M", "")
        ),
        ("{{ a | date_of: '%H:%M', 'Europe/Istanbul' }}", 1, 8, "a time of day without a date has no time zone"),
        ("{{ a | decimal: 'turkish' }}", 1, 8, "no such language"),
        ("{% if b %}{% assign c = a | number: ';' %}{% endif %}", 1, 29, "the decimal sign is"),
    ],
)
def test_a_template_with_a_mistake_is_refused_with_its_place(source: str, line: int, column: int, reason: str) -> None:
    with pytest.raises(TemplateError, match=reason) as caught:
        Template(source)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    ("source", "column", "reason"),
    [
        ('record.Status = "Closed"', 15, "equality is written =="),
        ("(a or b) and c", 1, "no parentheses"),
        ('a contains "b" and c ==', 24, "something is missing at the end"),
        ('a == "b', 6, "unexpected"),
        ("", 1, "something is missing"),
    ],
)
def test_a_condition_with_a_mistake_is_refused_with_its_place(source: str, column: int, reason: str) -> None:
    with pytest.raises(TemplateError, match=reason) as caught:
        Condition(source)
    assert (caught.value.line, caught.value.column) == (1, column)


def test_paths_are_named_with_their_place() -> None:
    template = Template("{{ record.ContactId }}\n{% assign x = owner.Name %}{{ x }}{{ record[changed[0]] }}")
    assert template.paths() == [
        (("record", "ContactId"), 1, 4),
        (("owner", "Name"), 2, 15),
        (("record", None), 2, 38),
        (("changed", 0), 2, 45),
    ]
    assert Condition('changed contains "S" and record.Status == body["a b"]').fields("record") == {"Status"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('changed contains "Status"', True),
        ('changed contains "Stat"', False),
        ('nulled contains "Status"', False),
        ("body.score < 3", True),
        ("body.score <= 2 and body.score >= 2", True),
        ("body.score > 2", False),
        ("body.none < 3", False),
        ("body.none > 3", False),
        ("body.none <= 3", False),
        ("body.none == nil", True),
        ("body.none != blank", False),
        ("body.hollow != blank", False),
        ("body.missing != blank", False),
        ("body.missing != blank and body.missing < 3", False),
        ("body.missing < 3", False),
        ("body.score != blank and body.score < 3", True),
        ("body.missing", False),
        ("body.score", True),
        ("body.no", False),
        ("body.no == false", True),
        ('body.text == "x" or body.missing == "y"', True),
        ('body.text != "x"', False),
        ('body.none != "x"', True),
        ("body.list == empty", True),
    ],
)
def test_a_condition_holds(source: str, expected: bool) -> None:
    body: dict[str, Any] = {"score": 2, "none": None, "hollow": "", "no": False, "text": "x", "list": []}
    assert Condition(source).holds({"body": body, "changed": ["Status"], "nulled": ()}) is expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("unread.a == 1 and record.a == 2", False),
        ("unread.a == 1 and record.a == 1", True),
        ("unread.a == 1 or record.a == 2", True),
        ("record.a == 2 or record.b == 2", False),
        ('unread contains "x" and record.missing', True),
        ("record.a == 1 and unread.a", True),
    ],
)
def test_a_condition_may_hold_unless_what_is_known_speaks_against_it(source: str, expected: bool) -> None:
    scope = Values({"record": Values({"a": 1, "b": 1})})
    assert Condition(source).may_hold(scope) is expected


@pytest.mark.parametrize(
    "source", ["body.rate == 0.1", "body.rate <= 0.1", "body.long > 12345678901234567", "list contains 0.1"]
)
def test_a_condition_compares_numbers_by_their_digits(source: str) -> None:
    body = {"rate": Decimal("0.10"), "long": Decimal("12345678901234567.5")}
    assert Condition(source).holds({"body": body, "list": [Decimal("0.10")]}) is True


@pytest.mark.parametrize("source", ["body.score < 3", "body.score == 2", "body.score != 2", "body.score >= false"])
def test_a_text_compared_with_a_number_is_a_mistake_and_not_a_no(source: str) -> None:
    with pytest.raises(RenderError, match="it compares"):
        Condition(source).holds({"body": {"score": "2"}})


def test_a_condition_is_decided_without_reading_what_it_does_not_need() -> None:
    condition = Condition('changed contains "Status" and record.Status == "Closed"')
    assert condition.holds({"changed": ("Priority",), "record": Values({})}) is False
    with pytest.raises(Unread) as caught:
        condition.holds({"changed": ("Status",), "record": Values({})})
    assert caught.value.field == "Status"
    assert condition.holds({"changed": ("Status",), "record": Values({"Status": "Closed"})}) is True
    assert Condition("changed contains 'A' or record.B").holds({"changed": ["A"], "record": Values({})}) is True


@pytest.mark.parametrize(
    "source",
    [
        "{{ record.Name }}",
        "Dear {{ record.Name }}",
        "{{ record.Name | default: 'you' }}",
        "{% if record.Name %}x{% endif %}",
        "{{ record.Name.size }}",
        "{{ record.size }}",
    ],
)
def test_a_field_that_is_not_read_yet_is_asked_for(source: str) -> None:
    with pytest.raises(Unread):
        Template(source).render({"record": Values({"Id": "1"})})


def test_dates_do_not_depend_on_the_process_time_zone_or_locale() -> None:
    code = """
import contextlib, locale
from connector.templates import Template
with contextlib.suppress(locale.Error):  # a machine may lack the language
    locale.setlocale(locale.LC_ALL, "")
times = {"a": 0, "b": "2026-01-01T10:00:00.000+0000", "c": "2026-01-01T10:00:00", "d": 1767261600000}
template = '{{ a | date: "%H:%M" }} {{ b | date: "%H:%M" }} {{ c | date: "%s" }} {{ d | date: "%A %c", "Asia/Tokyo" }}'
print(Template(template).render(times))
"""
    for zone, language in (("UTC", "C.UTF-8"), ("Asia/Tokyo", "tr_TR.UTF-8")):
        environment = {"TZ": zone, "LC_ALL": language}
        run = subprocess.run(  # noqa: S603
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert run.stdout == "00:00 10:00 1767261600 Thursday Thu Jan  1 19:00:00 2026\n"


LONG = Decimal("12345678901234567.25")


@pytest.mark.parametrize(
    ("source", "value", "expected"),
    [
        ("{{ x }}", LONG, LONG),
        ("No. {{ x }}", LONG, "No. 12345678901234567.25"),
        ("No. {{ x }}", 10**30 + 1, "No. 1000000000000000000000000000001"),
        ("{{ x }}", 10**30 + 1, 10**30 + 1),
        ("{{ x }}", Decimal("9.50"), Decimal("9.50")),
        ("No. {{ x }}", Decimal("9.50"), "No. 9.50"),
        ("{{ x | plus: 0 }}", Decimal("9.50"), 9.5),
        ("{{ x }}", Decimal("9.5"), 9.5),
        ("{{ x | plus: 1 }}", LONG, Decimal("12345678901234568.25")),
        ("{{ x | times: 2 }}", LONG, Decimal("24691357802469134.5")),
        ("{{ x | minus: x }}", LONG, 0.0),
        ("{{ x | divided_by: 2 }}", LONG, Decimal("6172839450617283.625")),
        ("{{ x | divided_by: 3 }}", LONG, 4115226300411522.5),
        ("{{ x | modulo: 10 }}", LONG, 7.25),
        ("{{ x | round: 1 }}", LONG, Decimal("12345678901234567.3")),
        ("{{ x | round }}", LONG, 12345678901234567),
        ("{{ x | plus: '0.125' }}", "12345678901234567.25", Decimal("12345678901234567.375")),
        ("{{ x | plus: 1 }}", 10**30, 10**30 + 1),
        ("{{ x | times: 0.5 }}", 10**20 + 1, Decimal("50000000000000000000.5")),
        ("{{ x | at_least: 0 }}", LONG, LONG),
        ("{{ x | json }}", {"n": LONG, "m": Decimal("9.50")}, '{"n": 12345678901234567.25, "m": 9.50}'),
        ("{{ x | number: ',' }}", "12.345.678.901.234.567,25", LONG),
        ("{{ x | decimal: 'tr' }}", LONG, "12.345.678.901.234.567,25"),
        ("{{ x | currency: 'TRY', 'tr' }}", LONG, "₺12.345.678.901.234.567,25"),
        ("{% if x == 12345678901234567.25 %}rounded{% else %}exact{% endif %}", LONG, "exact"),
    ],
)
def test_a_number_keeps_all_its_digits(source: str, value: object, expected: object) -> None:
    rendered = Template(source).render({"x": value})
    assert rendered == expected
    assert type(rendered) is type(expected)


def test_a_float_without_its_last_digits_is_not_written_into_a_text() -> None:
    assert Template("No. {{ x }}").render({"x": 2.0**53 - 1}) == "No. 9007199254740991.0"
    with pytest.raises(RenderError, match="lost digits"):
        Template("No. {{ x }}").render({"x": 2.0**53})


@pytest.mark.parametrize("value", [1e-400, Decimal("1e-4000"), Decimal("1e4000"), 10**3000])
@pytest.mark.parametrize("name", ["round", "ceil", "abs", "plus: 0.5", "times: 0.1", "divided_by: 0.3", "modulo: 7"])
def test_a_huge_number_is_calculated_or_refused_at_once(name: str, value: object) -> None:
    try:
        Template(f"{{{{ x | {name} }}}}").render({"x": value})
    except RenderError as error:
        assert "too" in str(error)  # noqa: PT017 - some results have too many digits, others not


@pytest.mark.parametrize(("name", "sign"), [("tr", ","), ("de", ","), ("fr", ","), ("en-GB", ".")])
@given(value=st.decimals(-(10**12), 10**12, places=2))
def test_what_is_written_for_a_customer_can_be_read_again(name: str, sign: str, value: Decimal) -> None:
    for written in (f"decimal: '{name}'", f"percent: '{name}'", f"currency: 'EUR', '{name}'"):
        read = Template(f"{{{{ x | {written} | number: '{sign}' }}}}").render({"x": value})
        assert read == float(value), written


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *(("5 TL", 5), ("5TL", 5), ("₺5", 5), ("5€", 5), ("-$5", -5), ("€ -5", -5), ("TRY 5", 5), ("5 USD", 5)),
        *(("%5", 5), ("5 %", 5), ("+5", 5), ("\u22125", -5), ("1.234", 1234), ("1'234'567,5", 1234567.5)),
        *(("1\u202f234,5", 1234.5), (" 12 ", 12), ("1234567", 1234567)),
    ],
)
def test_a_number_may_have_a_sign_a_unit_and_groups_of_three_digits(written: str, value: float) -> None:
    assert Template("{{ x | number: ',' }}").render({"x": written}) == value


@pytest.mark.parametrize(
    "written",
    [
        *("5k", "3M", "2bn", "Q3", "No 5", "10 min", "5 m", "5 all", "Top 5", "(5)", "#5", "5*", "5°"),
        *("--5", "-+5", "-$-5", "5-", "$5 USD", "%5%", "555 123", "555\n123", "1.23", "12.34.567", "1.234'567"),
        *("1e5", "5,", ",5", "0x1F", "12:30", "9-10", "\u0665"),
    ],
)
def test_a_text_that_only_begins_or_ends_like_a_number_is_none(written: str) -> None:
    with pytest.raises(RenderError, match="not a number"):
        Template("{{ x | number: ',' }}").render({"x": written})


def test_a_long_text_of_open_tags_does_not_stop_the_process() -> None:
    """A customer can answer so. A pattern such as <.*?> would look for the end from each of them."""
    answer = "<script" * 100_000
    assert Template("{{ x | strip_html }}").render({"x": answer + "a>b"}) == "b"
    assert Template("{{ x | strip_html }}").render({"x": answer}) == answer


def test_the_clock_is_out_of_reach() -> None:
    for source in ("{{ now }}", "{{ today }}", "{{ x | date: '%Y' }}"):
        with pytest.raises((RenderError, TemplateError)):
            Template(source).render({"x": "NOW"})


def test_a_line_break_of_two_characters_stays_one() -> None:
    assert Template("{% capture c %}a\r\nb{% endcapture %}{{ c }}\r\n{{ x }}").render({"x": "\r"}) == "a\r\nb\r\n\r"


def test_templates_are_values_in_models() -> None:
    class Holder(BaseModel):
        text: Template
        number: Template

    holder = Holder.model_validate({"text": "{{ a }}", "number": 3})
    assert holder == Holder(text=Template("{{ a }}"), number=Template(3))
    assert Template(3) != Template("3")
    assert holder.model_dump_json() == '{"text":"{{ a }}","number":"3"}'


@given(st.text(alphabet="{}%| .\"'abc=<>()[]0\n-", max_size=40))
def test_any_text_compiles_or_is_a_template_error(source: str) -> None:
    for kind in (Template, Condition):
        try:
            kind(source)
        except TemplateError as error:
            assert min(error.line, error.column) >= 1  # noqa: PT017 - most texts are an error, but some are not
