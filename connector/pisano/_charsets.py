"""Which charset the bytes of a webhook are in."""

import codecs

# Python's own, which no sender means. They read almost anything, some of them slowly.
_NO_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "utf-7"})


def known(charset: str | None) -> str | None:
    """Python's name of a charset that a header names; None if that is none."""
    try:
        name = codecs.lookup(charset or "").name
        "".encode(name)  # raises for codecs that are no charsets
    except (LookupError, ValueError):
        return None
    return None if name in _NO_CHARSETS else name
