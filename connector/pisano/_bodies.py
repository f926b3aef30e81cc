"""Reads a webhook's body: from its bytes to the JSON values in it, and what had to be done for that (pisano §4)."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote_plus

from connector.pisano import _charsets, _forms
from connector.pisano._mending import Ambiguous, mended
from connector.values import exact

_DEEPEST = 100  # levels; a body stands inside our records and calls, and those may have 200
_MOST_ANSWERS = 500  # answers in one body: they must be stored before Pisano gives up waiting
_MOST_NOTES = 20
_LONGEST_NAME = 100  # characters of a key's name in a note
_TEXTS_IN_TEXTS = 3  # JSON in a JSON text in a JSON text; nobody encodes more often
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_IS_ENCODED_JSON = re.compile(r"\s*%(7B|5B)[^=&]*$", re.IGNORECASE)
_ADVICE = 'In the template write free text like this: "comment": "{{ comment | url_encode }}"'


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
    """What a person reads in the body: JSON, JSON with the slips of a hand-written template, JSON lines, or a form.

    `content_type` and `charset` are what the sender's header names.

    Raises:
        ValueError: It is none of these. The message holds no values.
    """
    if (strict := _strict(body, charset)) is not None:
        return strict
    reading = _Reading(_charsets.known(charset) or json.detect_encoding(body))
    value = _read(body, content_type, reading)
    for _ in range(_TEXTS_IN_TEXTS):
        if not isinstance(value, str):
            break
        reading.note("json_in_text")
        value = _json(value, reading)
    if not isinstance(value, list):
        return Body([value], tuple(reading.done))
    if not 0 < len(value) <= _MOST_ANSWERS:
        raise ValueError(f"the body is an array of {len(value)} answers; it may hold 1 to {_MOST_ANSWERS}")
    if "lines" not in reading.done:
        reading.note("array")
    return Body(value, tuple(reading.done))


def _strict(body: bytes, charset: str | None) -> Body | None:
    """One strict JSON object in UTF-8, which nearly all bodies are: the full reading takes five times as long."""
    if not body.startswith(b"{") or (charset or "utf-8").lower() != "utf-8":
        return None
    repeated: list[str] = []
    try:
        value = exact.loads(body, deepest=_DEEPEST, repeated=repeated.append)
    except ValueError:
        return None
    return None if repeated else Body([value])


def _read(body: bytes, content_type: str, reading: _Reading) -> Any:
    if content_type == _MULTIPART and body.lstrip().startswith(b"--"):
        return _form(partial(_forms.multipart, body), reading)
    text = _decoded(body, reading)
    if content_type != _FORM or text.lstrip().startswith(("{", "[")):
        return _json(text, reading)
    if _IS_ENCODED_JSON.match(text):  # a form without a field's name, as `curl --data-urlencode` sends it
        reading.note("form")
        return _json(unquote_plus(text, reading.charset), reading)
    return _form(partial(_forms.urlencoded, text), reading)


def _decoded(body: bytes, reading: _Reading) -> str:
    """The body as text: in the charset that the sender names, or in the Unicode form that its first bytes show."""
    if reading.charset not in {"utf-8", "utf-8-sig", "ascii"}:
        reading.note(f"charset:{reading.charset}")
    try:
        return body.decode(reading.charset).removeprefix("\ufeff")  # some editors put it before a template
    except ValueError:
        raise ValueError(f"the body is not text in {reading.charset}") from None


def _form(fields_of: Callable[[str], Sequence[tuple[str, str | None]]], reading: _Reading) -> Any:
    """The fields of a form as texts, or the JSON in its only field or in its field `payload`."""
    try:
        pairs = fields_of(reading.charset)
    except ValueError:
        raise ValueError("the body is not a form, though its header says so") from None
    reading.note("form", *(f"no_text:{name[:_LONGEST_NAME]}" for name, value in pairs if value is None))
    fields = dict(pairs)
    reading.note_repeated(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    payload = (next(iter(fields.values())) if len(fields) == 1 else fields.get("payload")) or ""
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
        value, repeated, done = _lines(text) or _mended(text)
    except Ambiguous as why:
        raise ValueError(f"the body is not JSON, and {why}: {error}. {_ADVICE}") from None
    except ValueError:
        raise ValueError(f"the body is not JSON, and cannot be mended: {error}. {_ADVICE}") from None
    reading.note(*done)
    reading.note_repeated(repeated)
    return value


def _lines(text: str) -> tuple[Any, list[str], list[str]] | None:
    """The objects in the lines of a text, if each line holds one."""
    repeated: list[str] = []
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) < 2 or not all(line.startswith("{") for line in lines):
        return None
    try:
        values = [exact.loads(line.encode(), deepest=_DEEPEST, repeated=repeated.append) for line in lines]
    except ValueError:
        return None
    return values, repeated, ["lines"]


def _mended(text: str) -> tuple[Any, list[str], list[str]]:
    repeated: list[str] = []
    strict, done = mended(text)
    value = exact.loads(strict.encode(), deepest=_DEEPEST, repeated=repeated.append)
    if repeated and "quotation_mark" in done:
        raise Ambiguous("a key that is there twice may be a part of a text")
    return value, repeated, done
