"""What a person asks about: an address, a record, or one of our ids. Its form tells which."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from connector.errors import Fatal
from connector.explain.facts import Facts
from connector.masking import mask_email
from connector.protection import Hashes
from connector.salesforce.record_ids import is_id
from connector.surveys.addresses import normalise_email

_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+")
_PHONE = re.compile(r"\+[\d ()./-]{6,30}")
_HEX = re.compile("[0-9a-f]{32}")
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TRACEPARENT = re.compile("[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_EVENT = re.compile(r"\S+-\d+-[A-Za-z0-9]{18}")  # transaction, sequence number and record
_MARKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"  # five bits each (salesforce §D3)
_OUR_IDS = ("invitation", "attempt", "feedback", "write", "answer", "action", "trace")
_FORMS = (
    "an e-mail address, a phone number such as +90 533 000 00 00, a Salesforce id of 15 or 18 characters, the 32 "
    "digits of an invitation, attempt, feedback, write or trace, or the id of a change event"
)

_Id = tuple[str, str]  # its kind and its value


@dataclass(frozen=True)
class Wanted:
    """`name` is for messages: it holds no address. `ids` may be ids of different kinds with the same text."""

    name: str
    ids: tuple[_Id, ...] = ()
    contact: str | None = None
    addresses: tuple[str, ...] = ()

    def erased_ids(self, hashes: Hashes) -> list[_Id]:
        """The ids of the person on the suppression list after an erasure. `hashes` are those of the topics."""
        persons = [hashes.persons(self.contact, None), *(hashes.persons(None, address) for address in self.addresses)]
        return list(dict.fromkeys(("erased", person) for each in persons for person in each))

    def all_ids(self, facts: Facts) -> list[_Id]:
        """The ids to look for, in an index whose `facts` hide persons."""
        persons = [facts.persons(self.contact, None), *(facts.persons(None, address) for address in self.addresses)]
        return [*self.ids, *(("person", person) for each in persons for person in each)]


def wanted(text: str) -> Wanted:
    """Reads what a person typed.

    Raises:
        Fatal: It has none of the forms.
    """
    text = text.strip()
    if _ADDRESS.fullmatch(text):
        return Wanted(mask_email(text), addresses=_spellings(text))
    if _PHONE.fullmatch(text):
        return Wanted("this phone number", addresses=(re.sub(r"[^+\d]", "", text),))
    if is_id(text):
        record = _with_capitals(text)
        return Wanted(text, (("record", record),), contact=record)
    if ids := tuple(_ids(text)):
        return Wanted(text, ids)
    raise Fatal(f"nothing is called {text[:100]!r}. Give {_FORMS}.")


def _ids(text: str) -> Iterator[_Id]:
    small = text.lower()
    if found := _TRACEPARENT.fullmatch(small):
        yield "trace", found[1]
    elif _HEX.fullmatch(small) or _UUID.fullmatch(small):
        digits = small.replace("-", "")
        yield from ((kind, digits) for kind in _OUR_IDS)
        if digits != small:  # the EventUuid of a platform event
            yield from (("event", text), ("record", text))
    elif _EVENT.fullmatch(text):
        yield "event", text


def _with_capitals(record_id: str) -> str:
    """The 15 characters of a record id. In 18, capitals do not matter: the last three say which of the 15 are."""
    marks = [_MARKS.find(mark) for mark in record_id[15:].upper()]
    if not marks or -1 in marks:
        return record_id[:15]
    return "".join(
        char.upper() if marks[place // 5] >> place % 5 & 1 else char.lower()
        for place, char in enumerate(record_id[:15])
    )


def _spellings(address: str) -> tuple[str, ...]:
    """As it was typed, and as invitations have it."""
    try:
        return tuple(dict.fromkeys((address, normalise_email(address))))
    except ValueError:
        return (address,)
