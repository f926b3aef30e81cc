"""The double's state: an account's campaigns and customers, its settings, and its memory."""

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence

from connector.sandbox.doubles.pisano.model import (
    Call,
    Campaign,
    Channel,
    Customer,
    Delivery,
    Email,
    Fault,
    Flow,
    Question,
    Settings,
    Webhook,
)
from connector.sandbox.doubles.pisano.webhooks import Webhooks
from connector.sandbox.doubles.pisano.windows import Windows
from connector.values import exact

_A_YEAR = 366 * 86400.0  # seconds
DOCUMENTED_LIMITS = ((20, 5.0), (40, 25.0), (80, 125.0), (160, 625.0))  # pisano §6


class State:
    """One Pisano account: the data behind its server, and the methods that `PisanoDouble` offers to tests."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        windows: Sequence[tuple[int, float]] = DOCUMENTED_LIMITS,
        token_lifetime: float = 3600.0,
        app_id: str | None = None,
        app_secret: str | None = None,
        static_token: str | None = None,
    ) -> None:
        self._ahead = 0.0  # seconds
        self.clock: Callable[[], float] = lambda: clock() + self._ahead
        self.sleep = sleep
        self.app_id = app_id or f"app-{secrets.token_hex(4)}"
        self.app_secret = app_secret or secrets.token_urlsafe(24)
        self.static_token = static_token or secrets.token_urlsafe(24)
        self.settings = Settings(token_lifetime=token_lifetime)
        self.flows: dict[str, Flow] = {}
        self.campaigns: dict[str, Campaign] = {}
        self.customers: dict[str, Customer] = {}
        self.webhook: Webhook | None = None
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.tokens: dict[str, float] = {}  # token to expiry
        self.windows = Windows(windows)
        self.webhooks = Webhooks(self.clock, sleep)
        self.stopping = asyncio.Event()
        self._emails: list[Email] = []

    def add_campaign(self, campaign: str, questions: Iterable[str | Question], channel: Channel = "email") -> None:
        """Add a working campaign, with a flow of the same id. A plain key is a question of type string."""
        self.flows[campaign] = Flow(questions=tuple(Question(key=q) if isinstance(q, str) else q for q in questions))
        self.campaigns[campaign] = Campaign(flow=campaign, channel=channel)

    def configure(self, **changes: object) -> None:
        """Change single settings, such as `configure(retry_after=True)`."""
        self.settings = Settings.model_validate({**self.settings.model_dump(), **changes})

    def advance(self, seconds: float) -> None:
        """Set the clock forward, by a year at most: tokens grow old and windows pass. Customers answer no sooner."""
        if not 0 <= seconds <= _A_YEAR:
            raise ValueError(f"{seconds:g} s is not between 0 and {_A_YEAR:g}")
        self._ahead += seconds

    def revoke_tokens(self) -> None:
        """Make all tokens given so far invalid, except the static one."""
        self.tokens.clear()

    def fail(self, fault: Fault) -> None:
        """Let the next calls of a kind fail, hang or be late."""
        self.faults.append(fault)

    def take_fault(self, call: str) -> Fault | None:
        """The first fault that waits for this kind of call. Its `times` goes down by one."""
        for index, fault in enumerate(self.faults):
            if fault.calls in {None, call}:
                left = [fault.model_copy(update={"times": fault.times - 1})] if fault.times > 1 else []
                self.faults[index : index + 1] = left
                return fault
        return None

    def email(self, email: Email) -> None:
        """Send a survey to a customer, who may answer."""
        self._emails.append(email)
        customer = self.customers.get(email.address.lower())
        if customer is not None:
            self.webhooks.answer(self.webhook, email, customer)

    def emails(self, address: str | None = None) -> list[Email]:
        """All e-mails that were sent, or those to one address."""
        return self._sent("email", address)

    def texts(self, number: str | None = None) -> list[Email]:
        """All SMS that were sent, or those to one phone number."""
        return self._sent("sms", number)

    def links(self, address: str | None = None) -> list[Email]:
        """All links that were made, or those for one address."""
        return self._sent("link", address)

    def _sent(self, channel: Channel, address: str | None) -> list[Email]:
        wanted = None if address is None else address.lower()
        return [each for each in self._emails if each.channel == channel and wanted in {None, each.address.lower()}]

    def second_emails(self) -> list[Email]:
        """Every further e-mail, SMS or link for an invitation that already had one. There should be none.

        Campaign, address and built-in responses identify an invitation; `invitation_key` picks one of the responses.
        """
        by_invitation: dict[tuple[str, str, bytes], list[Email]] = defaultdict(list)
        key = self.settings.invitation_key
        for email in self._emails:
            responses = email.built_in_responses
            known_by = responses.get(key) if key else responses
            cause = exact.dumps(sorted(known_by.items()) if isinstance(known_by, dict) else known_by)
            by_invitation[email.campaign, email.address.lower(), cause].append(email)
        return [email for emails in by_invitation.values() for email in emails[1:]]

    @property
    def deliveries(self) -> list[Delivery]:
        """Every try to deliver a webhook."""
        return self.webhooks.deliveries

    def violations(self) -> list[Call]:
        """The calls that broke a limit, in a fixed or sliding window."""
        return [call for call in self.calls if call.exceeded]

    async def reset(self) -> None:
        """Forget all past calls and e-mails and all pending webhooks and faults; the set-up stays."""
        await self.webhooks.cancel()
        self.calls.clear()
        self._emails.clear()
        self.faults.clear()
        self.deliveries.clear()
        self.windows.clear()
