"""Reads the fields of a form: `application/x-www-form-urlencoded` and `multipart/form-data` (RFC 7578)."""

import re
from urllib.parse import parse_qsl

from connector.pisano import _charsets

_MOST_FIELDS = 1_000  # of a form, which is parsed before anything is known of it
_NAME = re.compile(
    rb'^content-disposition:.*?;[ \t]*name=(?:"((?:[^"\\\r\n]|\\.)*)"|([^\s;"]+))', re.IGNORECASE | re.MULTILINE
)
_CHARSET = re.compile(rb'^content-type:.*?;[ \t]*charset="?([\w.:-]+)', re.IGNORECASE | re.MULTILINE)
_HEAD_ENDS = re.compile(rb"\r?\n\r?\n")


def urlencoded(text: str, charset: str) -> list[tuple[str, str]]:
    """Names and values, in their order.

    Raises:
        ValueError: It is no such form.
    """
    return parse_qsl(
        text.strip(),
        keep_blank_values=True,
        strict_parsing=True,
        encoding=charset,
        errors="strict",
        max_num_fields=_MOST_FIELDS,
    )


def multipart(body: bytes, charset: str) -> list[tuple[str, str | None]]:
    """Names and values, in their order. None stands for a field that holds no text, such as a photo.

    A field may name a charset of its own. The boundary is the body's first line, so it need not be in the header.

    Raises:
        ValueError: It is no such form, or it was cut off.
    """
    boundary = body.lstrip().partition(b"\n")[0].strip()
    marks = [*re.finditer(rb"(?:^\s*|\r?\n)%s(--)?[ \t]*(?=\r?\n|$)" % re.escape(boundary), body)]
    ends = next((place for place, mark in enumerate(marks) if mark[1]), None)
    if not boundary.startswith(b"--") or ends is None or ends > _MOST_FIELDS:
        raise ValueError
    return [_field(body[mark.end() : marks[place + 1].start()], charset) for place, mark in enumerate(marks[:ends])]


def _field(part: bytes, charset: str) -> tuple[str, str | None]:
    head, content = _HEAD_ENDS.split(part, 1)
    name, own = _NAME.search(head), _CHARSET.search(head)
    if name is None:
        raise ValueError
    try:
        value = content.decode((own and _charsets.known(own[1].decode())) or charset)
    except ValueError:
        value = None
    return re.sub(r"\\(.)", r"\1", (name[1] or name[2] or b"").decode(charset)), value
