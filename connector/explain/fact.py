"""A fact: what one record of a topic says, with the ids that lead to other facts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from connector.salesforce.record_ids import is_id

Ids = Mapping[str, tuple[str, ...]]  # by the kind of id
Place = tuple[str, int, int]  # topic, partition, offset


class Kind(StrEnum):
    """What a fact is about. Facts of the same time are told in this order."""

    CHANGE = "change"
    INVITATION = "invitation"
    SUPPRESSION = "suppression"
    ACTION = "action"
    ATTEMPT = "attempt"
    OUTCOME = "outcome"
    FEEDBACK = "feedback"
    WRITE = "write"
    PARKED = "parked"
    WAITING = "waiting"
    DEAD_LETTER = "dead letter"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Fact:
    """It holds no personal data: a person is in it only as keyed hashes, and other systems' texts are short and masked.

    `code` is the reason, if there is one. `details` holds plain JSON values, which `connector.explain.words` reads. The
    kinds of ids are event, record (15 characters), invitation, attempt, feedback, write, answer, action, trace,
    person (the first 64 bits of the index's hashes of the topics' hashes of the contact's id and of the address), and
    erased (the hash that the suppression list has of somebody who was erased). `person_by` in the details says what
    each id of the person is of: contact, owner (the contact of several addresses), email or phone.
    """

    kind: Kind
    topic: str
    partition: int
    offset: int
    at: datetime
    code: str | None = None
    ids: Ids = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """Where its record is."""
        return self.topic, self.partition, self.offset

    @property
    def order(self) -> tuple[datetime, int, Place]:
        """Sorts facts as a story tells them."""
        return self.at, _ORDER[self.kind], self.place

    def id(self, kind: str) -> str | None:
        """Its first id of this kind."""
        return next(iter(self.ids.get(kind, ())), None)


_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ORDER = {kind: number for number, kind in enumerate(Kind)}


def normal_record(text: str | None) -> str | None:
    """The 15 characters that name a record, or the EventUuid of a platform event; None for anything else.

    A key that a configuration chose, such as the correlation key, may hold anything, even an address.
    """
    if text is None or not is_id(text):
        return text if text and _UUID.fullmatch(text) else None
    return text[:15]
