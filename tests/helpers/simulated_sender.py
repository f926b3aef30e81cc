"""The sender of one account in simulated time, with a ledger in memory and a Pisano that refuses what a test says."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from connector.cells import Cells
from connector.config import Account, Kafka
from connector.errors import Rejected
from connector.kafka.inbound import InRecord
from connector.kafka.waiting import Waiting
from connector.limits import StackedLimiter
from connector.observe.metrics import Metrics
from connector.pisano import Accepted, Recipient, StaticToken
from connector.records import Attempt, Invitation, Outcome, Settlement
from connector.stages._account_sender import AccountSender
from connector.stages._batches import Turns
from helpers.protection import NO_RECHECK, protection

RECORD = InRecord("pisano.invitations", 0, 0, b"main", b"", (), 0.0)


class Ledger:
    """A ledger in memory; every write takes 30 ms."""

    account = "main"

    def __init__(self) -> None:
        self.waiting = Waiting(Kafka(bootstrap_servers="nowhere:1"), "main", 0)
        self.outcomes: dict[str, Outcome] = {}
        self.attempts: list[Attempt] = []
        self.settlements: list[Settlement] = []
        self.doubted: Counter[str] = Counter()

    def doubts(self, invitation: str) -> int:
        return self.doubted[invitation]

    def is_settled(self, invitation: str) -> bool:
        return invitation in self.outcomes

    def unsettled(self, _: str) -> None:
        return None

    async def begin(self, attempt: Attempt) -> None:
        await asyncio.sleep(0.03)
        self.attempts.append(attempt)
        self.doubted.update(attempt.invitations)

    async def settle(self, attempt: Attempt | None, settlements: Sequence[Settlement] = (), *_: object) -> None:
        await asyncio.sleep(0.03)
        if attempt and attempt.result != "unknown":
            self.doubted.subtract(attempt.invitations)
        assert not {settlement.invitation for settlement in settlements} & self.outcomes.keys()
        self.settlements += settlements
        self.outcomes |= {settlement.invitation: settlement.outcome for settlement in settlements}

    async def close(self) -> None:
        """Nothing to release."""


class Pisano:
    """`meets(address)` returns the error of a call with that address. `calls` holds each call's time and addresses.

    Its answers list the addresses in `lists` as refused.
    """

    def __init__(self, meets: Callable[[str], Exception | None] = lambda _: None) -> None:
        self.meets = meets
        self.calls: list[tuple[float, list[str]]] = []
        self.e_mailed: Counter[str] = Counter()
        self.campaigns: Counter[str] = Counter()
        self.lists: set[str] = set()

    async def send(self, campaign: str, recipients: Sequence[Recipient]) -> Accepted:
        await asyncio.sleep(0.1)
        addresses = [recipient.address for recipient in recipients]
        self.calls.append((asyncio.get_running_loop().time(), addresses))
        self.campaigns[campaign] += 1
        for address in addresses:
            if error := self.meets(campaign if self.meets.__name__ == "by_campaign" else address):
                raise error
        refused = self.lists.intersection(addresses)
        if refused and len(addresses) == 1:
            raise Rejected("its results refuse the address", code="refused_by_answer")
        self.e_mailed.update({*addresses} - refused)
        return Accepted("answer " * 100, frozenset(refused))


class World:
    def __init__(self, pisano: Pisano, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        account = {"base_url": "https://pisano", "auth": {"method": "static_token", "token": "t"}}
        policy, recipients = options.pop("policy", "hold"), options.pop("at_once", 1)
        self.ledger, self.cells, self.pisano, self.metrics = Ledger(), Cells(), pisano, Metrics()
        self.sender = AccountSender(
            Account.model_validate({**account, "max_recipients_per_call": recipients, "unknown_outcome": policy}),
            self.ledger,  # type: ignore[arg-type]
            StackedLimiter(options.pop("limits", Account.model_validate(account).limits), clock=loop.time),
            turns=Turns(options.pop("priorities", {})),
            protection=(guard := protection()),
            known=guard.known("main"),
            calls=self.cells.at("send/main/(calls)"),
            dead_letter=lambda *_: None,  # type: ignore[arg-type, return-value]
            metrics=self.metrics,
            again=self.again,
            recheck=options.pop("recheck", NO_RECHECK),
            claims_to=self.again,
            now=lambda: datetime.fromtimestamp(loop.time(), UTC),
            **options,
        )
        self.sender.start(pisano, StaticToken("t"))  # type: ignore[arg-type]

    async def again(self, _: object) -> None:
        raise AssertionError("nothing waits here")

    async def deliver(self, *invitations: Invitation) -> list[Any]:
        deliveries = (self.sender.deliver(one, RECORD) for one in invitations)
        return await asyncio.gather(*deliveries, return_exceptions=True)

    def outcomes(self) -> Counter[str]:
        return Counter(self.ledger.outcomes.values())
