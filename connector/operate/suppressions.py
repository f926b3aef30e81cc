"""The suppression list: writes and lists its entries."""

import csv
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from connector.config import Config, Kafka, Phones
from connector.config.scope import one_of
from connector.decisions import Action, Suppression
from connector.errors import Fatal, Rejected
from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.read_back import read_back
from connector.masking import mask_email
from connector.operate._writing import written
from connector.operate.actions import action_of
from connector.operate.actions import record_of as of_action
from connector.protection import Hashes, suppression_key
from connector.records import read
from connector.salesforce import record_ids
from connector.surveys.addresses import normalise_email, normalise_phone

SUPPRESSIONS = "pisano.suppressions"
GONE = "already removed: nobody is on the list with this entry any more"
_SOMEBODY = "somebody"  # who added an entry that cannot be read
_ERASED = re.compile("person/[0-9a-f]{32}")
_HEAD = 6  # digits of an erased person's hash: whoever knows an address could look whether a whole hash is of it
_WHOM: tuple[Literal["email", "phone", "contact"], ...] = ("email", "phone", "contact")
_COLUMNS = (*_WHOM, "survey", "until", "why")
_WRONG = {
    "email": "this is no e-mail address: it has no @",
    "phone": "a phone number begins with + and its country, such as +90 533 000 00 00; spreadsheets often drop the +",
    "contact": "this is no contact's id: Salesforce's ids have 15 or 18 letters and digits",
    None: "write an e-mail address, a phone number with its country such as +90 533 000 00 00, or a contact's id of 15"
    " or 18 letters and digits",
}


def new_entry(
    config: Config,
    whom: str,
    *,
    of: Literal["email", "phone", "contact"] | None = None,
    survey: str | None = None,
    until: datetime | None = None,
    why: str | None = None,
    by: str,
) -> Suppression:
    """An entry to add. `of` says what `whom` has to be; without it, that shows in `whom`, as `entry` says.

    Raises:
        Fatal: The entry would protect nobody: `whom` is something else or names nobody, there is no such survey, or
            `until` has passed.
    """
    one = entry(whom, survey=survey, until=until, why=why, by=by)
    found = {"email": one.email, "phone": one.phone, "contact": one.contact}
    if (of and not found[of]) or (one.contact and not record_ids.is_id(one.contact)):
        raise Fatal(_WRONG[of])
    if survey is not None and survey not in config.surveys:
        raise Fatal(f"there is no survey {survey}; {one_of(survey, config.surveys)}")
    if until is not None and until <= one.at:
        raise Fatal(f"the entry would have ended at {until.astimezone(UTC):%FT%TZ} already: give a later time, or none")
    return one


def entry(
    whom: str, *, survey: str | None = None, until: datetime | None = None, why: str | None = None, by: str
) -> Suppression:
    """An entry as the list may have it, also one that protects nobody: about an e-mail address (it has an @), a phone
    number (it begins with +), a contact's id, or the hash of somebody who was erased (`person/<hash>`).

    Raises:
        Fatal: It is none of these.
    """
    whom = whom.strip()
    try:
        if "@" in whom:
            about = {"email": normalise_email(whom).lower()}
        elif whom.startswith("+"):
            about = {"phone": normalise_phone(whom, Phones())}
        elif _ERASED.fullmatch(whom):
            about = {"person": whom.removeprefix("person/")}
        else:
            about = {"contact": whom}
    except ValueError as error:
        raise Fatal(f"this is not an address that could be invited: {error}") from error
    if not whom or "/" in about.get("contact", ""):
        raise Fatal(_WRONG[None])
    return Suppression(**about, survey=survey, until=until, why=why, by=by, at=datetime.now(UTC))


def from_csv(config: Config, file: Path, by: str) -> Iterator[Suppression]:
    """The entries of a CSV file with a head line. Each line has an `email`, a `phone` or a `contact`: one of them.

    Raises:
        Fatal: With the line, for what cannot be used.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            if unknown := set(rows.fieldnames or ["nothing"]) - set(_COLUMNS):
                raise Fatal(f"{file}:1: the columns are {', '.join(_COLUMNS)}, and not {', '.join(sorted(unknown))}")
            for row in rows:
                try:
                    yield _of_row(config, row, by)
                except Fatal as error:
                    raise Fatal(f"{file}:{rows.line_num}: {error}") from error
    except (OSError, ValueError, csv.Error) as error:
        raise Fatal(f"{file} cannot be read: {error}") from error


def _of_row(config: Config, row: Mapping[str, str | None], by: str) -> Suppression:
    filled = [column for column in _WHOM if (row.get(column) or "").strip()]
    if len(filled) != 1:
        raise Fatal(f"a line names one of {', '.join(_WHOM)}, and this one {' and '.join(filled) or 'none'}")
    (of,) = filled
    until = row.get("until")
    return new_entry(
        config,
        row[of] or "",
        of=of,
        survey=row.get("survey") or None,
        until=moment(until) if until else None,
        why=row.get("why") or None,
        by=by,
    )


def moment(text: str) -> datetime:
    """A day (until its end, in UTC) or a time. Raises Fatal for anything else."""
    try:
        found = datetime.fromisoformat(text if len(text) > 10 else f"{text}T23:59:59")
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Fatal(f"{text!r} is neither a day such as 2026-12-31 nor a time such as 2026-12-31T09:00+03:00") from None


async def write(kafka: Kafka, entries: list[Suppression]) -> None:
    """Adds entries, or replaces those with the same key."""
    await written(kafka, [record_of(kafka, one) for one in entries])


async def remove(config: Config, whom: str, survey: str | None, *, by: str, why: str | None = None) -> None:
    """Removes an entry, readable or not, and the one that is left after an erasure.

    Raises:
        Fatal: Neither is on the list.
    """
    one = entry(whom, survey=survey, by=_SOMEBODY)
    persons = Hashes.of_config(config.protect).persons(one.contact, one.email or one.phone)
    erased = [Suppression(person=person, survey=survey, by=_SOMEBODY, at=one.at) for person in persons]
    wanted = {record_of(config.kafka, each).key: each for each in (one, *erased)}
    there = await _there(config.kafka)
    found = [_readable(there[key]) or each for key, each in wanted.items() if key in there]
    if not found:
        raise Fatal(GONE)
    await end(config, found, by=by, why=why)


async def end(config: Config, entries: list[Suppression], *, by: str, why: str | None = None) -> None:
    """Removes these entries and no others. First it writes down who does so."""
    kafka, hashes = config.kafka, Hashes.of_config(config.protect)
    await written(kafka, [of_action(kafka, _removal(one, hashes, by, why)) for one in entries])
    records = [record_of(kafka, one) for one in entries]
    await written(kafka, [OutRecord(record.topic, record.key, None, []) for record in records])


def _removal(one: Suppression, hashes: Hashes, by: str, why: str | None) -> Action:
    """It names nobody: the person may be erased later."""
    person = one.person or hashes.persons(one.contact, one.email or one.phone)[0]
    target = "/".join(("suppression", person, *([one.survey] if one.survey else [])))
    params = {"whom": masked(one), "survey": one.survey, "added_by": one.by}
    return action_of("suppression", target, "remove", by=by, reason=why or "", params=params)


def masked(one: Suppression) -> str:
    """Whom an entry is about, for people who may not see it. A contact's id says nothing without Salesforce."""
    if one.person:
        return f"person/{one.person[:_HEAD]}…"
    address = one.email or one.phone
    return mask_email(address) if address else one.whom


async def entries(kafka: Kafka) -> list[Suppression]:
    """The entries that hold, by key. Those that cannot be read are left out."""
    return [one for _, value in sorted((await _there(kafka)).items()) if (one := _readable(value))]


async def _there(kafka: Kafka) -> dict[bytes, bytes]:
    """The values on the list, by key."""
    found: dict[bytes, bytes | None] = {}
    async for record in read_back(kafka, kafka.topic_prefix + SUPPRESSIONS, 0):
        found[record.key] = record.value
    return {key: value for key, value in found.items() if value is not None}


def _readable(value: bytes) -> Suppression | None:
    try:
        return read(Suppression, value)
    except Rejected:
        return None


def record_of(kafka: Kafka, one: Suppression) -> OutRecord:
    """The entry in the form for its topic."""
    key = suppression_key(one.email or one.phone, one.contact, one.survey, one.person)
    return to_record(
        kafka.topic_prefix + SUPPRESSIONS,
        key,
        one,
        ce_type="pisano.suppression",
        ce_source="/command-line",
        ce_id=f"{key}/{one.at.timestamp()}",
        ce_time=one.at,
    )
