"""Acts for the customers in the doubles, and reads from the topics what happened to each."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain

from aiokafka import AIOKafkaConsumer

from connector.config import Kafka
from connector.kafka.connection import client_settings
from connector.kafka.ledger import read_entry
from connector.records import Attempt, Feedback, Invitation, Settlement, Write, read
from connector.sandbox.cast import CUSTOMERS, Customer
from connector.sandbox.company import Sandbox
from connector.sandbox.doubles import pisano

_LOOK = 200  # milliseconds between two reads of the topics
_ANSWERS_AFTER = 0.3  # seconds; so that an answer visibly comes later than its e-mail


def open_cases(sandbox: Sandbox) -> dict[str, Customer]:
    """Creates each customer's contact and open case. Returns the customers by the id of their case."""
    org, cases = sandbox.salesforce, {}
    for customer in CUSTOMERS:
        contact = {
            "FirstName": customer.first_name,
            "LastName": customer.last_name,
            "Email": customer.email,
            "HasOptedOutOfEmail": customer.opted_out,
        }
        case = {"ContactId": org.create("Contact", contact), "Branch__c": "Kadıköy", "Subject": "Where is my parcel?"}
        cases[org.create("Case", case)] = customer
        if customer.email and customer.score is not None:
            answers: dict[str, str | int | float | bool] = {"nps_score": customer.score, "comment": customer.comment}
            sandbox.pisano.customers[customer.email] = pisano.Customer(
                answers=answers, after=_ANSWERS_AFTER, times=customer.times
            )
    return cases


def close_cases(sandbox: Sandbox, cases: Mapping[str, Customer]) -> None:
    """Closes (or escalates) every case, as an agent would, all at the same moment."""
    for case, customer in cases.items():
        sandbox.salesforce.update("Case", case, {"Status": customer.status})


@dataclass
class Fate:
    """What the topics say about one case."""

    customer: Customer
    invitation: Invitation | None = None
    settlement: Settlement | None = None
    attempt: Attempt | None = None
    feedbacks: list[Feedback] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)

    @property
    def waited(self) -> float | None:
        """Seconds from the invitation to the call that carried it."""
        if self.invitation is None or self.attempt is None:
            return None
        return (self.attempt.begun_at - self.invitation.created_at).total_seconds()

    def wrong(self) -> str | None:
        """What is wrong, or None."""
        customer, settlement = self.customer, self.settlement
        if settlement is None:
            return "no outcome yet"
        if settlement.outcome != customer.outcome:
            return f"{settlement.outcome} instead of {customer.outcome}"
        if customer.outcome == "suppressed" and settlement.reason != customer.reason:
            return f"suppressed for {settlement.reason} instead of {customer.reason}"
        if len(self.feedbacks) != (customer.times if customer.score is not None else 0):
            return f"{len(self.feedbacks)} webhooks"
        rules = sorted(write.rule for write in self.writes if write.success)
        wanted = [] if customer.score is None else ["detractor", "response"] if customer.reopened else ["response"]
        return None if rules == wanted else f"written: {', '.join(rules) or 'nothing'}"


class Story:
    """Reads the topics and records the fate of every case."""

    def __init__(self, kafka: Kafka, cases: Mapping[str, Customer]) -> None:
        self.fates = {case: Fate(customer) for case, customer in cases.items()}
        self._kafka = kafka
        self._attempts: dict[str, Attempt] = {}
        self._writes: defaultdict[str, list[Write]] = defaultdict(list)  # by feedback, which may come after its writes

    def wrong(self) -> dict[str, str]:
        """What is wrong, by case."""
        return {case: wrong for case, fate in self.fates.items() if (wrong := fate.wrong())}

    async def follow(self) -> AsyncGenerator[int, None]:
        """Reads the topics until it is closed, and yields how many new records each read found."""
        names = {self._kafka.topic_prefix + name: tell for name, tell in self._tellers().items()}
        consumer = AIOKafkaConsumer(
            *names,
            **client_settings(self._kafka),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        await consumer.start()
        try:
            while True:
                found = (await consumer.getmany(timeout_ms=_LOOK)).values()
                for record in chain.from_iterable(found):
                    names[record.topic](record.value)
                yield sum(map(len, found))
        finally:
            await consumer.stop()

    def _tellers(self) -> dict[str, Callable[[bytes], None]]:
        return {
            "pisano.invitations": self._invitation,
            "pisano.attempts": self._ledger,
            "pisano.feedback": self._feedback,
            "salesforce.writes": self._write,
        }

    def _invitation(self, value: bytes) -> None:
        invitation = read(Invitation, value)
        if fate := self.fates.get(invitation.record_id):
            fate.invitation = invitation

    def _ledger(self, value: bytes) -> None:
        entry = read_entry(value)
        if isinstance(entry, Attempt):
            self._attempts[entry.id] = entry
        elif fate := self.fates.get(entry.record_id):
            fate.settlement = entry
            fate.attempt = self._attempts.get(entry.attempt or "")

    def _feedback(self, value: bytes) -> None:
        feedback = read(Feedback, value)
        if fate := self.fates.get(str(feedback.body.get("sf_ref_id"))):
            fate.feedbacks.append(feedback)
            fate.writes = self._writes[feedback.id]

    def _write(self, value: bytes) -> None:
        write = read(Write, value)
        self._writes[write.feedback].append(write)
