"""Mends JSON that a hand-written template made wrong, where only one reading is possible.

Pisano's Liquid has no filter that writes a text as JSON (pisano §4). So a customer's line break, tab, backslash or
quotation mark stands in the body as it was typed, and an unanswered number leaves nothing behind its colon.

We do this ourselves. The library for it, json-repair 0.64, takes seconds for some bodies of 2 kB, while nothing else is
received; it writes 9.50 as 9.5, and it drops or adds quotation marks.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

_STRUCTURE = re.compile(r"[{}\[\]]")
_MARKS = {'"': '"', "'": "'", "“": "”"}  # which a text begins and ends with
_OPENING = re.compile(r"""(")|[{\[,:]\s*(['“])""")
_IN_TEXT = (
    r"(?P<kept>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?P<half_character>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    r'|(?P<escape>\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))'
    r"|(?P<line_break>[\x00-\x1f])"
    r"|\\(?P<escaped>%(closes)s)"
    r"|(?P<quotation_mark>%(closes)s)"
    r'|(?P<plain>")'
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


class Ambiguous(ValueError):
    """The text has more than one reading."""


@dataclass(frozen=True)
class _Patterns:
    """Where a text ends, by where it stands: a key, a member's value, an item of a list. What may stand in it."""

    key_ends: re.Pattern[str]
    value_ends: re.Pattern[str]
    item_ends: re.Pattern[str]
    like_another_member: re.Pattern[str]
    in_text: re.Pattern[str]


@lru_cache
def _patterns(mark: str, of_keys: str) -> _Patterns:
    """The patterns for texts that begin with `mark` in a body whose keys begin with `of_keys`."""
    closes = _MARKS[mark]
    member = rf"{of_keys}[^{of_keys}{_MARKS[of_keys]}]*{_MARKS[of_keys]}\s*:"
    return _Patterns(
        re.compile(rf"\\.|({closes})(?=\s*:)", re.DOTALL),
        re.compile(rf"\\.|({closes})(?=\s*(?:,\s*)?\}}\s*(?:[,}}\]]|$)|\s*,\s*{member})", re.DOTALL),
        re.compile(rf"\\.|({closes})(?=\s*(?:[,\]]|$))", re.DOTALL),
        re.compile(rf"(?:,|\}}\s*\{{|{closes})\s*{member}"),
        re.compile(_IN_TEXT % {"closes": closes}),
    )


def mended(text: str) -> tuple[str, list[str]]:
    """The text as strict JSON, and what was done to it. It may still be no JSON, if something else is wrong too.

    Raises:
        Ambiguous: A text in it may end at more than one place.
    """
    done: set[str] = set()
    parts: list[str] = []
    brackets: list[str] = []
    at, of_keys = 0, ""
    while found := _OPENING.search(text, at):
        opening = found.start(found.lastindex or 0)
        of_keys = of_keys or text[opening]
        patterns, outside = _patterns(text[opening], of_keys), text[at:opening]
        _follow(outside, brackets)
        closing = _closing(text, opening + 1, outside, brackets, patterns)
        if closing is None:
            break
        if text[opening] != '"':
            done.add("other_quotation_marks")
        parts += [_between(outside, done), '"', _text_of(text[opening + 1 : closing], done, patterns), '"']
        at = closing + 1
    parts.append(_between(text[at:], done))
    return "".join(parts), sorted(done)


def _follow(outside: str, brackets: list[str]) -> None:
    for bracket in _STRUCTURE.findall(outside):
        if bracket in "{[":
            brackets.append(bracket)
        elif brackets:
            brackets.pop()


def _closing(text: str, start: int, outside: str, brackets: list[str], patterns: _Patterns) -> int | None:
    """The place of the quotation mark that ends a text."""
    in_object = bool(brackets) and brackets[-1] == "{"
    is_value = outside.rstrip().endswith(":")
    ends = patterns.value_ends if is_value else patterns.key_ends if in_object else patterns.item_ends
    return next((found.start() for found in ends.finditer(text, start) if found[1]), None)


def _text_of(inside: str, done: set[str], patterns: _Patterns) -> str:
    noted: set[str] = set()

    def strict(found: re.Match[str]) -> str:
        what, said = found.lastgroup or "", found[0]
        if what in {"kept", "escape"}:
            return said
        if what not in {"escaped", "plain"}:
            noted.add(what)
        if what == "half_character":
            return r"\ufffd"
        if what == "line_break":
            return f"\\u{ord(said):04x}"
        return f"\\{said}" if what == "backslash" or said == '"' else said[-1]

    text = patterns.in_text.sub(strict, inside)
    done |= noted
    if (text != inside or noted) and patterns.like_another_member.search(inside):
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
