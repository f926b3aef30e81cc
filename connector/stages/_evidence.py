"""Tells from an account's calls what is at fault: Pisano as a whole, the credential, or one invitation."""

import asyncio
from collections.abc import Sequence

from connector.cells import Breaker, Cell
from connector.errors import Fatal, Retryable
from connector.pisano import Forbidden
from connector.retry import PATIENCE
from connector.stages._batches import Entry

_FIRST_PAUSE = 5.0  # seconds before the first call after an outage was noticed
_LONGEST_PAUSE = 300.0  # seconds: each call in an outage may leave a customer in doubt
REFUSED_BODIES = 3  # different invitations refused with a 403 in a row: one or two may hold what a firewall dislikes


class Evidence:
    """Pisano counts as away after `outage_after` calls in a row that ended unknown."""

    def __init__(self, outage_after: int) -> None:
        self._outage_after = outage_after
        self._unknown = 0  # in a row
        self._suspects: set[str] = set()  # invitations refused with a 403 since the last call that passed
        self._has_passed = False

    @property
    def in_outage(self) -> bool:
        """Whether only one call at a time may be made, for one invitation, after `pause` seconds."""
        return self._unknown >= self._outage_after

    @property
    def pause(self) -> float:
        """Seconds before the next call, while `in_outage`."""
        return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._unknown - self._outage_after, 10))

    def passed(self) -> None:
        """A call was accepted, so the credential and Pisano are fine."""
        self._unknown, self._has_passed = 0, True
        self._suspects.clear()

    def answered(self) -> None:
        """A call was refused, so Pisano is there."""
        self._unknown = 0

    def unknown(self) -> None:
        """A call got no answer that tells whether it was carried out."""
        self._unknown += 1

    def is_the_body(self, entry: Entry, waiting: Sequence[Entry], error: Forbidden) -> bool:
        """Whether a 403 to one invitation alone is about its body, as far as we know.

        If we do not know, the invitation is a suspect and waits behind the others: their calls will tell.
        """
        self._suspects.add(entry.invitation.id)
        if len(self._suspects) >= REFUSED_BODIES:
            return False
        entry.is_suspect = True
        return all(other.is_suspect for other in waiting) and (error.is_page or self._has_passed)

    def raise_if_it_is_the_credential(self, waiting: Sequence[Entry], error: Forbidden) -> None:
        """Raises Fatal when several different bodies in a row, or all that wait, were refused with a 403."""
        if len(self._suspects) >= REFUSED_BODIES or all(entry.is_suspect for entry in waiting):
            for entry in waiting:
                entry.is_suspect = False
            raise Fatal(f"{error} Every invitation in a row was refused like this.", whole=True)


class Outage:
    """Holds the cell `calls` once no call of the account has gone through for some time."""

    def __init__(self, calls: Cell) -> None:
        self._calls = calls
        self._since: float | None = None

    def shows(self, error: Exception, *, at_once: bool) -> None:
        """Takes note that a call failed as in an outage. A pause that Pisano asks for counts as if it were over."""
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        asked = (error.retry_after or 0.0) if isinstance(error, Retryable) else 0.0
        if at_once or now - self._since + asked > PATIENCE:
            self._calls.hold(error, "outage")

    def ends(self) -> None:
        """Takes note that Pisano has answered a call."""
        self._since = None
        self._calls.works()


def count(breaker: Breaker, sent: int, refused: int) -> None:
    """Counts what an accepted call decided. Raises Fatal when most of a campaign's addresses are refused."""
    if sent:
        breaker.passed()
    if any(breaker.refused() for _ in range(refused)):
        raise Fatal("Pisano's answers refuse most addresses: check the campaign's flow and `answers`.")
