"""Times under digests, in little memory: when each of millions of persons was last invited, or last answered."""

import struct
from collections.abc import Iterable
from datetime import UTC, datetime

from connector.values.digests import Digests

_TIME = struct.Struct("<d")


class Times:
    """One time for each digest, in seconds since 1970."""

    def __init__(self) -> None:
        self._rows = Digests(_TIME.size)

    def put(self, digest: bytes, at: float) -> None:
        """Stores a time in place of the one before."""
        self._rows.put(digest, _TIME.pack(at))

    def put_if_later(self, digest: bytes, at: float) -> None:
        """Stores a time, unless the one that is there is as late."""
        before = self.get(digest)
        if before is None or before < at:
            self.put(digest, at)

    def get(self, digest: bytes) -> float | None:
        """The time; None when there is none."""
        row = self._rows.get(digest)
        return None if row is None else float(_TIME.unpack(row)[0])

    def latest(self, digests: Iterable[bytes]) -> datetime | None:
        """The latest time under any of these digests."""
        times = [at for digest in digests if (at := self.get(digest)) is not None]
        return datetime.fromtimestamp(max(times), UTC) if times else None
