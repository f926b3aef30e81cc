"""JSON that keeps every digit."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.values import exact

numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


def documents() -> st.SearchStrategy[str]:
    """JSON texts with numbers in every spelling."""
    leaves = numbers | texts.map(json.dumps) | st.sampled_from(["null", "true", "false"])
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]")
            | st.dictionaries(texts.map(json.dumps), inner, max_size=4).map(
                lambda items: "{" + ", ".join(f"{name}: {value}" for name, value in items.items()) + "}"
            )
        ),
        max_leaves=10,
    )


def literally(text: str | bytes) -> Any:
    """The value with each number as its exact digits and exponent. Minus zero is zero."""

    def number(literal: str) -> tuple[str, object]:
        sign, *rest = Decimal(literal).as_tuple()
        return ("number", (sign and any(rest[0]), rest))

    return json.loads(text, parse_int=number, parse_float=number)


@given(documents())
def test_every_digit_letter_and_null_is_written_as_it_was_read(text: str) -> None:
    assert literally(exact.dumps(exact.loads(text.encode()))) == literally(text)


@given(documents())
def test_what_json_reads_without_loss_is_the_same_value_here(text: str) -> None:
    assert exact.loads(text.encode()) == json.loads(text, parse_float=Decimal) or "." in text or "e" in text.lower()


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("9", 9),
        ("9.0", 9.0),
        ("0.1", 0.1),
        ("-123456789012345678901234", -123456789012345678901234),
        ("18446744073709551616", 18446744073709551616),
        ("9.50", Decimal("9.50")),
        ("0.1000000000000000055", Decimal("0.1000000000000000055")),
        ("12345678.123456789012", Decimal("12345678.123456789012")),
        ("0.00000001", Decimal("0.00000001")),
        ("1E+400", Decimal("1E+400")),
        ("1E-400", Decimal("1E-400")),
    ],
)
def test_a_number_is_a_decimal_only_where_a_float_would_change_a_digit(literal: str, value: object) -> None:
    read = exact.loads(literal.encode())
    assert (type(read), read) == (type(value), value)
    assert exact.dumps({"n": [read]}) == b'{"n":[%s]}' % literal.encode()


@given(st.binary(max_size=60) | st.text('[]{}",:0123456789.eE+-\\ud8 \n', max_size=30).map(str.encode))
def test_it_reads_and_refuses_the_same_texts_as_orjson(text: bytes) -> None:
    """Other readers of our topics use any JSON library. Only a number too large for a float is read here alone."""
    for options in ({}, {"repeated": str}):
        try:
            value = exact.loads(text, **options)
        except ValueError:
            with suppress(orjson.JSONDecodeError):
                orjson.loads(text)
                pytest.fail("orjson reads it")
        else:
            assert literally(exact.dumps(value)) is not None or value is None


@pytest.mark.parametrize("around", [b"[%s]", b'{"a":%s}', b"[1.50,%s]", b'{"n":123456789012345678901234,"a":%s}'])
@pytest.mark.parametrize("more", [0, 1, 900, 100_000])
def test_200_levels_pass_and_more_is_a_clear_error_in_both_directions(around: bytes, more: int) -> None:
    before, after = around.split(b"%s")
    levels = exact.DEEPEST + more
    text = before * levels + b"1" + after * levels
    if not more:
        assert exact.dumps(exact.loads(text)) == text
        return
    with pytest.raises(ValueError, match=r"deep|depth"):
        exact.loads(text)
    value: Any = 1
    for _ in range(levels):
        value = [value, 2**70]
    with pytest.raises(ValueError, match="nested deeper than 200 levels"):
        exact.dumps(value)


@pytest.mark.parametrize("literal", ["9" * 4301, "1e4301", "1e-4302", "1e99999999999999999999", "9" * 100_000 + ".5"])
def test_a_number_that_would_fill_the_memory_is_a_clear_error(literal: str) -> None:
    with pytest.raises(ValueError, match="more than 4300 places"):
        exact.loads(b"[%s]" % literal.encode())


def test_keys_that_are_there_twice_are_told() -> None:
    told: list[str] = []
    assert exact.loads(b'{"a": 1, "b": {"c": 1, "c": 2.50}, "a": 3, "d": 4}', repeated=told.append) == {
        "a": 3,
        "b": {"c": Decimal("2.50")},
        "d": 4,
    }
    assert told == ["c", "a"]


_NAMES = st.sampled_from(["a", "b", 'a"', "\u00e4", "1.5"])
_OBJECTS = st.recursive(
    st.sampled_from(['"x"', '"\\"a\\""', "1", "1.50", "null", "[]"]),
    lambda inner: (
        st.lists(st.tuples(_NAMES, inner), max_size=4).map(
            lambda pairs: "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs) + "}"
        )
        | st.lists(inner, max_size=3).map(lambda values: f"[{','.join(values)}]")
    ),
    max_leaves=12,
)


@given(_OBJECTS)
def test_each_repeated_key_is_told_however_the_text_is_read(text: str) -> None:
    told: list[str] = []
    wanted: list[str] = []

    def repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        wanted.extend(name for name in dict.fromkeys(names) if names.count(name) > 1)
        return dict(pairs)

    value = json.loads(text, object_pairs_hook=repeated, parse_float=Decimal)
    assert exact.loads(text.encode(), repeated=told.append) == value
    assert told == wanted


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"NaN", b"[1.50, Infinity]", b'"\\ud800"', b'["\\uD800", 1.50]'])
def test_what_is_not_json_is_an_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        exact.loads(text)


def test_what_json_cannot_hold_is_null_or_an_error() -> None:
    assert exact.dumps([float("nan"), Decimal("NaN")]) == b"[null,null]"
    assert exact.dumps(datetime(2026, 3, 1, tzinfo=UTC)) == b'"2026-03-01T00:00:00Z"'
    for value in ("\ud800", object(), {1: 2**70}):
        with pytest.raises(ValueError, match="cannot be written as JSON"):
            exact.dumps([value])
