"""The invitations of an account that wait for a call to Pisano, and which of them share the next call."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count

from connector.kafka.inbound import InRecord
from connector.records import Invitation

_FAIR = 20  # each so many calls, priorities do not count: else a survey without one may wait for ever


@dataclass(eq=False)
class Entry:
    """An invitation that waits for its outcome."""

    invitation: Invitation
    record: InRecord
    at_most: int  # how many recipients its call may carry; halved whenever Pisano rejects its batch
    is_suspect: bool = False  # Pisano answered 403 to it alone, so others are tried first
    persons: tuple[str, ...] = ()  # the person's hashes
    cap: str | None = None  # the hash of the value that has a quota
    checked_at: datetime | None = None  # when it was last checked again
    action: str | None = None  # the id of the action with which a person decided about it
    has_moved: bool = False  # its last call was for another person or address than its record has
    settled: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def __post_init__(self) -> None:
        if self.invitation.channel == "link":
            self.at_most = 1  # a call makes one link

    @property
    def survey(self) -> str:
        return self.invitation.survey

    @property
    def campaign(self) -> tuple[str, str]:
        """Only invitations with the same one can share a call."""
        return self.invitation.channel, self.invitation.campaign

    @property
    def address(self) -> str:
        return (self.invitation.address or "").lower()  # whether Pisano tells capitals apart is not documented

    def fail(self, error: Exception) -> None:
        """Raises `error` in the caller that waits for the outcome: there is none."""
        if not self.settled.done():
            self.settled.set_exception(error)
            self.settled.exception()  # read here, because the waiting caller may have been cancelled


class Turns:
    """Decides which survey comes next: those of the highest priority first, and among those each in turn.

    Every 20th call goes to the survey that was served longest ago.
    """

    def __init__(self, priorities: Mapping[str, int]) -> None:
        self._priorities = priorities
        self._served: dict[str, int] = {}  # by survey: the number of the call that it led last
        self._calls = count(1)

    def next_batch(self, waiting: Sequence[Entry], *, at_most: int | None = None) -> list[Entry]:
        """The invitations of the next call: they share a campaign, and no address appears twice.

        The oldest invitation of the survey whose turn it is comes first, then others of its survey, then the rest.
        """
        call, waiting = next(self._calls), self._without_worse(waiting)
        lead = min(waiting, key=self._turn if call % _FAIR == 0 else self._place)
        self._served[lead.survey] = call
        batch: list[Entry] = []
        for entry in sorted(waiting, key=lambda entry: (entry is not lead, entry.survey != lead.survey)):
            if len(batch) >= min(at_most or e.at_most for e in [*batch, entry]):
                break
            if not batch or (
                entry.campaign == lead.campaign and entry.address not in {other.address for other in batch}
            ):
                batch.append(entry)
        return batch

    def _without_worse(self, waiting: Sequence[Entry]) -> list[Entry]:
        """Those whose person no survey of a higher priority wants at the same time."""
        wanted: dict[str, int] = {}
        for entry in waiting:
            for person in entry.persons:
                wanted[person] = max(wanted.get(person, self._priority(entry)), self._priority(entry))
        return [entry for entry in waiting if all(wanted[each] <= self._priority(entry) for each in entry.persons)]

    def _turn(self, entry: Entry) -> tuple[bool, int]:
        return entry.is_suspect, self._served.get(entry.survey, 0)

    def _place(self, entry: Entry) -> tuple[bool, int, int]:
        suspect, served = self._turn(entry)
        return suspect, -self._priority(entry), served

    def _priority(self, entry: Entry) -> int:
        return self._priorities.get(entry.survey, 0)


class Queue:
    """An account's invitations without an outcome: `entries` has all of them, `waiting` those that wait for a call.

    The queue has no limit of its own: the stage's worker limits what is in flight.
    """

    def __init__(self, turns: Turns) -> None:
        self.waiting: list[Entry] = []
        self.entries: dict[str, Entry] = {}
        self.failure: Exception | None = None
        self.failed = asyncio.Event()
        self._turns = turns
        self._changed = asyncio.Event()

    async def not_empty(self) -> None:
        """Returns when an invitation waits for a call."""
        while not self.waiting:
            self._changed.clear()
            await self._changed.wait()

    def add(self, entry: Entry) -> None:
        """Makes an invitation wait for a call."""
        if entry not in self.waiting:
            self.waiting.append(entry)
        self._changed.set()

    def set_aside(self, entry: Entry) -> None:
        """Lets an invitation wait for something else than a call."""
        if entry in self.waiting:
            self.waiting.remove(entry)

    def later(self, entry: Entry, pause: float) -> None:
        """Makes it wait for a call after `pause` seconds."""
        asyncio.get_running_loop().call_later(pause, self._bring_back, entry)

    def _bring_back(self, entry: Entry) -> None:
        if self.entries.get(entry.invitation.id) is entry:
            self.add(entry)

    def next_batch(self, *, at_most: int | None) -> list[Entry]:
        """The invitations of the next call; see `Turns`."""
        return self._turns.next_batch(self.waiting, at_most=at_most)

    def of_campaign(self, campaign: tuple[str, str]) -> list[Entry]:
        """The waiting invitations of this campaign, in the form of `Entry.campaign`."""
        return [entry for entry in self.waiting if entry.campaign == campaign]

    def settled(self, entry: Entry) -> None:
        """Removes an invitation whose outcome is written down, and tells the waiting caller."""
        self._remove(entry)
        if not entry.settled.done():
            entry.settled.set_result(None)

    def turn_away(self, entries: Sequence[Entry], error: Exception) -> None:
        """Removes invitations that cannot be sent for now. Each may be delivered again."""
        for entry in list(entries):
            self._remove(entry)
            entry.fail(error)

    def fail(self, error: Exception) -> None:
        """Fails every invitation: this queue will send none of them, and no other."""
        self.failure = error
        self.failed.set()
        for entry in self.entries.values():
            entry.fail(error)

    def _remove(self, entry: Entry) -> None:
        if entry in self.waiting:
            self.waiting.remove(entry)
        self.entries.pop(entry.invitation.id, None)
