"""Which of an account's waiting invitations share a call to Pisano."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from connector.kafka.inbound import InRecord
from connector.pisano import Recipient
from connector.records import Invitation


@dataclass(eq=False)
class Entry:
    """An invitation that waits for its outcome."""

    invitation: Invitation
    record: InRecord
    at_most: int  # how many recipients its call may carry; halved whenever Pisano rejects its batch
    settled: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def address(self) -> str:
        return (self.invitation.email or "").lower()  # whether Pisano tells capitals apart is not documented


def next_batch(waiting: Iterable[Entry]) -> list[Entry]:
    """The oldest waiting invitation and those behind it that may share its call: same campaign, other addresses."""
    batch: list[Entry] = []
    for entry in waiting:
        if len(batch) >= min(e.at_most for e in [*batch, entry]):
            break
        if not batch or (
            entry.invitation.campaign == batch[0].invitation.campaign
            and entry.address not in {other.address for other in batch}
        ):
            batch.append(entry)
    return batch


def recipient(invitation: Invitation) -> Recipient:
    """The invitation as Pisano's call has it."""
    return Recipient(invitation.email or "", invitation.custom_attributes, invitation.built_in_responses)
