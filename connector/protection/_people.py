"""What other topics say about persons: who is on the suppression list, and who answered when."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from connector.config.protect import AnsweredBy
from connector.decisions import Suppression
from connector.errors import Rejected
from connector.protection._persons import Hashes, address_key, normal_contact
from connector.protection._times import Times
from connector.records import Feedback, Invitation, read
from connector.values.digests import digest_of

_WHOM = r"email/(?P<email>.+@[^/]+)|phone/(?P<phone>\+\d+)|contact/(?P<contact>[^/]+)"
_KEY = re.compile(rf"(?:{_WHOM})(?:/(?P<survey>[^/]+))?", re.DOTALL)


def suppression_key(address: str | None, contact: str | None, survey: str | None) -> str:
    """The key of an entry on `pisano.suppressions`. Raises ValueError unless there is one of `address` and `contact`.

    The address is an e-mail address, or a phone number such as +905330000000.
    """
    if (address is None) == (contact is None):
        raise ValueError("an entry is about an address or about a contact")
    whom = address_key(address) if address is not None else f"contact/{normal_contact(contact or '')}"
    return f"{whom}/{survey}" if survey else whom


def read_suppression_key(key: bytes | None) -> tuple[str | None, str | None, str | None]:
    """The address, contact and survey of a key. Raises Rejected when it is none."""
    found = _KEY.fullmatch((key or b"").decode(errors="replace"))
    if not found:
        raise Rejected(
            "the key is not email/<address>, phone/<number> or contact/<id>, so nobody is suppressed", code="unreadable"
        )
    return found["email"] or found["phone"], found["contact"], found["survey"]


class People:
    """`listed` takes each record of `pisano.suppressions`, `answered` each of `pisano.feedback`."""

    def __init__(self, hashes: Hashes, answered_by: AnsweredBy) -> None:
        self._hashes = hashes
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
            self._listed.put(place, until.timestamp())

    def answered(self, value: bytes | None) -> None:
        """Takes an answer. Raises Rejected when it cannot be read."""
        feedback = read(Feedback, value)
        if feedback.kind != "answer":
            return
        contact = _first(feedback.body, self._answered_by.contact)
        email = _first(feedback.body, self._answered_by.email)
        phone = _first(feedback.body, self._answered_by.phone)
        at = (feedback.answered_at or feedback.received_at).timestamp()
        for address in (email and email.strip(), phone and re.sub(r"[^+\d]", "", phone)):
            for person in self._hashes.persons(contact, address):
                self._answers.put_if_later(digest_of(person), at)

    def suppressed_by(self, invitation: Invitation, now: datetime) -> str | None:
        """The entry of the suppression list that stops the invitation, in words without the address."""
        for kind, address, contact in (
            ("address", invitation.address, None),
            ("contact", None, invitation.protection.contact),
        ):
            for survey in (None, invitation.survey) if address or contact else ():
                until = self._listed.get(digest_of(suppression_key(address, contact, survey)))
                if until is not None and until > now.timestamp():
                    end = "" if until == math.inf else f" until {datetime.fromtimestamp(until, UTC):%FT%TZ}"
                    return f"the {kind} is on the list{end}, for {survey or 'every survey'}"
        return None

    def answered_at(self, invitation: Invitation) -> datetime | None:
        """When the person last answered a survey."""
        persons = self._hashes.persons(invitation.protection.contact, invitation.address)
        return self._answers.latest(map(digest_of, persons))


def _first(body: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """The first of these that holds a text or a number. A webhook may put a list or an object there."""
    values = (body.get(key) for key in keys)
    return next((str(value) for value in values if isinstance(value, (str, int, Decimal)) and value != ""), None)
