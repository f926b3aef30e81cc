"""Writes times as Ruby's strftime does: with its flags and widths, and in English whatever the locale is."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta

_DIRECTIVE = re.compile(r"%([-0^#_]*)([0-9]*)(:{0,3})([a-zA-Z%])")
_WIDEST = 1024  # characters: as wide as a pattern can ask for
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def _zone_name(at: datetime) -> str:
    """Empty for a bare offset, as in Ruby."""
    name = at.tzname() or ""
    return name if name == "UTC" or getattr(at.tzinfo, "key", None) else ""


_NUMBERS: dict[str, tuple[Callable[[datetime], int], int, str]] = {  # value, width and padding
    "C": (lambda at: at.year // 100, 2, "0"),
    "d": (lambda at: at.day, 2, "0"),
    "e": (lambda at: at.day, 2, " "),
    "g": (lambda at: at.isocalendar().year % 100, 2, "0"),
    "G": (lambda at: at.isocalendar().year, 4, "0"),
    "H": (lambda at: at.hour, 2, "0"),
    "I": (lambda at: at.hour % 12 or 12, 2, "0"),
    "j": (lambda at: at.timetuple().tm_yday, 3, "0"),
    "k": (lambda at: at.hour, 2, " "),
    "l": (lambda at: at.hour % 12 or 12, 2, " "),
    "m": (lambda at: at.month, 2, "0"),
    "M": (lambda at: at.minute, 2, "0"),
    "s": (lambda at: int(at.timestamp() // 1), 1, "0"),
    "S": (lambda at: at.second, 2, "0"),
    "u": (lambda at: at.isoweekday(), 1, "0"),
    "U": (lambda at: (at.timetuple().tm_yday + 6 - at.isoweekday() % 7) // 7, 2, "0"),
    "V": (lambda at: at.isocalendar().week, 2, "0"),
    "w": (lambda at: at.isoweekday() % 7, 1, "0"),
    "W": (lambda at: (at.timetuple().tm_yday + 6 - at.weekday()) // 7, 2, "0"),
    "y": (lambda at: at.year % 100, 2, "0"),
    "Y": (lambda at: at.year, 4, "0"),
}
_WORDS: dict[str, Callable[[datetime], str]] = {
    "a": lambda at: _DAYS[at.weekday()][:3],
    "A": lambda at: _DAYS[at.weekday()],
    "b": lambda at: _MONTHS[at.month - 1][:3],
    "B": lambda at: _MONTHS[at.month - 1],
    "h": lambda at: _MONTHS[at.month - 1][:3],
    "n": lambda _: "\n",
    "p": lambda at: "AM" if at.hour < 12 else "PM",
    "P": lambda at: "am" if at.hour < 12 else "pm",
    "t": lambda _: "\t",
    "Z": _zone_name,
    "%": lambda _: "%",
}
_COMPOSED = {
    "c": "%a %b %e %H:%M:%S %Y",
    "D": "%m/%d/%y",
    "F": "%Y-%m-%d",
    "r": "%I:%M:%S %p",
    "R": "%H:%M",
    "T": "%H:%M:%S",
    "v": "%e-%^b-%Y",
    "x": "%m/%d/%y",
    "X": "%H:%M:%S",
}


def strftime(at: datetime, pattern: str) -> str:
    """The time in the pattern. `at` has a time zone. What is no directive stays as it is."""
    return _DIRECTIVE.sub(lambda found: _directive(at, found), pattern)


def _directive(at: datetime, found: re.Match[str]) -> str:
    flags, colons, letter = found[1], found[3], found[4]
    width = min(int(found[2] or 0), _WIDEST)
    written = found[0]
    if letter == "z":
        written = _offset(at, flags, len(colons), width)
    elif colons:
        pass
    elif letter in "LN":
        places = width or (3 if letter == "L" else 9)
        written = f"{at.microsecond:06}".ljust(places, "0")[:places]
    elif letter in _NUMBERS:
        value, usual, padding = _NUMBERS[letter]
        written = _padded(str(value(at)), flags, width or usual, padding)
    elif letter in _COMPOSED:
        whole = strftime(at, _COMPOSED[letter])
        written = _padded(whole.upper() if "^" in flags else whole, flags.replace("-", ""), width, " ")
    elif letter in _WORDS:
        written = _padded(_cased(_WORDS[letter](at), letter, flags), flags, width, " ")
    return written


def _cased(word: str, letter: str, flags: str) -> str:
    if "#" in flags and letter in "pZ":
        return word.lower()
    return word.upper() if "#" in flags or "^" in flags else word


def _padded(written: str, flags: str, width: int, padding: str) -> str:
    """The last flag about padding counts."""
    for flag in flags:
        padding = {"-": "", "_": " ", "0": "0"}.get(flag, padding)
    if padding == "0":
        return written.zfill(width) if written else written
    return written.rjust(width) if padding and written else written


def _offset(at: datetime, flags: str, colons: int, width: int) -> str:
    """The time zone's offset: +hhmm, or with colons +hh:mm, +hh:mm:ss or the shortest."""
    seconds = int((at.utcoffset() or timedelta()).total_seconds())
    hours, rest = divmod(abs(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{minutes:02}", f"{rest:02}"][: {0: 1, 1: 1, 2: 2}.get(colons, 2 if rest else 1 if minutes else 0)]
    tail = "".join((":" if colons else "") + part for part in parts)
    sign = "-" if seconds < 0 else "+"
    if "_" in flags:
        return f"{sign}{hours}{tail}".rjust(max(width, len(tail) + 3))
    return f"{sign}{str(hours).rjust(max(2, width - 1 - len(tail)), '0')}{tail}"
