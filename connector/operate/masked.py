"""Shows dead letters to people, with the customers' values masked (rule 9)."""

import json
from collections.abc import Mapping
from typing import Any

from connector.decisions import Action
from connector.masking import mask_emails, mask_value
from connector.operate.letters import Letter, said
from connector.operate.work_off import obstacle
from connector.values import exact

# The fields of our own records that hold no value of a customer. Whatever is not here is masked.
_SHOWN = {
    "account",
    "answered_at",
    "campaign",
    "cause",
    "change_origin",
    "change_type",
    "changed_fields",
    "channel",
    "commit_number",
    "committed_at",
    "created_at",
    "entity",
    "id",
    "kind",
    "not_strict",
    "nulled_fields",
    "received_at",
    "record_id",
    "repeats_until",
    "replay_id",
    "schema_id",
    "sequence_number",
    "suppressed",
    "survey",
    "transaction_key",
}


def value_of(letter: Letter, *, reveal: bool) -> str:
    """The letter's value as text. Without `reveal`, only its form and the names that the connector gave are shown."""
    value = letter.record.value
    if value is None:
        return "no value"
    try:
        content = exact.loads(value)
    except ValueError:
        if not reveal:
            return f"{len(value)} bytes that are no JSON; --reveal shows them"
        return printable(value.decode(errors="backslashreplace"))
    if not reveal:
        content = _record(content) if letter.has_topic and isinstance(content, dict) else masked(content)
    return printable(json.dumps(content, indent=2, ensure_ascii=False, default=str))


def printable(text: str) -> str:
    """The text with its control characters escaped, because a terminal would obey them."""
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)


def _record(content: Mapping[str, Any]) -> dict[str, Any]:
    return {mask_emails(name): (_ours if name in _SHOWN else masked)(value) for name, value in content.items()}


def _ours(value: Any) -> Any:
    match value:
        case str():
            return mask_emails(value)
        case list():
            return [_ours(inner) for inner in value]
        case dict():
            return masked(value)
        case _:
            return value


def masked(value: Any) -> Any:
    """A JSON value with its form and its names, and every value in it masked."""
    match value:
        case dict():
            return {mask_emails(name): masked(inner) for name, inner in value.items()}
        case list():
            return [masked(inner) for inner in value]
        case None:
            return None
        case _:
            return mask_value(value)


def described(letter: Letter, action: Action | None, *, reveal: bool) -> str:
    """All of a dead letter, as text of several lines. `action` worked it off."""
    parts = {
        "place": letter.place,
        "at": letter.at.isoformat(),
        "stage": letter.stage,
        "reason": letter.reason,
        "cell": letter.cell,
        "error": letter.error,
        "origin": letter.origin,
        "key": (letter.record.key or b"").decode(errors="backslashreplace"),
        "worked off": said(action) if action else "no",
        "a retry": obstacle(letter) or "puts the record back on its topic",
    }
    hide = str if reveal else mask_emails
    lines = [f"{name + ':':<12}{printable(hide(text))}" for name, text in parts.items()]
    headers = [f"  {name}: {printable(hide(text))}" for name, text in letter.said.items()]
    return "\n".join([*lines, "headers:", *headers, "value:", value_of(letter, reveal=reveal)])
