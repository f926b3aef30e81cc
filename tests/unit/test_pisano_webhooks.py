"""Pure functions of our Pisano client: webhooks, addresses, Retry-After, and what a message may contain."""

from decimal import Decimal

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from connector.masking import mask_email, mask_emails
from connector.pisano.auth import read_token
from connector.pisano.errors import excerpt
from connector.pisano.webhooks import FieldType, answer, authentic, content, feedback_id, identity, moment
from connector.retry import retry_after

SECRET = "a-secret-of-a-webhook"


def test_a_webhook_is_authentic_by_header_or_by_path() -> None:
    """pisano §4: there is no signature, so a header or the path holds a shared secret."""
    headers = CIMultiDict({"x-webhook-secret": SECRET})
    assert authentic(headers, None, [SECRET])
    assert authentic({}, SECRET, [SECRET])
    assert authentic(CIMultiDict({"X-Own": SECRET}), None, [SECRET], header="x-own")


@pytest.mark.parametrize("given_", [None, "", "wrong", SECRET + " ", "é", "\udcff"])
def test_anything_else_is_not_authentic(given_: str | None) -> None:
    assert not authentic({"X-Webhook-Secret": given_ or ""}, given_, [SECRET])
    assert not authentic({"X-Webhook-Secret": given_ or ""}, given_, [""])


def test_two_secrets_may_be_valid_while_the_sender_is_changed() -> None:
    for secret in (SECRET, "the-secret-before-it"):
        assert authentic({"X-Webhook-Secret": secret}, None, [SECRET, "the-secret-before-it"])


def test_typed_fields_are_converted_and_the_rest_is_as_it_came() -> None:
    """pisano §4: numbers in quotes arrive as strings, and an empty variable as an empty string."""
    body = {
        "score": "9",
        "whole": 9.0,
        "ratio": "0.5",
        "price": "9.50",
        "again": "true",
        "branch": 12,
        "zip": "007",
        "none": "",
        "x": [1],
        "n": "",
    }
    types = {
        "score": "integer",
        "whole": "integer",
        "ratio": "number",
        "price": "number",
        "again": "boolean",
        "branch": "string",
        "n": "integer",
        "absent": "integer",
    }
    made = answer(body, types)  # type: ignore[arg-type]
    assert made.misfits == {}
    assert made.values == {
        "score": 9,
        "whole": 9,
        "ratio": 0.5,
        "price": Decimal("9.50"),
        "again": True,
        "branch": "12",
        "zip": "007",
        "none": "",
        "x": [1],
        "n": None,
    }


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        ("integer", "N/A"),
        ("integer", "9,5"),
        ("integer", 9.5),
        ("integer", True),
        ("integer", {}),
        ("integer", "99999999999999999999"),
        ("integer", Decimal("1E+400")),
        ("number", "nan"),
        ("number", "9,5"),
        ("number", 10**400),
        ("boolean", "perhaps"),
        ("string", ["a"]),
    ],
)
def test_a_value_that_does_not_fit_leaves_its_field_empty_and_is_kept(wanted: FieldType, value: object) -> None:
    made = answer({"field": value, "other": "x"}, {"field": wanted})
    assert made.values == {"field": None, "other": "x"}
    assert made.misfits == {"field": value}


@given(st.text() | st.floats() | st.booleans() | st.integers() | st.decimals(allow_nan=False) | st.lists(st.none()))
def test_a_typed_field_has_its_type_or_is_empty(value: object) -> None:
    types: dict[str, FieldType] = {"i": "integer", "n": "number", "b": "boolean", "s": "string"}
    made = answer(dict.fromkeys(types, value), types)
    kinds = {"i": int, "n": int | float | Decimal, "b": bool, "s": str}
    for name, kind in kinds.items():
        assert made.values[name] is None or isinstance(made.values[name], kind)


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("2026-03-01T12:30:00Z", "2026-03-01T12:30:00+00:00"),
        ("2026-03-01T15:30:00+03:00", "2026-03-01T12:30:00+00:00"),
        ("2026-03-01 12:30:00", "2026-03-01T12:30:00+00:00"),
        ("2026-03-01 15:30:00 +0300", "2026-03-01T12:30:00+00:00"),  # as Ruby writes a Time
        ("2026-03-01 12:30:00 UTC", "2026-03-01T12:30:00+00:00"),
        (1772368200, "2026-03-01T12:30:00+00:00"),
        ("1772368200000", "2026-03-01T12:30:00+00:00"),
        (Decimal("1772368200.50"), "2026-03-01T12:30:00.500000+00:00"),
    ],
)
def test_the_time_of_an_answer_is_read_in_every_form(written: object, at: str) -> None:
    found = moment(written)
    assert found is not None
    assert found.isoformat() == at


@given(st.text() | st.floats() | st.booleans() | st.integers() | st.decimals(allow_nan=False) | st.lists(st.none()))
def test_what_is_no_time_is_none(written: object) -> None:
    assert moment(written) is None or moment(written).tzinfo is not None  # type: ignore[union-attr]


def test_the_keys_of_an_identity_name_the_answer_if_all_are_there() -> None:
    assert identity({"response_id": "r-1", "sent_at": 1}, ["response_id"]) == ('"r-1"',)
    assert identity({"response_id": "r-1", "form": 7}, ["form", "response_id"]) == ("7", '"r-1"')
    for body in ({}, {"response_id": ""}, {"response_id": None}):
        assert identity(body, ["response_id"]) is None
    assert identity({"response_id": "r-1"}, []) is None


def test_ignored_keys_and_the_order_of_keys_do_not_tell_bodies_apart() -> None:
    assert content({"a": 1, "sent_at": 1, "b": 2}, ["sent_at"]) == content({"b": 2, "sent_at": 7, "a": 1}, ["sent_at"])
    assert content({"a": 1}, ["sent_at"]) != content({"a": 2}, ["sent_at"])


def test_feedback_id_is_the_same_for_a_re_send_only() -> None:
    """pisano §4: there is no event id, so the bytes and the account identify the feedback."""
    assert feedback_id("main", b"{}") == feedback_id("main", b"{}")
    assert len({feedback_id("main", b"{}"), feedback_id("main", b"{ }"), feedback_id("other", b"{}")}) == 3
    assert len({feedback_id("main", b"[{},{}]", place) for place in (0, 1)}) == 2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Sun, 09 Sep 2001 01:47:10 GMT", 30.0),
        ("Sun, 09 Sep 2001 01:40:00 GMT", 0.0),
        ("-1", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_in_both_forms(value: str, seconds: float | None) -> None:
    assert retry_after(httpx.Headers({"Retry-After": value}), now=1_000_000_000.0) == seconds
    assert retry_after(httpx.Headers(), now=0.0) is None


@pytest.mark.parametrize(
    ("expiry", "expires"),
    [
        ('"expires_in": "120"', 1120.0),
        ('"expires_at": 1500', 1500.0),
        ('"expires_at": 1500000000000', 1_500_000_000.0),
        ('"expired_at": "1970-01-01 00:25:00"', 1500.0),
        ('"expires_at": "1970-01-01T02:25:00+02:00"', 1500.0),
        ('"expires_at": 999', 1600.0),
        ('"expires_in": null', 1600.0),
        ('"expires_at": "tomorrow"', 1600.0),
    ],
)
def test_an_expiry_is_read_in_every_form_and_a_senseless_one_is_none(expiry: str, expires: float) -> None:
    """pisano §2.1: ISO or epoch; without an expiry the configured lifetime applies."""
    body = f'{{"data": {{"token": "t", {expiry}}}}}'.encode()
    assert read_token(body, now=1000.0, lifetime=600.0) == ("t", expires)


def test_addresses_and_secrets_do_not_stand_in_messages() -> None:
    """Rule 9."""
    assert mask_email("jane.doe@example.com") == "j***@example.com"
    assert mask_email("jane") == mask_email("") == "***"
    assert mask_emails('"jane@a.com", <joe@b.com> x%40y.com') == '"j***@a.com", <j***@b.com> x***%40y.com'
    said = excerpt(b"token abc\n of jane@a.com " + b"x" * 1000, hide=("abc", ""))
    assert said.startswith("token *** of j***@a.com x")
    assert len(said) == 301
