"""The records on our topics keep every value that is put into them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import Rejected
from connector.kafka.cloud_events import to_record
from connector.records import Feedback, Record, Write, read

AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
numbers = st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
exact_numbers = st.from_regex(r"-?[1-9][0-9]{0,30}\.[0-9]{0,20}[1-9]0", fullmatch=True).map(Decimal)
scalars = numbers | exact_numbers | texts | st.booleans() | st.none()


AnyRecord = TypeVar("AnyRecord", bound=Record)


def through_a_topic(record: AnyRecord) -> AnyRecord:
    made = to_record("topic", "key", record, ce_type="t", ce_source="/s", ce_id="1", ce_time=AT)
    return read(type(record), made.value)


@given(st.dictionaries(texts, scalars | st.lists(scalars) | st.dictionaries(texts, scalars)))
def test_a_body_is_the_same_behind_its_topic(body: dict[str, object]) -> None:
    record = Feedback(id="f-1", account="main", received_at=AT, body=body)
    assert repr(through_a_topic(record).body) == repr(body)


@given(st.dictionaries(texts, scalars))
def test_the_fields_of_a_write_are_the_same_behind_their_topic(fields: dict[str, object]) -> None:
    record = Write(
        id="w-1",
        feedback="f-1",
        rule="response",
        operation="upsert",
        object="Survey_Response__c",
        key_field="Pisano_Id__c",
        key="1",
        fields=fields,
        success=True,
        at=AT,
    )
    assert repr(through_a_topic(record).fields) == repr(fields)


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b'{"id": 1e9999}', b"[" * 300, b'{"id": "f-1", "more": 1}'])
def test_what_is_no_record_is_rejected(value: bytes | None) -> None:
    with pytest.raises(Rejected, match="not a readable Feedback") as caught:
        read(Feedback, value)
    assert caught.value.code == "unreadable"


def test_a_field_of_a_newer_version_is_ignored_and_a_required_one_is_not() -> None:
    """In a rolling upgrade an older worker reads what a newer one writes."""
    value = Feedback(id="f-1", account="main", received_at=AT, body={"a": 1}).model_dump_json().encode()
    newer = value.replace(b"{", b'{"of_tomorrow":{"a":[1]},', 1)
    assert read(Feedback, newer) == read(Feedback, value)
    with pytest.raises(Rejected, match="account: Field required"):
        read(Feedback, newer.replace(b'"account"', b'"acount"'))
