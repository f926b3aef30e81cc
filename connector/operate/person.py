"""Finds everything that the topics hold about a person, byte for byte.

A record is about a person if it names one of the person's addresses, contact ids or hashes, or if its ids lead to one
of the person's invitations or answers, as in `connector explain`.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from connector.config import Config, catalogue
from connector.errors import Fatal
from connector.explain import Fact, Facts, Kind, wanted
from connector.kafka.inbound import InRecord
from connector.kafka.kept import Progress, kept
from connector.protection import Hashes, address_key, normal_contact
from connector.records import Invitation
from connector.values import exact

INVITATIONS = ("pisano.invitations", "pisano.waiting", "connector.parked", "connector.deadletters")
_FEEDBACK = "pisano.feedback"
# What may not stand beside an address, because then it is another one: xada@acme.com, ada@acme.com.tr
_BEFORE, _AFTER = r"(?<![A-Za-z0-9._%+-])", r"(?![A-Za-z0-9-]|\.[A-Za-z0-9])"


@dataclass(frozen=True)
class Person:
    """Who it is: addresses as invitations have them, in small letters, and contact ids of 15 characters."""

    addresses: frozenset[str]
    contacts: frozenset[str]

    def hashes(self, hashes: Hashes) -> tuple[str, ...]:
        """The person's hashes on the topics."""
        of_addresses = (one for address in sorted(self.addresses) for one in hashes.persons(None, address))
        return (*of_addresses, *(one for contact in sorted(self.contacts) for one in hashes.persons(contact, None)))

    def is_of(self, address: str | None, contact: str | None) -> bool:
        """Whether an address or a contact's id is the person's."""
        return (_small(address) in self.addresses) or (normal_contact(contact or "") in self.contacts)

    def with_(self, invitations: Sequence[Invitation]) -> "Person":
        """The same person with the other addresses and contacts of these invitations."""
        addresses = {_small(one.address) for one in invitations if one.address}
        contacts = {normal_contact(one.protection.contact) for one in invitations if one.protection.contact}
        return Person(self.addresses | addresses, self.contacts | contacts)


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
        raise Fatal("name a person by an e-mail address, a phone number such as +905330000000, or a contact's id")
    return Person(frozenset(map(_small, asked.addresses)), frozenset([asked.contact] if asked.contact else []))


async def leads(config: Config, whom: str, progress: Progress = lambda *_: None) -> Leads:
    """The person with all addresses and contacts of the person's invitations, and the ids that lead to the records.

    Raises:
        Fatal: `whom` names nobody, or a topic is missing.
        Retryable: Kafka is away.
    """
    found = Leads(person_of(whom))
    for _ in range(2):  # again with the other names that the invitations give; those of these are somebody else's
        found.invitations = {one.id: one async for one in _invitations(config, found.person, progress)}
        wider = found.person.with_([*found.invitations.values()])
        if wider == found.person:
            break
        found.person = wider
    search = Search(config, found)
    async with aclosing(kept(config.kafka, [config.kafka.topic_prefix + _FEEDBACK], progress=progress)) as records:
        async for record in records:
            if (fact := search.facts.of(record)) and search.is_about(record, fact):
                found.feedback.update(fact.ids.get("feedback", ()))
    return found


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

    def is_about(self, record: InRecord, fact: Fact | None) -> bool:
        """Whether the record names the person, or its fact has an id that leads to the person."""
        return self._mentions.in_record(record) or (fact is not None and self._leads_to(fact))

    def _leads_to(self, fact: Fact) -> bool:
        def has(id_kind: str, known: Any) -> bool:
            return any(id_ in known for id_ in fact.ids.get(id_kind, ()))

        if has("person", self._persons) or has("invitation", self._found.invitations):
            return True
        if has("event", self._events) or has("feedback", self._found.feedback):
            return True
        names_nobody = not fact.ids.get("person")
        return names_nobody and fact.kind in {Kind.CHANGE, Kind.FEEDBACK} and has("record", self._records)


class Mentions:
    """Finds a person's addresses, contact ids and hashes in keys, headers and values."""

    def __init__(self, person: Person, hashes: Hashes) -> None:
        words = {*person.addresses, *person.contacts, *person.hashes(hashes)}
        self._quick = re.compile(b"|".join(re.escape(word.encode()) for word in sorted(words)), re.IGNORECASE)
        exactly = [
            *(rf"(?i:{_BEFORE}{re.escape(address)}{_AFTER})" for address in person.addresses if "@" in address),
            *(rf"(?<!\d){re.escape(address)}(?!\d)" for address in person.addresses if "@" not in address),
            *(rf"(?<![A-Za-z0-9]){one}(?:[A-Za-z0-9]{{3}})?(?![A-Za-z0-9])" for one in person.contacts),
            *person.hashes(hashes),
        ]
        self._exact = re.compile("|".join(exactly))

    def in_record(self, record: InRecord) -> bool:
        """Whether it names the person anywhere."""
        raw = [record.key, record.value, *(value for _, value in record.headers)]
        return any(self._quick.search(each) and self.in_text(each) for each in raw if each)

    def in_text(self, raw: bytes) -> bool:
        """Whether a JSON text, or any other, names the person in one of its values or keys."""
        try:
            found = exact.loads(raw)
        except ValueError:
            found = raw.decode(errors="replace")
        return any(self._exact.search(text) for text in _texts(found))


async def _invitations(config: Config, person: Person, progress: Progress) -> AsyncIterator[Invitation]:
    """Those of the person, wherever they lie."""
    mentions = Mentions(person, Hashes.of_config(config.protect))
    topics = [config.kafka.topic_prefix + name for name in INVITATIONS]
    async with aclosing(kept(config.kafka, topics, progress=progress)) as records:
        async for record in records:
            if not mentions.in_record(record):
                continue
            try:
                invitation = Invitation.model_validate_json(record.value or b"")
            except ValidationError:
                continue
            if person.is_of(invitation.address, invitation.protection.contact):
                yield invitation


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


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for name, inner in value.items():
                yield name
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)
        case bool() | None:
            return
        case _:
            yield str(value)


def _small(address: str | None) -> str:
    return address_key(address).partition("/")[2] if address else ""
