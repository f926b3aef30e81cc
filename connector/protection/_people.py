"""What other topics say about persons: who is on the suppression list, and who answered when."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from connector.config import Phones
from connector.config.protect import AnsweredBy
from connector.decisions import Suppression
from connector.errors import Rejected
from connector.protection._persons import Hashes, address_key, normal_contact
from connector.protection._times import Times
from connector.reasons import Reason
from connector.records import Feedback, Invitation, read
from connector.surveys.addresses import phone_of_answer
from connector.values.digests import digest_of

_WHOM = r"email/(?P<email>.+@[^/]+)|phone/(?P<phone>\+\d+)|contact/(?P<contact>[^/]+)|person/(?P<person>[0-9a-f]{32})"
_FAR = datetime(9999, 1, 1, tzinfo=UTC)  # an entry until then has no end; a day later, some zones have no date any more
_KEY = re.compile(rf"(?:{_WHOM})(?:/(?P<survey>[^/]+))?", re.DOTALL)


class Listed(NamedTuple):
    """Whom an entry of the list is about. `person` is the hash that is left of somebody who was erased."""

    address: str | None
    contact: str | None
    survey: str | None
    person: str | None = None


def suppression_key(address: str | None, contact: str | None, survey: str | None, person: str | None = None) -> str:
    """The key of an entry on `pisano.suppressions`. Raises ValueError unless it is about exactly one.

    The address is an e-mail address, or a phone number such as +905330000000. `person` is a hash of `Hashes`.
    """
    if sum(one is not None for one in (address, contact, person)) != 1:
        raise ValueError("an entry is about an address, a contact or the hash of a person")
    if address is not None:
        whom = address_key(address)
    else:
        whom = f"contact/{normal_contact(contact)}" if contact is not None else f"person/{person}"
    return f"{whom}/{survey}" if survey else whom


def read_suppression_key(key: bytes | None) -> Listed:
    """Whom a key is about. Raises Rejected when it is none."""
    found = _KEY.fullmatch((key or b"").decode(errors="replace"))
    if not found:
        raise Rejected(
            "the key is not email/<address>, phone/<number>, contact/<id> or person/<hash>, so nobody is suppressed",
            code="unreadable",
        )
    return Listed(found["email"] or found["phone"], found["contact"], found["survey"], found["person"])


class People:
    """`listed` takes each record of `pisano.suppressions`, `answered` each of `pisano.feedback`.

    `phones` has the accounts' settings.
    """

    def __init__(self, hashes: Hashes, answered_by: AnsweredBy, phones: Mapping[str, Phones]) -> None:
        self._hashes = hashes
        self._phones = phones
        self._answered_by = answered_by
        self._listed = Times()  # by the entry's key: until when
        self._answers = Times()  # by person: when they last answered

    def listed(self, key: bytes | None, value: bytes | None) -> None:
        """Takes an entry of the list. An entry whose value cannot be read counts without an end.

        Raises:
            Rejected: The key, or the value, cannot be read.
        """
        place = digest_of(suppression_key(*read_suppression_key(key)))
        if value is None:
            self._listed.put(place, -math.inf)
            return
        self._listed.put(place, math.inf)
        if (until := read(Suppression, value).until) is not None:
            self._listed.put(place, math.inf if until >= _FAR else until.timestamp())

    def answered(self, value: bytes | None) -> None:
        """Takes an answer. Raises Rejected when it cannot be read."""
        feedback = read(Feedback, value)
        if feedback.kind != "answer":
            return
        contact = _first(feedback.body, self._answered_by.contact)
        email = _first(feedback.body, self._answered_by.email)
        phone = _first(feedback.body, self._answered_by.phone)
        at = (feedback.answered_at or feedback.received_at).timestamp()
        phones = self._phones.get(feedback.account, Phones())
        for address in (email and email.strip(), phone and phone_of_answer(phone, phones)):
            for person in self._hashes.persons(contact, address):
                self._answers.put_if_later(digest_of(person), at)

    def suppressed_by(self, invitation: Invitation, now: datetime) -> tuple[Reason, str] | None:
        """Why the suppression list stops the invitation, also in words without the address; None if it does not."""
        address, contact = invitation.address, invitation.protection.contact or invitation.protection.owner
        for person in self._hashes.persons(contact, address):
            if self._until(Listed(None, None, None, person), now) is not None:
                return Reason.ERASED, "the person was erased, and is never invited again"
        about = (("address", address, None), ("contact", None, contact))
        for kind, its_address, its_contact in (each for each in about if each[1] or each[2]):
            for survey in (None, invitation.survey):
                if (until := self._until(Listed(its_address, its_contact, survey), now)) is not None:
                    end = "" if until == math.inf else f" until {datetime.fromtimestamp(until, UTC):%FT%TZ}"
                    text = f"the {kind} is on the list{end}, for {survey or 'every survey'}"
                    return Reason.ON_SUPPRESSION_LIST, text
        return None

    def _until(self, whom: Listed, now: datetime) -> float | None:
        """Until when an entry holds that holds now."""
        until = self._listed.get(digest_of(suppression_key(*whom)))
        return until if until is not None and until > now.timestamp() else None

    def answered_at(self, invitation: Invitation) -> datetime | None:
        """When the person last answered a survey."""
        persons = self._hashes.persons(invitation.protection.contact, invitation.address)
        return self._answers.latest(map(digest_of, persons))


def _first(body: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """The first of these that holds a text or a number. A webhook may put a list or an object there."""
    values = (body.get(key) for key in keys)
    return next((str(value) for value in values if isinstance(value, (str, int, Decimal)) and value != ""), None)
