"""What a record says, for each kind of record that a stage or a person writes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connector.config import Phones
from connector.config.protect import AnsweredBy
from connector.decisions import Action, Suppression
from connector.explain.fact import Kind, normal_record
from connector.kafka.inbound import InRecord
from connector.kafka.ledger import read_entry
from connector.masking import mask_emails
from connector.protection import read_suppression_key
from connector.records import Attempt, ChangeEvent, Feedback, Invitation, Settlement, Write, read
from connector.salesforce import client_of
from connector.surveys.addresses import phone_of_answer

_LONGEST = 200  # characters of a text that another system or a person wrote; the whole text is on the topic
_MOST_FIELDS = 20  # names of changed fields; a created record has hundreds
_HEX = re.compile("[0-9a-f]{32}")

Persons = Callable[[str | None, str | None], tuple[str, ...]]  # of a contact's id and an address
Hidden = Callable[[tuple[str, ...]], tuple[str, ...]]  # of the hashes that a topic has


@dataclass(frozen=True, slots=True)
class Said:
    """The content of a fact. Ids and details without a value are left out of the fact."""

    kind: Kind
    at: datetime
    ids: Mapping[str, tuple[str | None, ...]]
    details: Mapping[str, Any]
    code: str | None = None


def change(record: InRecord, client_name: str) -> Said:
    """A change event. `client_name` is the one that our own writes carry."""
    event = read(ChangeEvent, record.value)
    details = {
        "entity": event.entity,
        "change": event.change_type,
        "changed": ", ".join(event.changed_fields[:_MOST_FIELDS]),
        "more": len(event.changed_fields[_MOST_FIELDS:]) or None,
        "ours": client_of(event.change_origin) == client_name or None,
    }
    return Said(
        Kind.CHANGE, event.committed_at, {"event": (event.id,), "record": (normal_record(event.record_id),)}, details
    )


def invitation(record: InRecord, persons: Persons) -> Said:
    """An invitation, suppressed or not."""
    found = read(Invitation, record.value)
    terms = found.protection
    people = _people(persons, contact=terms.contact, owner=terms.owner, email=found.email, phone=found.phone)
    ids = {
        "invitation": (found.id,),
        "event": (found.cause,),
        "record": (normal_record(found.record_id),),
        "person": (*people,),
    }
    details = {
        "survey": found.survey,
        "account": found.account,
        "campaign": found.campaign,
        "due": _text(found.protection.not_before),
        "detail": short(found.detail),
        "person_by": [*people.values()] or None,
    }
    return Said(Kind.INVITATION, found.created_at, ids, details, found.suppressed)


def ledger(record: InRecord, hidden: Hidden) -> Said | None:
    """A call, or the outcome of an invitation."""
    if record.value is None:
        return None
    entry = read_entry(record.value)
    return _attempt(entry) if isinstance(entry, Attempt) else _outcome(entry, hidden)


def _attempt(attempt: Attempt) -> Said:
    details = {
        "account": attempt.account,
        "call": attempt.call,
        "campaign": attempt.campaign,
        "state": attempt.state,
        "result": attempt.result,
        "begun": _text(attempt.begun_at),
        "detail": short(attempt.detail),
    }
    ids = {"attempt": (attempt.id,), "invitation": attempt.invitations}
    return Said(Kind.ATTEMPT, attempt.last_known_at, ids, details)


def _outcome(settlement: Settlement, hidden: Hidden) -> Said:
    ids = {
        "invitation": (settlement.invitation,),
        "attempt": (settlement.attempt,),
        "record": (normal_record(settlement.record_id),),
        "action": (settlement.action,),
        "person": hidden(settlement.persons),
    }
    details = {
        "outcome": str(settlement.outcome),
        "survey": settlement.survey,
        "account": settlement.account,
        "detail": short(settlement.detail),
    }
    return Said(Kind.OUTCOME, settlement.at, ids, details, settlement.reason)


def feedback(record: InRecord, persons: Persons, answered_by: AnsweredBy, phones: Mapping[str, Phones]) -> Said:
    """An answer, or a link. The key of its record is the correlation key of its body, or its own id."""
    found = read(Feedback, record.value)
    about = (record.key or b"").decode(errors="replace")
    email, phone = _first(found.body, answered_by.email), _first(found.body, answered_by.phone)
    people = _people(
        persons,
        contact=_first(found.body, answered_by.contact),
        email=email and email.strip(),
        phone=phone and phone_of_answer(phone, phones.get(found.account, Phones())),
    )
    ids = {
        "feedback": (found.id,),
        "record": (normal_record(about),),
        "person": (*people,),
    }
    details = {
        "account": found.account,
        "link": found.kind == "link" or None,
        "answered": _text(found.answered_at),
        "misfits": ", ".join(found.misfits),
        "not_strict": ", ".join(found.not_strict),
        "person_by": [*people.values()] or None,
    }
    return Said(Kind.FEEDBACK, found.received_at, ids, details)


def write(record: InRecord) -> Said | None:
    """What Salesforce was asked to store, and its answer."""
    if record.value is None:
        return None
    found = read(Write, record.value)
    by_id = found.key_field == "Id"
    ids = {
        "write": (found.id,),
        "feedback": (found.feedback,),
        "record": (normal_record(found.record_id), normal_record(found.key) if by_id else None),
        "answer": (found.key if _HEX.fullmatch(found.key) else None,),
    }
    details = {
        "rule": found.rule,
        "operation": found.operation,
        "object": found.object,
        "success": found.success,
        "created": found.created,
        "record": found.record_id,
        "fields": ", ".join(found.fields),
        "left_out": ", ".join(found.left_out),
        "cut": ", ".join(found.cut),
        "not_emptied": ", ".join(found.kept),
        "error": short(found.error),
    }
    return Said(Kind.WRITE, found.at, ids, details)


def suppression(record: InRecord, persons: Persons) -> Said:
    """An entry of the suppression list, or its end."""
    whom = read_suppression_key(record.key)
    entry = read(Suppression, record.value) if record.value is not None else None
    details = {
        "removed": entry is None or None,
        "survey": whom.survey,
        "until": _text(entry.until if entry else None),
        "erased": whom.person is not None or None,
    }
    at = entry.at if entry else datetime.fromtimestamp(record.timestamp, UTC)
    ids = {"person": persons(whom.contact, whom.address), "erased": (whom.person,)}
    return Said(Kind.SUPPRESSION, at, ids, details)


def action(record: InRecord) -> Said | None:
    """A decision of an operator about invitations."""
    if record.value is None:
        return None
    found = read(Action, record.value)
    if found.kind not in {"settle", "brake", "erase"}:
        return None
    account, _, target = found.target.partition("/")
    settles = found.kind != "brake"
    ids = {"action": (found.id,), "invitation": (target if settles else None,)}
    details = {
        "account": account,
        "survey": None if settles else target,
        "decision": found.decision,
        "by": short(found.by),
        "reason": short(found.reason),
    }
    return Said(Kind.ACTION, found.at, ids, details)


def _people(
    persons: Persons, *, contact: str | None, email: str | None, phone: str | None, owner: str | None = None
) -> dict[str, str]:
    """The ids of a person, and of what each is the hash."""
    each = {
        "contact": persons(contact, None),
        "owner": persons(owner, None),
        "email": persons(None, email),
        "phone": persons(None, phone),
    }
    return {id_: kind for kind, ids in each.items() for id_ in ids}


def short(text: str | None) -> str | None:
    """The beginning of a text, with addresses masked."""
    return text and mask_emails(text)[:_LONGEST]


def _text(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


def _first(body: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((str(body[key]) for key in keys if body.get(key) not in (None, "")), None)
