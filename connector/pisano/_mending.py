"""Mends JSON that a hand-written template made wrong, where only one reading is possible.

Pisano's Liquid has no filter that writes a text as JSON (pisano §4). So a customer's line break, tab, backslash or
quotation mark stands in the body as it was typed, and an unanswered number leaves nothing behind its colon. These we
mend ourselves, because no digit and no quotation mark may change. For all else there is a library, whose result counts
only if it holds everything that the body held.
"""

import re
from typing import Any

import json_repair

from connector.values import exact

_LONGEST_REPAIR = 16 * 1024  # characters: the library takes 0.1 s for the worst that we found, and all else waits
_MOST_BRACKETS = 100  # with more nested lists the library takes minutes

_KEY = re.compile(r"[\w .-]+")
_STRUCTURE = re.compile(r"[{}\[\]]")
_MEMBER = r'"[^"]*"\s*:'
# Where a text ends, by where it stands: a key, a member's value, an item of a list.
_KEY_ENDS = re.compile(r'\\.|(")(?=\s*:)', re.DOTALL)
_VALUE_ENDS = re.compile(rf'\\.|(")(?=\s*(?:,\s*)?\}}|\s*,\s*{_MEMBER})', re.DOTALL)
_ITEM_ENDS = re.compile(r'\\.|(")(?=\s*[,\]])', re.DOTALL)
_LIKE_ANOTHER_MEMBER = re.compile(rf",\s*{_MEMBER}")
_IN_TEXT = re.compile(
    r"(?P<kept>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?P<half_character>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    r'|(?P<escape>\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))'
    r"|(?P<line_break>[\x00-\x1f])"
    r'|(?P<quotation_mark>")'
    r"|(?P<backslash>\\)"
)
_OUTSIDE = re.compile(
    r"(?P<trailing_comma>,)(?=\s*[}\]])|(?P<no_value>:)(?=\s*[,}])|(?P<not_a_number>\bNaN\b|-?\bInfinity\b)"
)
_OUTSIDE_BECOMES = {"trailing_comma": "", "no_value": ":null", "not_a_number": "null"}


class Ambiguous(ValueError):
    """The text has more than one reading."""


def mended(text: str) -> tuple[str, list[str]]:
    """The text as strict JSON, and what was done to it. It may still be no JSON, if something else is wrong too.

    Raises:
        Ambiguous: A text in it may end at more than one place.
    """
    done: set[str] = set()
    parts: list[str] = []
    brackets: list[str] = []
    at = 0
    while (opening := text.find('"', at)) >= 0:
        outside = text[at:opening]
        _follow(outside, brackets)
        closing = _closing(text, opening + 1, outside, brackets)
        if closing is None:
            break
        inside = text[opening + 1 : closing]
        parts += [_replaced(_OUTSIDE, outside, done), '"', _text_of(inside, done), '"']
        at = closing + 1
    parts.append(_replaced(_OUTSIDE, text[at:], done))
    return "".join(parts), sorted(done)


def repaired(text: str) -> bytes:
    """The library's repair as JSON.

    Raises:
        ValueError: There is no repair that holds everything that the text holds, or looking for one takes too long.
    """
    if len(text) > _LONGEST_REPAIR or len(_STRUCTURE.findall(text)) > _MOST_BRACKETS:
        raise ValueError("it is too long or too deep to be repaired")
    try:
        value = json_repair.loads(text, skip_json_loads=True)
        written = exact.dumps(value)
    except (RecursionError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise ValueError("it cannot be repaired") from error
    if not isinstance(value, dict) or not _holds_everything(value, written.decode(), text):
        raise ValueError("a repair would lose something")
    return written


def _holds_everything(value: dict[str, Any], written: str, text: str) -> bool:
    """Whether the repair has all letters, digits and quotation marks of the text, and only keys that stand there."""
    texts = [*value, *(each for each in value.values() if isinstance(each, str))]
    if any(_LIKE_ANOTHER_MEMBER.search(each) for each in texts):
        return False
    are_keys = all(_KEY.fullmatch(key) and re.search(rf"[\"']{re.escape(key)}[\"']\s*:", text) for key in value)
    quoted = sum(f'"{each}"' in text or f"'{each}'" in text for each in texts)
    marks = 2 * quoted + sum(map(_marks, texts))
    return are_keys and marks == _marks(text) and _bare(written) == _bare(text)


def _marks(text: str) -> int:
    return text.count('"') + text.count("'")


def _follow(outside: str, brackets: list[str]) -> None:
    for bracket in _STRUCTURE.findall(outside):
        if bracket in "{[":
            brackets.append(bracket)
        elif brackets:
            brackets.pop()


def _closing(text: str, start: int, outside: str, brackets: list[str]) -> int | None:
    """The place of the quotation mark that ends a text."""
    in_object = bool(brackets) and brackets[-1] == "{"
    is_value = outside.rstrip().endswith(":")
    ends = _VALUE_ENDS if is_value else _KEY_ENDS if in_object else _ITEM_ENDS
    return next((found.start() for found in ends.finditer(text, start) if found[1]), None)


def _text_of(inside: str, done: set[str]) -> str:
    before = len(done)
    text = _replaced(_IN_TEXT, inside, done)
    if len(done) > before and _LIKE_ANOTHER_MEMBER.search(inside):
        raise Ambiguous("a quotation mark in a text may also end it")
    return text


def _replaced(pattern: re.Pattern[str], text: str, done: set[str]) -> str:
    def replacement(found: re.Match[str]) -> str:
        what, said = found.lastgroup or "", found[0]
        if what in {"kept", "escape"}:
            return said
        done.add(what)
        if what == "half_character":
            return r"\ufffd"
        if what == "line_break":
            return f"\\u{ord(said):04x}"
        return _OUTSIDE_BECOMES.get(what, f"\\{said}")

    return pattern.sub(replacement, text)


def _bare(text: str) -> str:
    """All that a reader would compare: letters, digits and brackets, without spaces, marks and commas."""
    return re.sub(r"""\\[nrt]|[\s"'\\,]""", "", text).casefold()
