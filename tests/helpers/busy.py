"""A company at work: cases are closed all the time, each customer is asked once and answers, and all is counted."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from connector.sandbox.broker._local import _free_ports
from connector.sandbox.doubles.pisano import Customer, PisanoDouble, Webhook
from connector.sandbox.doubles.salesforce import SalesforceDouble
from helpers import topics
from helpers.invitations import CAMPAIGN, KEYS, outcomes
from helpers.service import WEBHOOK_SECRET, Setup, set_up
from helpers.waiting import PATIENCE, until

_SURVEY: dict[str, Any] = {
    "on": "Case",
    "when": 'changed contains "Status" and record.Status == "Closed"',
    "lookup": {"contact": {"object": "Contact", "id": "{{ record.ContactId }}", "fields": ["Email"]}},
    "account": "main",
    "campaign": CAMPAIGN,
    "email": "{{ contact.Email }}",
    "built_in_responses": {"sf_ref_id": "{{ record.Id }}"},
}
_RULE: dict[str, Any] = {
    "upsert": "Survey_Response__c",
    "by": {"Pisano_Id__c": "{{ feedback.id }}"},
    "fields": {"Case__c": "{{ body.sf_ref_id }}", "Score__c": "{{ body.nps_score }}"},
}


class Busy:
    """`cases` are those closed so far. `setup` is the connector's configuration against this company."""

    def __init__(self, salesforce: SalesforceDouble, pisano: PisanoDouble, setup: Setup) -> None:
        self.salesforce, self.pisano, self.setup = salesforce, pisano, setup
        self.cases: list[str] = []

    def close_a_case(self) -> None:
        """The customer is a new one, who answers as soon as the e-mail is there."""
        address = f"customer-{len(self.cases)}@example.com"
        self.pisano.customers[address] = Customer(answers={"nps_score": len(self.cases) % 11})
        contact = self.salesforce.create("Contact", {"LastName": "Doe", "Email": address})
        case = self.salesforce.create("Case", {"ContactId": contact})
        self.salesforce.update("Case", case, {"Status": "Closed"})
        self.cases.append(case)

    @asynccontextmanager
    async def closing(self, per_second: float) -> AsyncIterator[None]:
        """Closes cases until the block ends."""

        async def work() -> None:
            while True:
                self.close_a_case()
                await asyncio.sleep(1 / per_second)

        working = asyncio.create_task(work())
        try:
            yield
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working

    async def all_asked_once(self, within: float = PATIENCE) -> None:
        """Waits until each case has one e-mail and one answer in Salesforce. Fails if one has two of either."""

        def done() -> bool:
            return len(self.salesforce.records("Survey_Response__c")) >= len(self.cases) <= len(self.pisano.emails())

        with suppress(AssertionError):  # the next lines say more
            await until(done, within)
        asked = Counter(email.built_in_responses["sf_ref_id"] for email in self.pisano.emails())
        answered = Counter(record["Case__c"] for record in self.salesforce.records("Survey_Response__c"))
        counts = {case: (asked[case], answered[case]) for case in {*asked, *answered, *self.cases}}
        others = {case: both for case, both in counts.items() if both != (1, 1)}
        assert not others, f"of {len(self.cases)} cases, these were not asked and answered once: {others}"
        assert self.pisano.second_emails() == []
        kafka = self.setup.kafka

        async def settled() -> bool:
            return len(await outcomes(kafka)) == len(self.cases)

        await until(settled)
        assert all(Counter(ended.elements()) == Counter(["sent"]) for ended in (await outcomes(kafka)).values())
        assert await topics.read(kafka, "connector.deadletters") == []


@asynccontextmanager
async def busy(folder: Path, bootstrap_servers: str, prefix: str, **sections: Any) -> AsyncIterator[Busy]:
    (folder / "spool").mkdir()
    port = _free_ports()[0]  # always the same, so that a customer can answer again after a restart
    service = {"host": "127.0.0.1", "port": port, "spool": {"folder": str(folder / "spool")}}
    async with SalesforceDouble() as salesforce, PisanoDouble(windows=[(10_000, 1.0)]) as pisano:
        pisano.add_campaign(CAMPAIGN, KEYS)
        headers = {"X-Webhook-Secret": WEBHOOK_SECRET}
        pisano.webhook = Webhook(url=f"http://127.0.0.1:{port}/pisano/main", headers=headers, pace=0.03)
        pisano.configure(invitation_key="sf_ref_id")
        setup = await set_up(
            folder,
            bootstrap_servers,
            prefix,
            salesforce=salesforce,
            pisano=pisano,
            account={"limits": ["10000/5s"], "limit_padding": 0},
            pubsub={"start": "earliest"},
            surveys={"closed-case": _SURVEY},
            feedback={"response": _RULE},
            service=service,
            **sections,
        )
        yield Busy(salesforce, pisano, setup)
