"""Reads a webhook's body: from its bytes to the JSON values in it, and what had to be done for that (pisano §4)."""

import codecs
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from connector.pisano._mending import Ambiguous, mended
from connector.values import exact

_DEEPEST = 100  # levels; a body stands inside our records and calls, and those may have 200
_MOST_ANSWERS = 500  # answers in one body: they must be stored before Pisano gives up waiting
_MOST_FIELDS = 1_000  # of a form, which is parsed before anything is known of it
_MOST_NOTES = 20
_LONGEST_NAME = 100  # characters of a key's name in a note
_TEXTS_IN_TEXTS = 3  # JSON in a JSON text in a JSON text; nobody encodes more often
_FORM = "application/x-www-form-urlencoded"
_ADVICE = 'In the template write free text like this: "comment": "{{ comment | url_encode }}"'
# Python's own, which no sender means. They read almost anything, some of them slowly.
_NO_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "utf-7"})


@dataclass(frozen=True)
class Body:
    """`values` are the answers in the body, mostly one. `not_strict` says what was done; docs/webhook.md lists it."""

    values: list[Any]
    not_strict: tuple[str, ...] = ()


@dataclass
class _Reading:
    charset: str = "utf-8"
    done: list[str] = field(default_factory=list)

    def note(self, *what: str) -> None:
        new = dict.fromkeys([*self.done, *what])
        self.done = [*new][:_MOST_NOTES]

    def note_repeated(self, names: Iterable[str]) -> None:
        self.note(*(f"repeated_key:{name[:_LONGEST_NAME]}" for name in names))


def read_body(body: bytes, content_type: str = "application/json", charset: str | None = None) -> Body:
    """What a person reads in the body: JSON, JSON with the slips of a hand-written template, or a form.

    `content_type` and `charset` are what the sender's header names.

    Raises:
        ValueError: It is none of these. The message holds no values.
    """
    reading = _Reading()
    text = _decoded(body, charset, reading)
    is_form = content_type == _FORM and not text.lstrip().startswith(("{", "["))
    value = _form(text, reading) if is_form else _json(text, reading)
    for _ in range(_TEXTS_IN_TEXTS):
        if not isinstance(value, str):
            break
        reading.note("json_in_text")
        value = _json(value, reading)
    if not isinstance(value, list):
        return Body([value], tuple(reading.done))
    if not 0 < len(value) <= _MOST_ANSWERS:
        raise ValueError(f"the body is an array of {len(value)} answers; it may hold 1 to {_MOST_ANSWERS}")
    reading.note("array")
    return Body(value, tuple(reading.done))


def _decoded(body: bytes, charset: str | None, reading: _Reading) -> str:
    """The body as text: in the charset that the sender names, or in the Unicode form that its first bytes show."""
    reading.charset = _known(charset) or json.detect_encoding(body)
    if reading.charset not in {"utf-8", "utf-8-sig", "ascii"}:
        reading.note(f"charset:{reading.charset}")
    try:
        return body.decode(reading.charset).removeprefix("\ufeff")  # some editors put it before a template
    except ValueError:
        raise ValueError(f"the body is not text in {reading.charset}") from None


def _known(charset: str | None) -> str | None:
    try:
        name = codecs.lookup(charset or "").name
        "".encode(name)  # raises for codecs that are no charsets
    except (LookupError, ValueError):
        return None
    return None if name in _NO_CHARSETS else name


def _form(text: str, reading: _Reading) -> Any:
    """The fields of a form as texts, or the JSON in its only field or in its field `payload`."""
    try:
        pairs = parse_qsl(
            text.strip(),
            keep_blank_values=True,
            strict_parsing=True,
            encoding=reading.charset,
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        raise ValueError("the body is not a form, though its header says so") from None
    reading.note("form")
    fields = dict(pairs)
    reading.note_repeated(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    payload = next(iter(fields.values())) if len(fields) == 1 else fields.get("payload", "")
    return _json(payload, reading) if payload.lstrip().startswith(("{", "[")) else fields


def _json(text: str, reading: _Reading) -> Any:
    repeated: list[str] = []
    try:
        value = exact.loads(text.encode(), deepest=_DEEPEST, repeated=repeated.append)
    except ValueError as error:
        return _not_strict_json(text, error, reading)
    reading.note_repeated(repeated)
    return value


def _not_strict_json(text: str, error: ValueError, reading: _Reading) -> Any:
    try:
        value, repeated, done = _mended(text)
    except Ambiguous as why:
        raise ValueError(f"the body is not JSON, and {why}: {error}. {_ADVICE}") from None
    except ValueError:
        raise ValueError(f"the body is not JSON, and cannot be mended: {error}. {_ADVICE}") from None
    reading.note(*done)
    reading.note_repeated(repeated)
    return value


def _mended(text: str) -> tuple[Any, list[str], list[str]]:
    repeated: list[str] = []
    strict, done = mended(text)
    value = exact.loads(strict.encode(), deepest=_DEEPEST, repeated=repeated.append)
    if repeated and "quotation_mark" in done:
        raise Ambiguous("a key that is there twice may be a part of a text")
    return value, repeated, done
