"""The filters for texts, as in Ruby's Liquid 5.4. Each takes any value that has a text; nil counts as an empty one."""

import base64
import html
import re
import urllib.parse
from collections.abc import Callable, Iterable, Sequence

from connector.templates._values import SPACE, WrongValueError, integer, text, truthy

_STRIPPED = SPACE + "\0"
_LINE_END = re.compile(r"\r?\n")
_NOT_ESCAPED = re.compile(r"[\"><']|&(?!([a-zA-Z]+|(#[0-9]+));)")
_HTML_BLOCKS = (("<script", "</script>"), ("<!--", "-->"), ("<style", "</style>"))
_HTML_TAGS = (("<", ">"),)
_BACKSLASHED = re.compile(r"\\([0-9&+`'\\])")


def _append(value: object, other: object) -> str:
    return text(value) + text(other)


def _prepend(value: object, other: object) -> str:
    return text(other) + text(value)


def _upcase(value: object) -> str:
    return text(value).upper()


def _downcase(value: object) -> str:
    return "".join(map(str.lower, text(value)))  # letter by letter: Ruby has no final sigma


def _capitalize(value: object) -> str:
    return text(value)[:1].title() + _downcase(text(value)[1:])


def _strip(value: object) -> str:
    return text(value).strip(_STRIPPED)


def _lstrip(value: object) -> str:
    return text(value).lstrip(_STRIPPED)


def _rstrip(value: object) -> str:
    return text(value).rstrip(_STRIPPED)


def _squish(value: object) -> str:
    return " ".join(text(value).split())


def _strip_html(value: object) -> str:
    return _cut(_cut(text(value), _HTML_BLOCKS), _HTML_TAGS)


def _cut(whole: str, marks: Iterable[tuple[str, str]]) -> str:
    """Cuts from each opening mark to its closing one. A pattern would take minutes for a long text of "<" alone."""
    kept, at = [], 0
    while found := [
        (start, end + len(closing))
        for opening, closing in marks
        if (start := whole.find(opening, at)) >= 0 and (end := whole.find(closing, start + len(opening))) >= 0
    ]:
        start, end = min(found)
        kept.append(whole[at:start])
        at = end
    return "".join(kept) + whole[at:]


def _strip_newlines(value: object) -> str:
    return _LINE_END.sub("", text(value))


def _newline_to_br(value: object) -> str:
    return _LINE_END.sub("<br />\n", text(value))


def _escape(value: object) -> str | None:
    return None if value is None else html.escape(text(value)).replace("&#x27;", "&#39;")


def _escape_once(value: object) -> str:
    return _NOT_ESCAPED.sub(lambda found: str(_escape(found[0])), text(value))


def _url_encode(value: object) -> str | None:
    return None if value is None else urllib.parse.quote_plus(text(value), safe="")


def _url_decode(value: object) -> str | None:
    try:
        return None if value is None else urllib.parse.unquote_plus(text(value), errors="strict")
    except UnicodeDecodeError:
        raise WrongValueError("the decoded bytes are not UTF-8") from None


def _base64_encode(value: object) -> str:
    return base64.b64encode(text(value).encode()).decode()


def _base64_url_safe_encode(value: object) -> str:
    return base64.urlsafe_b64encode(text(value).encode()).decode()


def _base64_decode(value: object) -> str:
    try:
        decoded = base64.b64decode(text(value), validate=True).decode()
    except ValueError:
        decoded = None
    if decoded is None or _base64_encode(decoded) != text(value):  # Python takes bits that no encoder writes
        raise WrongValueError("the text is not Base64 of a text in UTF-8")
    return decoded


def _base64_url_safe_decode(value: object) -> str:
    encoded = text(value).replace("-", "+").replace("_", "/")
    return _base64_decode(encoded if encoded.endswith("=") else encoded + "=" * (-len(encoded) % 4))


def _replace(value: object, old: object, new: object = "", *, most: int = 0) -> str:
    """In `new`, `\\0` and `\\&` stand for the replaced text and `\\\\` for a backslash, as in Ruby's `gsub`."""

    def replacement(found: re.Match[str]) -> str:
        whole = found.string
        meanings = {"0": found[0], "&": found[0], "\\": "\\", "`": whole[: found.start()], "'": whole[found.end() :]}
        return _BACKSLASHED.sub(lambda mark: meanings.get(mark[1], ""), text(new))

    return re.sub(re.escape(text(old)), replacement, text(value), count=most)


def _replace_first(value: object, old: object, new: object = "") -> str:
    return _replace(value, old, new, most=1)


def _replace_last(value: object, old: object, new: object) -> str:
    whole, searched = text(value), text(old)
    at = whole.rfind(searched)
    return whole if at < 0 else whole[:at] + text(new) + whole[at + len(searched) :]


def _remove(value: object, old: object) -> str:
    return _replace(value, old)


def _remove_first(value: object, old: object) -> str:
    return _replace_first(value, old)


def _remove_last(value: object, old: object) -> str:
    return _replace_last(value, old, "")


def _slice(value: object, start: object, length: object = None) -> Sequence[object]:
    whole = value if isinstance(value, (list, tuple)) else text(value)
    first, count = integer(start), integer(length) if truthy(length) else 1
    first += len(whole) if first < 0 else 0
    return whole[:0] if first < 0 or count < 0 else whole[first : first + count]


def _split(value: object, separator: object) -> list[str]:
    """A space as separator stands for any white space. Empty texts at the end are left out."""
    whole, mark = text(value), text(separator)
    parts = list(whole)
    if mark:
        parts = whole.split(mark) if mark != " " else re.split(f"[{SPACE}]+", whole.lstrip(SPACE))
    while parts and not parts[-1]:
        parts.pop()
    return parts


def _truncate(value: object, length: object = 50, ending: object = "...") -> str | None:
    """At most `length` characters, `ending` included."""
    if value is None:
        return None
    whole, most = text(value), integer(length)
    return whole if len(whole) <= most else whole[: max(0, most - len(text(ending)))] + text(ending)


def _truncatewords(value: object, count: object = 15, ending: object = "...") -> str | None:
    if value is None:
        return None
    most = max(1, integer(count))
    words = re.split(f"[{SPACE}]+", text(value).lstrip(SPACE), maxsplit=most)
    return text(value) if len(words) <= most else " ".join(words[:most]) + text(ending)


FILTERS: dict[str, Callable[..., object]] = {
    "append": _append,
    "base64_decode": _base64_decode,
    "base64_encode": _base64_encode,
    "base64_url_safe_decode": _base64_url_safe_decode,
    "base64_url_safe_encode": _base64_url_safe_encode,
    "capitalize": _capitalize,
    "downcase": _downcase,
    "escape": _escape,
    "escape_once": _escape_once,
    "h": _escape,
    "lstrip": _lstrip,
    "newline_to_br": _newline_to_br,
    "prepend": _prepend,
    "remove": _remove,
    "remove_first": _remove_first,
    "remove_last": _remove_last,
    "replace": _replace,
    "replace_first": _replace_first,
    "replace_last": _replace_last,
    "rstrip": _rstrip,
    "slice": _slice,
    "split": _split,
    "squish": _squish,
    "strip": _strip,
    "strip_html": _strip_html,
    "strip_newlines": _strip_newlines,
    "truncate": _truncate,
    "truncatewords": _truncatewords,
    "upcase": _upcase,
    "url_decode": _url_decode,
    "url_encode": _url_encode,
}
