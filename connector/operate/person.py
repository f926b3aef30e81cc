"""Finds everything that the topics hold about a person, byte for byte.

A record is about a person if it names one of the person's addresses, contact ids or hashes, or if its ids lead to one
of the person's invitations or answers, as in `connector explain`, and it names nobody else.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ValidationError

from connector.config import Config, catalogue
from connector.errors import Fatal
from connector.explain import Fact, Facts, Kind, wanted
from connector.kafka.inbound import InRecord
from connector.kafka.kept import Progress, kept
from connector.masking import mask_emails
from connector.operate.mentions import Mentions, Person, contact_of, small
from connector.protection import Hashes
from connector.records import Invitation
from connector.values import exact

INVITATIONS = ("pisano.invitations", "pisano.waiting", "connector.parked", "connector.deadletters")
_FEEDBACK = "pisano.feedback"
_HOPS = 3  # from an address to its contact, to the contact's other addresses, to whoever else has those

Sharing = Literal["same", "other"]


@dataclass
class Leads:
    """The ids that lead to a person's records."""

    person: Person
    invitations: dict[str, Invitation] = field(default_factory=dict)
    feedback: set[str] = field(default_factory=set)


def person_of(whom: str) -> Person:
    """Raises Fatal when it is neither an address, a phone number nor an id of Salesforce."""
    asked = wanted(whom)
    if not asked.addresses and asked.contact is None:
        raise Fatal("name a person by an e-mail address, a phone number such as +90 533 000 00 00, or a contact's id")
    return Person(frozenset(map(small, asked.addresses)), frozenset([asked.contact] if asked.contact else []))


async def leads(
    config: Config, whom: str, progress: Progress = lambda *_: None, *, sharing: Sharing | None = None
) -> Leads:
    """The person with all addresses and contacts of the person's invitations, and the ids that lead to the records.

    `sharing` says whether contacts that share an address are the `same` person, or `other` people.

    Raises:
        Fatal: `whom` names nobody, or several contacts share an address and `sharing` is None. Or a topic is missing.
        Retryable: Kafka is away.
    """
    named = person_of(whom)
    found = Leads(named)
    for _ in range(_HOPS):
        found.invitations = {one.id: one async for one in _invitations(config, found.person, progress)}
        wider = found.person.with_([*found.invitations.values()])
        if wider == found.person:
            break
        found.person = wider
    if sharing is None and len(found.person.contacts) > 1:
        raise Fatal(
            f"the contacts {mask_emails(', '.join(sorted(found.person.contacts)))} share an address. Add --sharing same"
            " if they are one person, or --sharing other if they are not"
        )
    if sharing == "other":
        found = apart(named, found.invitations)
    search = Search(config, found)
    async with aclosing(kept(config.kafka, [config.kafka.topic_prefix + _FEEDBACK], progress=progress)) as records:
        async for record in records:
            if (fact := search.facts.of(record)) and search.is_about(_without_raw(record), fact):
                found.feedback.update(fact.ids.get("feedback", ()))
    return found


def apart(named: Person, invitations: Mapping[str, Invitation]) -> Leads:
    """What is the named person's alone: of an address what goes to it, of a contact what no other contact shares."""
    if named.addresses:
        return Leads(named, {id_: one for id_, one in invitations.items() if named.is_of(one.address, None)})
    own, others = set[str](), set[str]()
    for one in invitations.values():
        if contact := contact_of(one):
            (own if named.is_of(None, contact) else others).add(small(one.address))
    person = Person(frozenset(own - others - {""}), named.contacts)
    its = {
        id_: one
        for id_, one in invitations.items()
        if person.is_of(None if contact_of(one) else one.address, contact_of(one))
    }
    return Leads(person, its)


async def records(config: Config, found: Leads, progress: Progress = lambda *_: None) -> AsyncGenerator[InRecord, None]:
    """Every record about the person, and those that replaced it on a compacted topic. In order per partition."""
    search, before = Search(config, found), set[tuple[str, bytes | None]]()
    topics = [topic.name for topic in catalogue.topics_for(config)]
    compacted = {topic.name for topic in catalogue.topics_for(config) if topic.is_read_back}
    async with aclosing(kept(config.kafka, topics, progress=progress)) as each:
        async for record in each:
            place = record.topic, record.key
            if place in before or search.is_about(record, search.facts.of(record)):
                if record.topic in compacted:
                    before.add(place)
                yield record


class Search:
    """Decides whether a record is about a person. `facts` makes facts of records."""

    def __init__(self, config: Config, found: Leads) -> None:
        hashes = Hashes.of_config(config.protect)
        self.facts = Facts(config, hashes)
        self._mentions = Mentions(found.person, hashes)
        self._found = found
        self._events = {one.cause for one in found.invitations.values()}
        self._records = {one.record_id[:15] for one in found.invitations.values()} | found.person.contacts
        names = [(None, address) for address in found.person.addresses]
        both = [*names, *((contact, None) for contact in found.person.contacts)]
        self._persons = {id_ for contact, address in both for id_ in self.facts.persons(contact, address)}
        mine = [(contact_of(one), one.address) for one in found.invitations.values()]
        # also an address that is shared
        self._near = self._persons.union(*(self.facts.persons(*each) for each in mine))

    def is_about(self, record: InRecord, fact: Fact | None) -> bool:
        """Whether the record names the person, or its fact has an id that leads to the person."""
        return self._mentions.in_record(record) or (fact is not None and self._leads_to(fact))

    def _leads_to(self, fact: Fact) -> bool:
        def has(id_kind: str, known: Any) -> bool:
            return any(id_ in known for id_ in fact.ids.get(id_kind, ()))

        if has("person", self._persons) or has("invitation", self._found.invitations):
            return True
        if not self._near.issuperset(fact.ids.get("person", ())):
            return False  # another customer of the same record
        if has("event", self._events) or has("feedback", self._found.feedback):
            return True
        return fact.kind in {Kind.CHANGE, Kind.FEEDBACK} and has("record", self._records)


async def _invitations(config: Config, person: Person, progress: Progress) -> AsyncIterator[Invitation]:
    """Those of the person, wherever they lie."""
    mentions = Mentions(person, Hashes.of_config(config.protect))
    topics = [config.kafka.topic_prefix + name for name in INVITATIONS]
    async with aclosing(kept(config.kafka, topics, progress=progress)) as records:
        async for record in records:
            if not mentions.may_be_in(record.value or b""):
                continue
            try:
                invitation = Invitation.model_validate_json(record.value or b"")
            except ValidationError:
                continue
            if person.is_of(invitation.address, contact_of(invitation)):
                yield invitation


def _without_raw(record: InRecord) -> InRecord:
    """An answer without the body that it came in, which may hold other people's answers."""
    try:
        value = exact.loads(record.value or b"")
    except ValueError:
        return record
    if not isinstance(value, dict):
        return record
    return replace(record, value=exact.dumps({name: each for name, each in value.items() if name != "raw"}))


def plain(record: InRecord) -> Mapping[str, Any]:
    """The record as one JSON object. A value that is no JSON is in `text`, or in `base64` if it is no text either."""
    content: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "at": datetime.fromtimestamp(record.timestamp, UTC).isoformat(),
        "key": None if record.key is None else record.key.decode(errors="backslashreplace"),
        "headers": {name: (value or b"").decode(errors="backslashreplace") for name, value in record.headers},
    }
    if record.value is None:
        return content | {"value": None}
    try:
        return content | {"value": exact.loads(record.value)}
    except ValueError:
        pass
    try:
        return content | {"text": record.value.decode()}
    except UnicodeDecodeError:
        return content | {"base64": record.value}
