"""From a webhook's body to feedback: its id, its time, what did not fit, and what is kept of its bytes."""

import base64
import gzip
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.config import Webhook
from connector.pisano import feedback_id
from connector.records import Feedback
from connector.stages._answers import Answers, Sent, TooLarge, Unreadable, unpacked

AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
JSON = {"Content-Type": "application/json"}


def read(body: bytes, at: datetime = AT, sent: dict[str, Any] | None = None, **settings: Any) -> list[Any]:
    webhook = Webhook.model_validate({"path": "/p", "secret": "a-secret-of-a-webhook", **settings})
    return [*Answers("main", webhook).read(Sent(body, **{"headers": JSON, **(sent or {})}), at)]


def one(body: bytes, at: datetime = AT, **settings: Any) -> Feedback:
    [found] = read(body, at, **settings)
    assert isinstance(found, Feedback), found
    return found


def test_a_strict_body_is_the_feedback_and_its_bytes_are_not_kept_twice() -> None:
    body = b'{"sf_ref_id": "5001", "nps_score": "9", "comment": ""}'
    assert one(body, fields={"nps_score": "integer"}) == Feedback(
        id=feedback_id("main", body),
        account="main",
        received_at=AT,
        repeats_until=AT + timedelta(days=8),
        body={"sf_ref_id": "5001", "nps_score": 9, "comment": ""},
    )


def test_a_mended_body_is_kept_as_it_came() -> None:
    body = '{"comment": "one\ntwo ş"}'.encode()
    made = one(body, sent={"headers": {"Content-Type": "application/json; charset=utf-8"}})
    assert made.not_strict == ("line_break",)
    assert made.raw is not None
    assert (made.raw.content.encode(), made.raw.encoding, made.raw.bytes) == (body, "utf-8", len(body))
    assert made.raw.content_type == "application/json; charset=utf-8"


def test_bytes_that_are_not_utf_8_are_kept_in_base64() -> None:
    body = '{"comment": "ş"}'.encode("cp1254")
    made = one(body, sent={"charset": "windows-1254"})
    assert made.body == {"comment": "ş"}
    assert made.raw is not None
    assert (base64.b64decode(made.raw.content), made.raw.encoding) == (body, "base64")


def test_of_a_long_body_the_first_64_kb_are_kept() -> None:
    body = '{"comment": "xş\n'.encode() + "ş".encode() * 60_000 + b'"}'
    raw = one(body).raw
    assert raw is not None
    assert (raw.encoding, raw.bytes) == ("utf-8", len(body))
    assert body.startswith(raw.content.encode())
    assert 65_536 - 2 < len(raw.content.encode()) <= 65_536


def test_a_value_that_does_not_fit_costs_only_its_field_or_the_answer_as_the_setting_says() -> None:
    body = b'{"nps_score": "N/A", "comment": "x"}'
    made = one(body, fields={"nps_score": "integer"})
    assert (made.body, made.misfits) == ({"nps_score": None, "comment": "x"}, {"nps_score": "N/A"})
    assert made.raw is not None
    [letter] = read(body, fields={"nps_score": "integer"}, misfit="dead_letter")
    assert isinstance(letter, Unreadable)
    assert letter.body == body
    assert str(letter.error) == "a value does not fit its type: 'nps_score' should be integer"


def test_the_id_names_the_answer_by_the_chosen_keys_for_ever() -> None:
    first = one(b'{"response_id": "r-1", "tries": 1}', identity=["response_id"])
    again = one(b'{"tries": 2, "response_id": "r-1"}', AT + timedelta(days=99), identity=["response_id"])
    other = one(b'{"response_id": "r-2", "tries": 1}', identity=["response_id"])
    assert first.id == again.id != other.id
    assert first.repeats_until is again.repeats_until is None


def test_ignored_keys_and_the_order_of_keys_do_not_change_the_id() -> None:
    first = one(b'{"score": 1, "sent_at": 1}', identity_ignores=["sent_at"])
    again = one(b'{"sent_at": 2, "score": 1}', identity_ignores=["sent_at"])
    other = one(b'{"sent_at": 2, "score": 2}', identity_ignores=["sent_at"])
    assert first.id == again.id != other.id


def test_without_an_identity_an_equal_body_is_a_repeat_for_a_while() -> None:
    for body in (b'{"response_id": "", "score": 9}', b'{"score": 9}'):
        made = one(body, identity=["response_id"], repeats_within="2h")
        assert made.id == feedback_id("main", body)
        assert made.repeats_until == AT + timedelta(hours=2)


def test_each_answer_of_an_array_is_a_feedback_and_what_is_no_object_is_not() -> None:
    found = read(b'[{"a": 1}, {"a": 1}, "x"]')
    assert [each.body for each in found] == [{"a": 1}, {"a": 1}, b'"x"']
    first, second, letter = found
    assert first.id != second.id
    assert isinstance(letter, Unreadable)
    assert [each.id for each in read(b'[{"a": 1}, {"a": 1}]')] != [first.id, second.id]
    assert [each.id for each in read(b'[{"a": 1}, {"a": 1}, "x"]')[:2]] == [first.id, second.id]


def test_the_time_of_an_answer_is_what_the_named_key_holds() -> None:
    made = one(b'{"at": "2026-02-28T10:00:00+03:00"}', answered_at="at")
    assert made.answered_at == datetime(2026, 2, 28, 7, tzinfo=UTC)
    assert one(b'{"at": ""}', answered_at="at").answered_at is None
    wrong = one(b'{"at": "yesterday"}', answered_at="at")
    assert (wrong.answered_at, wrong.misfits) == (None, {"at": "yesterday"})


@pytest.mark.parametrize(("at", "is_taken"), [("2026-03-02T12:30:00Z", True), ("2026-03-02T12:30:01Z", False)])
def test_a_time_of_more_than_a_day_ahead_is_none_as_it_would_supersede_what_comes_until_then(
    at: str, is_taken: bool
) -> None:
    made = one(f'{{"at": "{at}"}}'.encode(), answered_at="at")
    assert (made.answered_at is not None, made.misfits) == (is_taken, {} if is_taken else {"at": at})


def test_an_answer_that_grew_is_another_one_also_if_its_time_cannot_be_read() -> None:
    first, again, grown = (
        one(f'{{"id": "r-1", "at": "{at}"}}'.encode(), identity=["id"], answered_at="at") for at in ("x", "x", "y")
    )
    assert first.id == again.id != grown.id


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        (" GZIP ", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("", lambda body: body),
        ("identity", lambda body: body),
        ("br", lambda body: body),
        ("gzip", lambda body: body),  # the header says so, but nobody packed it
    ],
)
def test_a_packed_body_is_unpacked_up_to_the_limit(encoding: str, pack: Any) -> None:
    body = b'{"comment": "%s"}' % (b"x" * 1000)
    assert unpacked(pack(body), encoding, len(body)) == body
    if pack(body) != body:
        with pytest.raises(TooLarge, match="at most 999 bytes"):
            unpacked(pack(body), encoding, 999)


@given(st.binary(max_size=100), st.sampled_from(["gzip", "deflate"]))
def test_what_cannot_be_unpacked_stays_as_it_came(body: bytes, encoding: str) -> None:
    cut_off = gzip.compress(body)[:-4]
    assert unpacked(cut_off, "gzip", 1000) == cut_off
    assert isinstance(unpacked(body, encoding, 1000), bytes)
