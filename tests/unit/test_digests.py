"""Rows under digests behave like a dict's items, whatever their bytes are."""

import hashlib

from hypothesis import example, given
from hypothesis import strategies as st

from connector.values.digests import SIZE, Digests, digest_of

# Few different bytes, so that a digest is often found across two rows as well.
digests = st.lists(st.sampled_from([0, 1]), min_size=SIZE, max_size=SIZE).map(bytes)
rows = st.lists(st.sampled_from([0, 1]), min_size=4, max_size=4).map(bytes)


@given(st.lists(st.tuples(digests, rows)), digests, st.integers(1, 16))
@example([(b"\0" * SIZE, b"\0" * 4), (b"\0" * 15 + b"\1", b"\0" * 4)], b"\0" * SIZE, 16)
def test_it_is_a_dict_of_the_latest_rows(put: list[tuple[bytes, bytes]], other: bytes, bits: int) -> None:
    table = Digests(width=4, bits=bits)
    for digest, row in put:
        table.put(digest, row)
    expected = dict(put)
    for digest in (*expected, other):
        assert table.get(digest) == expected.get(digest)
    assert len(table) == len(put)


@given(st.lists(digests), digests)
def test_without_width_it_is_a_set(put: list[bytes], other: bytes) -> None:
    table = Digests()
    for digest in put:
        table.put(digest)
    for digest in (*put, other):
        assert (digest in table) == (digest in put)


@given(st.one_of(st.text(), st.binary(min_size=SIZE, max_size=SIZE).map(bytes.hex)))
@example("AB" * SIZE)
@example(" ".join(["ab"] * SIZE))
@example("ab" * (SIZE + 1))
def test_an_id_of_32_hex_digits_is_its_own_digest_and_any_other_text_is_hashed(id_: str) -> None:
    is_hex = len(id_) == 2 * SIZE and set(id_) <= set("0123456789abcdef")
    assert digest_of(id_) == (bytes.fromhex(id_) if is_hex else hashlib.sha256(id_.encode()).digest()[:SIZE])
