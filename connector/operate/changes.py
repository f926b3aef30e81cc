"""The change that a preview is about: from a file, from Salesforce as it is now, or from a topic."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connector.config import Config, Survey, catalogue
from connector.errors import Fatal, Rejected
from connector.kafka.kept import record_at
from connector.records import ChangeEvent, read
from connector.salesforce import soql
from connector.salesforce.soql import Source
from connector.surveys.lookup import Find
from connector.values import exact

Given = dict[str, dict[str, Any]]  # lookups and their fields

_NO_ID = "000000000000001AAA"  # for a made-up record without an Id
_FORM = '{"record": {"Id": "…", "Status": "Closed"}, "changed": ["Status"], "lookups": {"contact": {"Email": "…"}}}'


def from_file(path: Path, survey: Survey) -> tuple[ChangeEvent, Given]:
    """What the file holds; see `from_text`. Raises Fatal when it cannot be read, too."""
    try:
        return from_text(path.read_bytes(), survey, str(path))
    except OSError as error:
        raise Fatal(f"{path} cannot be read: {error}") from error


def from_text(text: bytes, survey: Survey, path: str) -> tuple[ChangeEvent, Given]:
    """A change event as it is on its topic, or a record's fields alone, or the form in `_FORM` with lookups.

    Raises:
        Fatal: It is none of these. The message names the text by its `path`.
    """
    try:
        content = exact.loads(text)
    except ValueError as error:
        raise Fatal(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise Fatal(f"{path} holds no JSON object; write a record, or {_FORM}")
    if "change_type" in content and "entity" in content:
        try:
            return read(ChangeEvent, text), {}
        except Rejected as error:
            raise Fatal(f"{path}: {error}") from error
    parts = content if "record" in content else {"record": content}
    if unknown := parts.keys() - {"record", "changed", "event", "lookups"}:
        raise Fatal(f"{path} has {', '.join(sorted(unknown))} beside `record`; the form is {_FORM}")
    if not isinstance(parts["record"], dict):
        raise Fatal(f"{path}: `record` is no JSON object; the form is {_FORM}")
    event = parts.get("event") or {}
    if not isinstance(event, dict):
        raise Fatal(f'{path}: `event` is no JSON object, such as {{"change_origin": "…"}}; the form is {_FORM}')
    changed = parts.get("changed")
    if changed is not None and not isinstance(changed, list):
        raise Fatal(f"{path}: `changed` is a list of field names; the form is {_FORM}")
    change = _made_up(survey, parts["record"], changed, event)
    return change, _given(path, survey, parts.get("lookups") or {})


async def from_salesforce(record_id: str, survey: Survey, changed: Sequence[str] | None, find: Find) -> ChangeEvent:
    """The record as Salesforce has it now, as if these fields had just changed; without `changed`, all that are used.

    Raises:
        Fatal: There is no such record, the survey is about a platform event, or a name in `changed` is none.
        Retryable, Rejected: From reading Salesforce.
    """
    for name in changed or ():
        try:
            soql.name(name)
        except ValueError as error:
            raise Fatal(f"--changed: {error}. Write names such as Status,OwnerId") from error
    if survey.on.endswith("__e"):
        raise Fatal(f"{survey.on} is a platform event: Salesforce keeps no record of it. Use --event or --record.")
    used = {field for liquid in survey.templates() for field in liquid.fields("record") if "." not in field}
    rows = await find(Source(survey.on), sorted({"Id", *used, *(changed or ())}), [record_id])
    if not rows:
        raise Fatal(f"Salesforce has no {survey.on} {record_id}, or the user may not see it")
    return _made_up(survey, rows[0], changed, {})


async def from_topic(config: Config, survey: Survey, place: str) -> ChangeEvent:
    """The change event at `PARTITION/OFFSET` of the topic of the survey's entity.

    Raises:
        Fatal: There is no such record, or it is not a change event.
        Retryable: Kafka is away.
    """
    try:
        partition, offset = map(int, place.split("/"))
    except ValueError:
        raise Fatal(f"--event is a partition and an offset, such as 0/1234, and not {place}") from None
    record = await record_at(config.kafka, catalogue.entity_topics(config)[survey.on], partition, offset)
    try:
        return read(ChangeEvent, record.value)
    except Rejected as error:
        raise Fatal(f"{record.topic}/{place}: {error}") from error


def _made_up(
    survey: Survey, fields: Mapping[str, Any], changed: Sequence[str] | None, event: Mapping[str, Any]
) -> ChangeEvent:
    values = {name: value for name, value in fields.items() if name not in {"Id", "attributes"}}
    whole = {
        "id": "preview",
        "channel": "",
        "replay_id": "",
        "schema_id": "",
        "entity": survey.on,
        "record_id": str(fields.get("Id") or _NO_ID),
        "change_type": "EVENT" if survey.on.endswith("__e") else "UPDATE",
        "changed_fields": list(values if changed is None else changed),
        "fields": values,
        "committed_at": datetime.now(UTC).isoformat(),
        **event,
    }
    try:
        return read(ChangeEvent, exact.dumps(whole))
    except (Rejected, ValueError) as error:
        raise Fatal(f"this cannot be a change of {survey.on}: {error}") from error


def _given(path: str, survey: Survey, lookups: object) -> Given:
    if not isinstance(lookups, dict) or not all(isinstance(fields, dict) for fields in lookups.values()):
        raise Fatal(f"{path}: `lookups` holds an object of fields for each lookup; the form is {_FORM}")
    if unknown := lookups.keys() - survey.lookup.keys():
        known = ", ".join(survey.lookup) or "none"
        raise Fatal(f"{path}: the survey has no lookup {', '.join(sorted(unknown))}; it has {known}")
    return {name: {**dict.fromkeys(survey.lookup[name].fields), **fields} for name, fields in lookups.items()}
