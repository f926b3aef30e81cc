"""Rows under 16-byte digests, in little memory: what an account's ledger knows about millions of invitations."""

import hashlib
from collections import defaultdict

SIZE = 16  # bytes: among a thousand million digests two are equal with a probability of 1e-21
_BITS = 16  # of the digest choose the bucket: of ten million rows, one of 65,536 holds 150, so a look takes 3 µs


def digest_of(id_: str) -> bytes:
    """The 16 bytes of an id of 32 hex digits; for any other text the first 16 bytes of its SHA-256."""
    try:
        given = bytes.fromhex(id_)
    except ValueError:
        given = b""
    if len(given) == SIZE and given.hex() == id_:
        return given
    return hashlib.sha256(id_.encode()).digest()[:SIZE]


class Digests:
    """A table that holds a row of `width` bytes under each digest; a later row replaces an earlier one.

    A row takes its own bytes, its digest's, and an eighth more, because there is no Python object for it. A bucket
    takes some 200 bytes, so a table of less than a million rows wants fewer of them: 2 to the power of `bits`. Rows are
    only ever added, and a look begins at the newest, so replacing a row gives no memory back.
    """

    def __init__(self, width: int = 0, *, bits: int = _BITS) -> None:
        self._width = width
        self._unused = _BITS - bits
        self._buckets: defaultdict[int, bytearray] = defaultdict(bytearray)

    def put(self, digest: bytes, row: bytes = b"") -> None:
        """Adds a row of exactly `width` bytes."""
        self._buckets[self._bucket(digest)] += digest + row

    def get(self, digest: bytes) -> bytes | None:
        """The latest row under the digest; None when there is none."""
        bucket, step = self._buckets.get(self._bucket(digest), b""), SIZE + self._width
        at = bucket.rfind(digest)
        while at >= 0 and at % step:  # these bytes are the end of one row and the beginning of another
            at = bucket.rfind(digest, 0, at + SIZE - 1)
        return bytes(bucket[at + SIZE : at + step]) if at >= 0 else None

    def __contains__(self, digest: bytes) -> bool:
        return self.get(digest) is not None

    def __len__(self) -> int:
        """How many rows were put, replaced ones included."""
        return sum(map(len, self._buckets.values())) // (SIZE + self._width)

    def _bucket(self, digest: bytes) -> int:
        return (digest[0] << 8 | digest[1]) >> self._unused
