"""Templates give what Ruby's Liquid gives, for generated values. docs/liquid.md holds what differs on purpose."""

import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from helpers.liquid_page import Difference, differences
from helpers.ruby_liquid import RubyLiquid, ruby_liquid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.templates import RenderError, Template, TemplateError

DIFFERENCES = differences()
REFUSALS = [difference.refusal for difference in DIFFERENCES if difference.refusal]
SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)

NIL = st.none()
BOOLS = st.booleans()
INTS = st.integers(-20, 20) | st.integers(-(10**8), 10**8)
LONG_INTS = st.integers(-(2**70), 2**70)  # not together with decimals: there ours keep all digits
DECIMALS = st.integers(-(10**9), 10**9).map(lambda n: n / 1000) | st.sampled_from([0.5, 1.5, -2.5, 1.005, 2.675, 1e-5])
TEXTS = st.text(alphabet="aAbB \t\n\r\v\0\u00a0.,;-+_'\"&<>/%\\019éİßşÇΣ", max_size=12)
NUMBERS_IN_TEXT = st.sampled_from(
    ["3,5", "3.5", " 7 ", "-2.25", "+4", "1_000", "_1", "1__0", "12a", "1e3", "0x1A", "."]
)
HTML = st.sampled_from(["<p>a</p>", "<script>x\n</script>b", "<!-- c -->d", "a &amp; b &lt", "&#39;&"])
ENCODED = st.sampled_from(["%41%zz%C3%A9", "%ff", "YQ==", "YW"])
NUMBERS = INTS | DECIMALS | NUMBERS_IN_TEXT | NIL | BOOLS
SIMPLE = NUMBERS | LONG_INTS | TEXTS | HTML | ENCODED
LISTS = st.lists(SIMPLE, max_size=4) | st.lists(st.lists(INTS | TEXTS, max_size=2) | NIL | INTS, max_size=3)
NAMES = st.sampled_from(["a", "b", "c"])
RECORDS = st.dictionaries(NAMES, NIL | BOOLS | INTS | DECIMALS | TEXTS, max_size=2)
RECORD_LISTS = st.lists(RECORDS, max_size=4) | st.lists(TEXTS, max_size=3)
ANY = SIMPLE | LISTS | RECORDS
COUNTS = st.integers(-3, 8) | st.sampled_from(["2", " 3", "x", "2.0", 2.0, None])
WITHOUT_ARGUMENTS = """
    upcase downcase capitalize strip lstrip rstrip strip_html strip_newlines newline_to_br escape h escape_once
    url_encode url_decode base64_encode base64_decode base64_url_safe_encode base64_url_safe_decode first last
    default join reverse sort sort_natural uniq compact truncate truncatewords
"""

COMPARED: list[tuple[str, tuple[st.SearchStrategy[Any], ...]]] = [  # filters; what is filtered, and the arguments
    (WITHOUT_ARGUMENTS, (ANY,)),
    ("append prepend remove remove_first remove_last replace replace_first split default join", (ANY, SIMPLE)),
    ("replace replace_first replace_last", (TEXTS, TEXTS, TEXTS)),
    ("split", (TEXTS, st.sampled_from([" ", "", "a", ";"]))),
    ("slice truncate truncatewords", (ANY, COUNTS)),
    ("slice", (TEXTS | LISTS, COUNTS, COUNTS)),
    ("truncate truncatewords", (TEXTS, COUNTS, SIMPLE)),
    ("abs ceil floor round", (NUMBERS,)),
    ("plus minus times at_least at_most divided_by modulo", (NUMBERS, NUMBERS)),
    ("plus minus times at_least at_most divided_by modulo", (INTS | LONG_INTS, INTS | LONG_INTS)),
    ("round", (NUMBERS, st.integers(-3, 5) | NUMBERS_IN_TEXT)),
    ("size", (TEXTS | LISTS | RECORDS | NIL | BOOLS | DECIMALS,)),
    ("concat", (ANY, ANY)),
    ("sort", (st.lists(INTS | DECIMALS | NIL),)),
    ("sort sort_natural", (st.lists(TEXTS | NIL),)),
    ("uniq", (st.lists(st.sampled_from([1, 1.0, "1", True, None, "a", "A"])),)),
    ("sort uniq compact map where", (RECORD_LISTS, NAMES)),
    ("sort_natural", (st.lists(st.fixed_dictionaries({"a": TEXTS | INTS})), st.just("a"))),
    ("map", (ANY, NAMES)),
    ("where", (RECORD_LISTS, NAMES, SIMPLE)),
]
ZONES = [UTC, *(timezone(timedelta(minutes=minutes)) for minutes in (180, -30, 330, -660))]
MOMENTS = st.integers(-(10**9), 10**11 - 1) | st.datetimes(timezones=st.sampled_from(ZONES)).map(datetime.isoformat)
DIRECTIVES = st.tuples(
    st.just("%"),
    st.sampled_from(["", "", "-", "0", "_", "^", "#"]),
    st.sampled_from(["", "", "1", "3", "6", "10"]),
    st.sampled_from("CdegGHIjklmMsSuUVwWyYLNaAbBhnpPtZ%cDFrRTvxX"),
).map("".join) | st.sampled_from(["%z", "%:z", "%::z", "%:::z", "%10z", "%_10z", "%Q", " ", "é"])


@pytest.fixture(scope="module")
def ruby() -> Iterator[RubyLiquid]:
    with ruby_liquid() as process:
        yield process


def ours(template: str, data: dict[str, Any]) -> tuple[str | None, str]:
    """The text, or None and what our error says."""
    try:
        rendered = Template(template).render(data)
    except (RenderError, TemplateError) as error:
        return None, str(error)
    return "" if rendered is None else str(rendered), ""


def require_alike(ruby: RubyLiquid, template: str, data: dict[str, Any]) -> None:
    expected = ruby.render(template, data)
    found, reason = ours(template, data)
    if found is None and any(refusal in reason for refusal in REFUSALS):
        return
    assert found == expected, (template, data, reason)


@pytest.mark.parametrize(
    ("name", "strategies"), [(name, strategies) for names, strategies in COMPARED for name in names.split()]
)
def test_a_filter_gives_what_rubys_gives(ruby: RubyLiquid, name: str, strategies: tuple[Any, ...]) -> None:
    arguments = string.ascii_lowercase[1 : len(strategies)]
    used = name + (": " + ", ".join(arguments) if arguments else "")
    template = f"{{% assign r = a | {used} %}}[{{% for i in r %}}<{{{{ i }}}}>{{% endfor %}}|{{{{ r }}}}]"

    @SETTINGS
    @given(st.tuples(*strategies))
    def alike(values: tuple[Any, ...]) -> None:
        require_alike(ruby, template, dict(zip(string.ascii_lowercase, values, strict=False)))

    alike()


@pytest.mark.parametrize("operator", ["==", "!=", "<>", "<", "<=", ">", ">=", "contains"])
def test_an_operator_decides_as_rubys_does(ruby: RubyLiquid, operator: str) -> None:
    template = f"{{% if a {operator} b %}}1{{% else %}}0{{% endif %}}{{% unless a {operator} b %}}0{{% endunless %}}."

    @SETTINGS
    @given(ANY, ANY)
    def alike(left: Any, right: Any) -> None:
        require_alike(ruby, template, {"a": left, "b": right})

    alike()


@SETTINGS
@given(ANY, ANY, ANY)
def test_and_or_and_case_decide_as_rubys_do(ruby: RubyLiquid, one: Any, two: Any, three: Any) -> None:
    template = (
        "{% if a and b or c %}1{% endif %}{% if a or b and c %}2{% endif %}{% if a == b or c %}3{% endif %}"
        "{% case a %}{% when b, c %}4{% when nil %}5{% when 1 %}6{% when '1' %}7{% else %}8{% endcase %}"
    )
    require_alike(ruby, template, {"a": one, "b": two, "c": three})


@SETTINGS
@given(MOMENTS, st.lists(DIRECTIVES, max_size=4).map("".join))
def test_a_date_is_written_as_ruby_writes_it(ruby: RubyLiquid, moment: int | str, pattern: str) -> None:
    require_alike(ruby, "[{{ a | date: b }}]", {"a": moment, "b": pattern})


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in x %}{{ i }}/{{ forloop.index }}{{ forloop.last }}{{ forloop.rindex }};{% endfor %}",
        "{% for i in x limit: 0 %}{{ i }}{% endfor %}.",
        "{% for i in x limit: -1 %}{{ i }}{% endfor %}.",
        "{% for i in x limit: 2 offset: 1 %}{{ i }};{% endfor %}",
        "{% for i in x limit: 2 %}{{ i }};{% endfor %}{% for i in x offset: continue %}{{ i }};{% endfor %}",
        "{% for i in x reversed %}{{ i }};{% endfor %}",
        "{% for i in h %}{{ i }}:{{ i[0] }}={{ i[1] }};{% endfor %}",
        "{% for i in n %}{{ i }}{% else %}none{% endfor %}",
        "{% for i in x %}{% cycle 'a', 'b' %}{% cycle i, 'c' %}{% cycle 'g': 1, true %}{% endfor %}",
        "{% tablerow i in x cols: 2 %}{{ i }}{% endtablerow %}",
        "{{ x }}|{{ h.a }}|{{ e }}|{{ nil }}|{{ true }}|{{ 1.0 }}|{{ empty }}|{{ blank }}",
        "{{ x[1].a }}|{{ x[1].a.b | upcase }}|{{ x[1].size }}|{{ x[1].first.c }}|{{ x[1][0][1] }}|{{ h.z.y }}",
        "{% if x[1].a.b == nil %}1{% endif %}{% if x[1].a %}2{% endif %}{% assign c = x[1].a.b %}{{ c }}",
        "{{ x.size }}{{ x.first }}{{ x.last }}{{ x[-1] }}{{ h.first }}{{ s.size }}",
        "{% capture c %}a\r\n{{ n }}{% endcapture %}{{ c | append: s }}\r\n",
        "{% capture c %}\n{% endcapture %}{{ x | join: c }}",
        "{% capture c %} {% if s %} {% endif %}{% endcapture %}<{{ c }}>",
        "{% if e.a %}a{% elsif s %} {% else %}b{% endif %}{% if s %} {% else %}b{% endif %}{% if s %} {% endif %}.",
        "{% unless s %}a{% elsif s %} {% else %} {% endunless %}{% unless n %} {% elsif n %} {% endunless %}.",
        "{% for i in x %} {% else %}none{% endfor %}.{% for i in e %}a{% else %} {% endfor %}.",
        "{% for i in x %} {% endfor %}.{% for i in x %} {% else %} {% endfor %}.",
        "{% case n %}{% when 1 %}a{% when 5 %} {% else %}b{% endcase %}.{% case n %}{% when 5 %} {% endcase %}.",
        "{% for i in s offset: 1 %}{{ i }}{% endfor %}{% for i in s limit: 0 %}{{ i }}{{ forloop.length }}{% endfor %}",
        "{{ empty | plus: 1 }}{{ blank | append: 'x' }}{{ empty | uniq }}",
        "{% if s %}1{% endif %}{% if e %}2{% endif %}{% if e == empty %}3{% endif %}{% if nil == empty %}4{% endif %}",
    ],
)
def test_a_tag_gives_what_rubys_gives(ruby: RubyLiquid, template: str) -> None:
    data = {"x": [1, None, 2.0, "a", [3, 4]], "h": {"b": 1, "a": [1, 2], "z": None}, "s": "str", "n": 5, "e": []}
    require_alike(ruby, f"[{template}]", data)


NAMED = st.sampled_from(
    ["a", "s", "n", "e", "h.x", "h.y.z", "l[0]", "l[-1]", "l.first", "l.size", "n.z.q", "nil", "true", "2"]
)
APPLIED = st.sampled_from(
    [
        "upcase",
        "join: ','",
        "reverse",
        "sort_natural",
        "uniq",
        "plus: 1",
        "times: 2.5",
        "append: 'z'",
        "split: ''",
        "slice: 1, 2",
        "first",
        "map: 'x'",
        "default: 'd'",
        "concat: l",
        "strip",
        "truncate: 3",
        "replace: 'a', 'q'",
        "round: 1",
    ]
)
CHAINS = st.tuples(NAMED, st.lists(APPLIED, max_size=2)).map(lambda found: " | ".join([found[0], *found[1]]))
DECISIONS = st.tuples(
    NAMED, st.sampled_from(["==", "!=", "<", ">=", "contains"]), NAMED, st.sampled_from(["and", "or"]), NAMED
).map(" ".join)
SPACES = st.sampled_from(["", " ", "\n", "text", " text "])


def _tag(*parts: str | st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*(st.just(part) if isinstance(part, str) else part for part in parts)).map("".join)


def _tags(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    block = _tag(SPACES, inner, SPACES) | SPACES
    return (
        _tag(
            "{% if ", DECISIONS, " %}", block, "{% elsif ", DECISIONS, " %}", block, "{% else %}", block, "{% endif %}"
        )
        | _tag("{%- unless ", DECISIONS, " -%}", block, "{% else %}", block, "{%- endunless -%}")
        | _tag("{% case ", NAMED, " %}{% when ", NAMED, ", ", NAMED, " %}", block, "{% else %}", block, "{% endcase %}")
        | _tag("{% for i in ", NAMED, " limit: 2 %}{{ i }}", block, "{% else %}", block, "{% endfor %}")
        | _tag("{% for i in l reversed %}", block, "{% if i == 3 %}{% break %}{% endif %}{% endfor %}")
        | _tag("{% capture c %}", block, "{% endcapture %}<{{ c }}>")
        | _tag("{% assign v = ", CHAINS, " %}", block, "{{ v }}")
    )


@settings(SETTINGS, max_examples=200)
@given(st.recursive(_tag("{{ ", CHAINS, " }}"), _tags, max_leaves=6))
def test_a_template_gives_what_rubys_gives(ruby: RubyLiquid, template: str) -> None:
    data = {"a": 1, "s": "a b", "n": None, "e": [], "l": [3, None, 1.5, "a"], "h": {"x": "X", "y": {"z": 2}}}
    require_alike(ruby, f"[{template}]", data)


def test_every_filter_of_rubys_liquid_is_compared(ruby: RubyLiquid) -> None:
    compared = {name for names, _ in COMPARED for name in names.split()}
    assert compared | {"date"} == set(ruby.filters)


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.what)
def test_the_page_says_what_ruby_gives(ruby: RubyLiquid, difference: Difference) -> None:
    assert ruby.render(difference.template, difference.data) == difference.ruby
