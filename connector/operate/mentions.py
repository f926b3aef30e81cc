"""Who a person is, and whether a record names the person."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from connector.kafka.inbound import InRecord
from connector.protection import Hashes, address_key, normal_contact
from connector.records import Invitation
from connector.salesforce.record_ids import is_id
from connector.values import exact

# What may not stand beside an address, because then it is another one: xada@acme.com, o'ada@acme.com, ada@acme.com.tr
_BEFORE, _AFTER = r"(?<![\w.%+-])(?<!\w')", r"(?![^\W_]|-|\.[^\W_])"
_ESCAPED = rb"\\u|%[0-9a-f]{2}"  # then an address may not stand there as it is: ada\u002bx@acme.com, ada%40acme.com


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
        return (small(address) in self.addresses) or (normal_contact(contact or "") in self.contacts)

    def with_(self, invitations: Sequence[Invitation]) -> "Person":
        """The same person with the other addresses and contacts of these invitations."""
        addresses = {small(one.address) for one in invitations if one.address}
        contacts = {normal_contact(contact) for contact in map(contact_of, invitations) if contact}
        return Person(self.addresses | addresses, self.contacts | contacts)


class Mentions:
    """Finds a person's addresses, contact ids and hashes in keys, headers and values.

    Of contacts only ids of Salesforce are looked for: a customer's number such as 9 stands in other people's answers.
    """

    def __init__(self, person: Person, hashes: Hashes) -> None:
        contacts = [one for one in person.contacts if is_id(one)]
        words = {*person.addresses, *person.contacts, *person.hashes(hashes)}
        parts = {word.lstrip("+") if word.isascii() else "@" for word in words}
        plain_words = b"|".join(re.escape(part.encode()) for part in sorted(parts))
        self._quick = re.compile(plain_words + b"|" + _ESCAPED, re.IGNORECASE)
        emails = [re.escape(address) for address in person.addresses if "@" in address]
        phones = [address.lstrip("+") for address in person.addresses if "@" not in address]
        exactly = [
            *(rf"(?i:{_BEFORE}{email}{_AFTER})" for email in emails),
            *(rf"(?<!\d)(?:00)?{phone}(?!\d)" for phone in phones),
            *(rf"(?<![A-Za-z0-9]){one}(?:[A-Za-z0-9]{{3}})?(?![A-Za-z0-9])" for one in contacts),
            *person.hashes(hashes),
        ]
        self._exact = re.compile("|".join(exactly))
        anywhere = [*(f"(?i:{email})" for email in emails), *phones, *contacts, *person.hashes(hashes)]
        self._anywhere = re.compile("|".join(anywhere))

    def in_record(self, record: InRecord) -> bool:
        """Whether it names the person anywhere.

        In a value that is no JSON, a letter before an address may be none of it: Avro writes a text's length there, and
        a body that nobody can read may have an escape such as \\n. A longer address that is found costs only a look.
        """
        around = [record.key, *(value for _, value in record.headers)]
        if any(self.may_be_in(each) and self.in_text(each) for each in around if each):
            return True
        value = record.value or b""
        return self.may_be_in(value) and self._in(value, self._anywhere)

    def may_be_in(self, raw: bytes) -> bool:
        """False when the text certainly holds no name of the person. This costs little."""
        return self._quick.search(raw) is not None

    def in_text(self, raw: bytes) -> bool:
        """Whether a JSON text, or any other, names the person in one of its values or keys."""
        return self._in(raw, self._exact)

    def _in(self, raw: bytes, no_json: re.Pattern[str]) -> bool:
        try:
            found, names = exact.loads(raw), self._exact
        except ValueError:
            found, names = raw.decode(errors="replace"), no_json
        return any(names.search(each) for text in _texts(found) for each in {text, unquote(text)})


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


def contact_of(invitation: Invitation) -> str | None:
    """The contact's id, also of a contact whom a survey invites at several addresses."""
    return invitation.protection.contact or invitation.protection.owner


def small(address: str | None) -> str:
    """An address as `Person` has it; an empty text for none."""
    return address_key(address).partition("/")[2] if address else ""
