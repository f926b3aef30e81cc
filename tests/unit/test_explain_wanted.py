"""The form of what a person types tells what it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import Fatal
from connector.explain import wanted
from connector.salesforce.record_ids import full


@pytest.mark.parametrize("what", ["", "Ada", "500", "x" * 32, "a@b@c", "a b@acme.com", "a" * 31, "5005g000000000-AAA"])
def test_what_has_no_known_form_says_which_there_are(what: str) -> None:
    with pytest.raises(
        Fatal, match=r"Give an e-mail address, a phone number such as \+90 533 000 00 00, a Salesforce id of 15"
    ):
        wanted(what)


@given(st.from_regex("[0-9A-Za-z]{15}", fullmatch=True))
def test_an_id_of_18_characters_is_known_whatever_its_capitals(record_id: str) -> None:
    for text in (full(record_id), full(record_id).lower(), full(record_id).upper()):
        assert wanted(text).ids == wanted(record_id).ids == (("record", record_id),)


def test_an_address_is_masked_in_messages() -> None:
    assert wanted("Ada.Byron@acme.com").name == "A***@acme.com"


UUID = "0002343d-9d90-e395-ed20-cf416ba652ad"


@pytest.mark.parametrize(
    ("what", "ids"),
    [
        (f"00-{'a' * 32}-{'b' * 16}-01", {("trace", "a" * 32)}),
        (f"{UUID}-1-5005g0000000001AAA", {("event", f"{UUID}-1-5005g0000000001AAA")}),
        (f" {'A' * 32} ", {(kind, "a" * 32) for kind in ("invitation", "attempt", "feedback", "write", "trace")}),
        (UUID, {("event", UUID), ("record", UUID), ("invitation", UUID.replace("-", ""))}),
    ],
)
def test_an_id_may_be_any_that_has_its_form(what: str, ids: set[tuple[str, str]]) -> None:
    assert ids <= {*wanted(what).ids}
