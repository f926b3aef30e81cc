"""Customers' answers: Pisano renders the webhook from its template and sends it until the receiver accepts it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp

from connector.sandbox.doubles.pisano import templates
from connector.sandbox.doubles.pisano.model import Customer, Delivery, Email, Webhook


def _variables(email: Email, answers: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a template: `customer`, and each answer and built-in response under its question key."""
    first, _, last = str(email.custom_attributes.get("name", "")).partition(" ")
    reached = {"email" if "@" in email.address else "phone_number": email.address}
    customer = {**email.custom_attributes, **reached, "first_name": first, "last_name": last}
    return {**email.built_in_responses, **answers, "customer": customer}


class Webhooks:
    """Delivers in the background, and remembers each try in `deliveries`. Use as an async context manager."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self.deliveries: list[Delivery] = []
        self._clock = clock
        self._sleep = sleep
        self._tasks: set[asyncio.Task[None]] = set()
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> "Webhooks":
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cancel()
        await self._http.close()

    def answer(self, webhook: Webhook | None, email: Email, customer: Customer) -> None:
        """Send this customer's answer to this e-mail when it is due."""
        if webhook is None:
            return
        try:
            body = customer.body
            if body is None:
                body = templates.render(webhook.template, _variables(email, customer.answers))
        except ValueError as error:  # the sender of the e-mail does not learn of it
            self.deliveries.append(
                Delivery(at=self._clock(), address=email.address, body="", attempt=0, error=str(error))
            )
            return
        self.send(webhook, body, address=email.address, after=customer.after, times=customer.times)

    def send(
        self, webhook: Webhook, body: str, *, address: str | None = None, after: float = 0.0, times: int = 1
    ) -> None:
        """Send this body, valid or not, `times` times, one after the other."""
        task = asyncio.create_task(self._send(webhook, body, address, after, times))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Returns when every webhook is delivered or given up."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, webhook: Webhook, body: str, address: str | None, after: float, times: int) -> None:
        await self._sleep(after)
        for _ in range(times):
            for attempt in range(1, webhook.resends + 2):
                delivery = await self._deliver(webhook, body, address, attempt)
                self.deliveries.append(delivery)
                if delivery.status is not None and not (delivery.status >= 500 and webhook.resend_on_5xx):
                    break
                if attempt <= webhook.resends:
                    await self._sleep(webhook.pace * (15 + (attempt - 1) ** 4))

    async def _deliver(self, webhook: Webhook, body: str, address: str | None, attempt: int) -> Delivery:
        at, status, error = self._clock(), None, None
        headers = {"Content-Type": "application/json", **webhook.headers}
        timeout = aiohttp.ClientTimeout(total=webhook.timeout)
        try:
            async with self._http.post(
                webhook.url, data=body.encode(), headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                status = response.status
        except (aiohttp.ClientError, OSError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        return Delivery(at=at, address=address, body=body, attempt=attempt, status=status, error=error)
