"""Which account has claimed a person first, as the topic `pisano.claims` has it.

Two accounts may be owned by two workers, and both may want the same person at once. Each writes a claim before its call
and reads the topic up to its own claim. The topic has one partition, so all see the same order, and the first claim
wins. A claim is given back when the invitation was not sent.
"""

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from connector.errors import Rejected
from connector.records import Claim, read
from connector.values.digests import SIZE, Digests, digest_of

CLAIMS = "pisano.claims"
_ROW = struct.Struct(f"<dQ{SIZE}s")  # when, its offset, the invitation's digest
_NONE = _ROW.pack(0.0, 0, b"")


class Claims:
    """`take` takes each record of the topic, in order. `accounts` are those whose claims count."""

    def __init__(self, accounts: Iterable[str]) -> None:
        self._accounts = tuple(accounts)
        self._rows = Digests(_ROW.size)  # by person and account: the latest claim

    def take(self, key: bytes | None, value: bytes | None, offset: int) -> None:
        """Takes a claim, or the end of one. Raises Rejected when it cannot be read."""
        place = digest_of((key or b"").decode(errors="replace"))
        if value is None:
            self._rows.put(place, _NONE)
            return
        claim = read(Claim, value)
        if claim_key(claim.person, claim.account) != key:
            raise Rejected("the claim is about another person or account than its key", code="unreadable")
        self._rows.put(place, _ROW.pack(claim.at.timestamp(), offset, digest_of(claim.invitation)))

    def own(self, persons: Sequence[str], account: str, invitation: str) -> int | None:
        """The first offset of an invitation's claim; None unless the person is claimed for it by every hash."""
        rows = [self._row(person, account) for person in persons]
        if not rows or any(of != digest_of(invitation) for _, _, of in rows):
            return None
        return min(offset for _, offset, _ in rows)

    def before(self, persons: Sequence[str], account: str, invitation: str) -> datetime | None:
        """When another account claimed the person before this invitation did, or at all if it did not."""
        own = self.own(persons, account, invitation)
        rows = [self._row(person, other) for person in persons for other in self._accounts if other != account]
        times = [at for at, offset, _ in rows if at and (own is None or offset < own)]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def _row(self, person: str, account: str) -> tuple[float, int, bytes]:
        at, offset, of = _ROW.unpack(self._rows.get(digest_of(claim_key(person, account).decode())) or _NONE)
        return at, offset, of


def claim_key(person: str, account: str) -> bytes:
    """The key of a claim: one account's latest claim of a person stays when the topic is compacted."""
    return f"{person}/{account}".encode()
