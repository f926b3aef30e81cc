"""Who a person is: the id of the contact if it is known, and the e-mail address or phone number.

Persons are remembered as hashes only.
"""

import hashlib
import hmac
from functools import lru_cache
from typing import Self

from connector.config import ProtectAll

_SIZE = 16  # bytes: among a thousand million persons two are equal with a probability of 1e-21
_CACHED = 10_000  # persons: those of the invitations that an account's sender holds at once


class Hashes:
    """`key` is the setting `protect.hash_key`; without it, the hashes are plain SHA-256."""

    def __init__(self, key: str | None) -> None:
        self._key = None if key is None else key.encode()
        self.persons = lru_cache(_CACHED)(self._persons)

    @classmethod
    def of_config(cls, over_all: ProtectAll) -> Self:
        """Those that the topics hold."""
        return cls(over_all.hash_key.get_secret_value() if over_all.hash_key else None)

    def _persons(self, contact: str | None, address: str | None) -> tuple[str, ...]:
        """The person's hashes. Two invitations are for the same person if they have one in common."""
        named = [f"contact/{normal_contact(contact)}"] if contact else []
        return tuple(map(self.of, [*named, address_key(address)] if address else named))

    def of(self, text: str) -> str:
        """The hash of any text: 32 hex digits."""
        data = text.encode()
        digest = hashlib.sha256(data) if self._key is None else hmac.new(self._key, data, hashlib.sha256)
        return digest.digest()[:_SIZE].hex()


def address_key(address: str) -> str:
    """`email/` and an address in small letters, or `phone/` and a number."""
    return f"{'email' if '@' in address else 'phone'}/{address.strip().lower()}"


def normal_contact(contact: str) -> str:
    """Ids of 15 and 18 characters name the same record in Salesforce; other ids stay as they are."""
    contact = contact.strip()
    return contact[:15] if len(contact) == 18 and contact.isascii() and contact.isalnum() else contact
