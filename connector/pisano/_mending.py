"""Mends JSON that a hand-written template made wrong, where only one reading is possible.

Pisano's Liquid has no filter that writes a text as JSON (pisano §4). So a customer's line break, tab, backslash or
quotation mark stands in the body as it was typed, and an unanswered number leaves nothing behind its colon.

We do this ourselves. The library for it, json-repair 0.64, takes seconds for some bodies of 2 kB, while nothing else is
received; it writes 9.50 as 9.5, and it drops or adds quotation marks.
"""

import re
from typing import Any

_STRUCTURE = re.compile(r"[{}\[\]]")
_MEMBER = r'"[^"]*"\s*:'
# Where a text ends, by where it stands: a key, a member's value, an item of a list.
_KEY_ENDS = re.compile(r'\\.|(")(?=\s*:)', re.DOTALL)
_VALUE_ENDS = re.compile(rf'\\.|(")(?=\s*(?:,\s*)?\}}\s*(?:[,}}\]]|$)|\s*,\s*{_MEMBER})', re.DOTALL)
_ITEM_ENDS = re.compile(r'\\.|(")(?=\s*[,\]])', re.DOTALL)
_LIKE_ANOTHER_MEMBER = re.compile(rf'(?:,|\}}\s*\{{|")\s*{_MEMBER}')
_IN_TEXT = re.compile(
    r"(?P<kept>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?P<half_character>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    r'|(?P<escape>\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))'
    r"|(?P<line_break>[\x00-\x1f])"
    r'|(?P<quotation_mark>")'
    r"|(?P<backslash>\\)"
)
_NOT_A_NUMBER = r"[+-]?(?:NaN|Infinity)"
_WORDS = {"None": "null", "nil": "null", "True": "true", "False": "false"}  # of Python and Ruby
_WORD = rf"(?:{'|'.join(_WORDS)})(?=\s*[,}}\]])"
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_NO_MARK = r"""[^{}\[\],:"'“”<>]"""
_OUTSIDE = re.compile(
    r"(?P<trailing_comma>,)(?=\s*[}\]])"
    r"|(?P<no_value>:)(?=\s*[,}])"
    rf"|(?P<kept>:\s*(?:true|false|null|{_NUMBER}))(?=\s*[,}}])"
    rf"|(?P<not_a_number>(?<=[:,\[\s]){_NOT_A_NUMBER})(?=\s*[,}}\]])"
    rf"|(?P<word>(?<=[:,\[\s]){_WORD})"
    rf"|:\s*(?!\s|{_NOT_A_NUMBER}|{_WORD})(?P<no_quotation_marks>{_NO_MARK}+)(?=[,}}])"
)

_OPENS_WITH_SINGLE = re.compile(r"\s*[{\[][{\[\s]*'")
_SWAP = str.maketrans("'\"", "\"'")


class Ambiguous(ValueError):
    """The text has more than one reading."""


def in_single_quotes(text: str) -> bool:
    """Whether the first text in it begins with a single quotation mark."""
    return _OPENS_WITH_SINGLE.match(text) is not None


def swapped(value: Any) -> Any:
    """The value with single quotation marks for double ones in each of its texts, and the other way round."""
    match value:
        case str():
            return value.translate(_SWAP)
        case dict():
            return {swapped(name): swapped(inner) for name, inner in value.items()}
        case list():
            return [swapped(inner) for inner in value]
        case _:
            return value


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
        parts += [_between(outside, done), '"', _text_of(inside, done), '"']
        at = closing + 1
    parts.append(_between(text[at:], done))
    return "".join(parts), sorted(done)


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
    def strict(found: re.Match[str]) -> str:
        what, said = found.lastgroup or "", found[0]
        if what in {"kept", "escape"}:
            return said
        done.add(what)
        if what == "half_character":
            return r"\ufffd"
        return f"\\u{ord(said):04x}" if what == "line_break" else f"\\{said}"

    text = _IN_TEXT.sub(strict, inside)
    if text != inside and _LIKE_ANOTHER_MEMBER.search(inside):
        raise Ambiguous("a quotation mark in a text may also end it")
    return text


def _between(outside: str, done: set[str]) -> str:
    """What stands between two texts. A value that JSON does not know becomes a text, so that no letter is lost."""

    def strict(found: re.Match[str]) -> str:
        what = found.lastgroup or ""
        if what == "kept":
            return found[0]
        done.add(what)
        becomes = {"trailing_comma": "", "no_value": ":null", "not_a_number": "null", "word": _WORDS.get(found[0], "")}
        return becomes.get(what, f':"{found[what].strip()}"')

    return _OUTSIDE.sub(strict, outside)
