"""Pure functions of our Pisano client: webhooks, addresses, Retry-After, and what a message may contain."""

from contextlib import suppress

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from connector.masking import mask_email, mask_emails
from connector.pisano.auth import read_token
from connector.pisano.errors import excerpt
from connector.pisano.webhooks import authentic, feedback_id, parse
from connector.retry import retry_after

SECRET = "a-secret-of-a-webhook"


def test_a_webhook_is_authentic_by_header_or_by_path() -> None:
    """pisano §4: there is no signature, so a header or the path holds a shared secret."""
    headers = CIMultiDict({"x-webhook-secret": SECRET})
    assert authentic(headers, None, SECRET)
    assert authentic({}, SECRET, SECRET)
    assert authentic(CIMultiDict({"X-Own": SECRET}), None, SECRET, header="x-own")


@pytest.mark.parametrize("given_", [None, "", "wrong", SECRET + " ", "é", "\udcff"])
def test_anything_else_is_not_authentic(given_: str | None) -> None:
    assert not authentic({"X-Webhook-Secret": given_ or ""}, given_, SECRET)
    assert not authentic({"X-Webhook-Secret": given_ or ""}, given_, "")


def test_typed_fields_are_converted_empty_is_null_and_the_rest_is_as_it_came() -> None:
    """pisano §4: numbers in quotes arrive as strings, and an empty variable as an empty string."""
    body = b'{"score": "9", "ratio": "0.5", "again": "true", "branch": 12, "zip": "007", "none": "", "x": [1], "n": ""}'
    types = {"score": "integer", "ratio": "number", "again": "boolean", "branch": "string", "n": "integer"}
    parsed = parse(body, types)  # type: ignore[arg-type]
    assert parsed == {
        "score": 9,
        "ratio": 0.5,
        "again": True,
        "branch": "12",
        "zip": "007",
        "none": None,
        "x": [1],
        "n": None,
    }


def test_a_byte_order_mark_is_no_part_of_the_body() -> None:
    """An administrator who writes the template by hand may paste one."""
    assert parse(b'\xef\xbb\xbf{"score": "9"}', {"score": "integer"}) == {"score": 9}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b'{"comment": "quote " here"}', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"s": NaN}', "not JSON"),
        (b"[1]", "not a JSON object but array"),
        (b'{"score": "nine, jane@example.com"}', "'score' should be integer; this string"),
        (b'{"score": 9.5}', "'score' should be integer; this number"),
        (b'{"score": true}', "'score' should be integer; this boolean"),
        (b'{"score": {}}', "'score' should be integer; this object"),
        (b'{"score": "99999999999999999999"}', "'score' should be integer"),
        (b'{"ratio": "nan"}', "'ratio' should be number"),
    ],
)
def test_a_body_that_does_not_fit_says_why_without_its_values(body: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse(body, {"score": "integer", "ratio": "number"})
    assert "jane" not in str(caught.value)


@given(
    st.binary(max_size=200)
    | st.dictionaries(st.just("a"), st.text("0123456789.eE+-_ ") | st.floats() | st.booleans()).map(orjson.dumps)
)
def test_any_bytes_parse_to_an_object_or_a_value_error(body: bytes) -> None:
    with suppress(ValueError):
        value = parse(body, {"a": "integer"}).get("a")
        assert value is None or type(value) is int


def test_feedback_id_is_the_same_for_a_re_send_only() -> None:
    """pisano §4: there is no event id, so the bytes and the account identify the feedback."""
    assert feedback_id("main", b"{}") == feedback_id("main", b"{}")
    assert len({feedback_id("main", b"{}"), feedback_id("main", b"{ }"), feedback_id("other", b"{}")}) == 3


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
