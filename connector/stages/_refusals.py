"""What a refused call, or a refused address, says: about one invitation, its batch, its campaign or the account."""

from collections import defaultdict
from collections.abc import Callable, Sequence

from connector.cells import Breaker
from connector.errors import Fatal, Rejected
from connector.pisano import Forbidden
from connector.reasons import Reason
from connector.records import Attempt, Outcome
from connector.stages._batches import Entry, Queue
from connector.stages._book import Book, Decision
from connector.stages._evidence import Evidence


class Refusals:
    """Too many refusals of a campaign raise Fatal instead of making dead letters."""

    def __init__(self, queue: Queue, book: Book, evidence: Evidence, breaker: Callable[[], Breaker]) -> None:
        self._queue = queue
        self._book = book
        self._evidence = evidence
        self._breakers: defaultdict[tuple[str, str], Breaker] = defaultdict(breaker)  # by channel and campaign

    def count(self, campaign: tuple[str, str], sent: int, refused: int) -> None:
        """Counts what an accepted call says of its addresses; `campaign` is that of an `Entry`.

        Raises:
            Fatal: Most are refused.
        """
        breaker = self._breakers[campaign]
        if sent:
            breaker.passed()
        if any(breaker.refused() for _ in range(refused)):
            raise Fatal("Pisano's answers refuse most addresses: check the campaign's flow and `answers`.")

    async def rejected(self, attempt: Attempt, batch: Sequence[Entry], error: Rejected) -> None:
        """Takes a call that Pisano refused. Raises Fatal when it is not the body's fault."""
        if len(batch) > 1:
            for entry in batch:
                entry.at_most = len(batch) // 2
            await self._book.end(attempt, "rejected", f"{error}; its {len(batch)} recipients are tried in halves")
        elif isinstance(error, Forbidden) and not self._evidence.is_the_body(batch[0], self._queue.waiting, error):
            await self._book.end(attempt, "refused", f"{error}; others are tried first, to see who is at fault")
            self._evidence.raise_if_it_is_the_credential(self._queue.waiting, error)
        elif self._breakers[batch[0].campaign].refused():
            await self._book.end(attempt, "refused", f"{error}; too many were refused like this")
            raise Fatal(f"{error} Many were refused like this: check the campaign's flow and question keys.")
        else:
            rejected = Decision(batch, Outcome.REJECTED, error, Reason.REFUSED)
            await self._book.end(attempt, "rejected", str(error), rejected)
