"""send: pisano.invitations → Pisano's e-mail sharing API → pisano.attempts.

All invitations of an account lie in one partition, so one worker owns the account's budget of calls and its ledger
(`connector/account_sender.py`). An invitation's record is acknowledged when its outcome is in the ledger.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from connector.account_sender import AccountSender
from connector.errors import ConnectorError
from connector.kafka.stage_worker import InRecord
from connector.records import Invitation, read

OpenSender = Callable[[str, int], Coroutine[Any, Any, AccountSender]]


class Send:
    """The stage: hands each invitation to its account's sender, which it opens when the first one comes."""

    def __init__(self, open_sender: OpenSender, *, grace: float) -> None:
        self._open_sender = open_sender
        self._grace = grace
        self._senders: dict[tuple[str, int], asyncio.Task[AccountSender]] = {}

    async def handle(self, record: InRecord) -> None:
        """One invitation, from its record to its outcome. See `StageWorker` for what an error means."""
        invitation = read(Invitation, record.value)
        place = (invitation.account, record.partition)
        if place not in self._senders:
            self._senders[place] = asyncio.create_task(self._open_sender(*place))
        try:
            sender = await asyncio.shield(self._senders[place])
        except ConnectorError:
            self._senders.pop(place, None)
            raise
        await sender.deliver(invitation, record)

    async def settle(self, partitions: set[tuple[str, int]]) -> None:
        """Closes the senders of partitions that are about to be given away, so that no call is left without its end."""
        numbers = {partition for _, partition in partitions}
        leaving = [self._senders.pop(place) for place in list(self._senders) if place[1] in numbers]
        await asyncio.gather(*(self._close(task) for task in leaving))

    async def _close(self, opening: asyncio.Task[AccountSender]) -> None:
        if opening.done() and not opening.cancelled() and opening.exception() is None:
            await opening.result().close(self._grace)
        else:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
