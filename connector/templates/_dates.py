"""The filters for dates. Their result does not depend on the machine's time zone, language or clock."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

from connector.templates._strftime import strftime
from connector.templates._values import WrongValueError, number, text
from connector.values.times import iso

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS = 10**11  # as seconds the year 5138, as milliseconds March 1973: from here on a number is milliseconds
_NO_TIME = "it takes an ISO 8601 text, or epoch seconds or milliseconds"
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)
_TIME_OF_DAY = frozenset("HIMSfp")
_READABLE = frozenset("aAbBdGjmuUVwWyYz%") | _TIME_OF_DAY  # of those that strptime knows, the ones alike everywhere
_CLOCK_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d+)?)?Z?", re.ASCII)  # a Time field of REST is 09:30:00.000Z
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TWO_DAYS = (date(1970, 1, 1), date(2011, 12, 24))  # no directive writes both alike


def _date(value: object, pattern: object, zone: object = None) -> object:
    """Writes a time in a pattern, in the time zone if one is given."""
    place = _zone(zone)
    if value is None or value == "" or not text(pattern):
        return value
    if isinstance(value, str) and value.lower() in {"now", "today"}:
        raise WrongValueError("the time of rendering differs at each replay; use event.committed_at")
    if isinstance(value, str) and _CLOCK_TIME.fullmatch(value):
        return _clock_time(value, text(pattern), place)
    moment = _moment(value)
    if place and isinstance(value, str) and _DAY.fullmatch(value.strip()):
        moment = moment.replace(tzinfo=place)  # a Date field: the same day everywhere
    return strftime(moment.astimezone(place) if place else moment, text(pattern))


def _clock_time(written: str, pattern: str, place: tzinfo | None) -> str:
    """Writes a time of day, which has neither a date nor a time zone."""
    try:
        found = time.fromisoformat(written).replace(tzinfo=UTC)
    except ValueError:
        raise WrongValueError(_NO_TIME) from None
    texts = {strftime(datetime.combine(day, found), pattern) for day in _TWO_DAYS}
    if place or len(texts) > 1:
        raise WrongValueError("a time of day has neither a date nor a time zone")
    return texts.pop()


def _moment(value: object) -> datetime:
    """The time that a value means. A text without a time zone is UTC."""
    if isinstance(value, bool):
        raise WrongValueError(_NO_TIME)
    try:
        match value:
            case datetime():
                moment = value
            case date():
                moment = datetime(value.year, value.month, value.day, tzinfo=UTC)
            case str() if not (value.isascii() and value.isdigit()):
                moment = datetime.fromisoformat(iso(value.strip()))
            case _:
                epoch = Decimal(number(value))
                moment = _EPOCH + timedelta(milliseconds=float(epoch if abs(epoch) >= _MILLISECONDS else epoch * 1000))
    except (ValueError, OverflowError):
        raise WrongValueError(_NO_TIME) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _zone(name: object) -> tzinfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(text(name))
    except (LookupError, ValueError, OSError):
        raise WrongValueError("there is no such time zone; a name is like Europe/Istanbul") from None


def _date_of(value: object, pattern: object, zone: object = None) -> str | None:
    """Reads a date that is written in a pattern: the ISO 8601 text that Salesforce takes. Nil and "" are nil.

    A pattern with a time of day gives a time, in UTC unless `zone` names a time zone. A pattern of a time of day alone
    gives a time such as 09:30:00.
    """
    place, layout = _zone(zone), text(pattern)
    directives = frozenset(_DIRECTIVE.findall(layout))
    has_date = not directives.isdisjoint("GyY")
    if mistake := _pattern_mistake(directives, has_date, place):
        raise WrongValueError(mistake)
    if value is None or not text(value).strip():
        return None
    try:
        moment = datetime.strptime(text(value).strip(), layout)  # noqa: DTZ007 - the zone comes next
    except ValueError:
        raise WrongValueError("the text is not a date in this pattern") from None
    if not has_date:
        return moment.time().isoformat()
    if directives.isdisjoint(_TIME_OF_DAY):
        return moment.date().isoformat()
    return (moment if moment.tzinfo else moment.replace(tzinfo=place or UTC)).isoformat()


def _pattern_mistake(directives: frozenset[str], has_date: bool, place: tzinfo | None) -> str | None:
    """Why a pattern cannot be read, or None."""
    if not directives <= _READABLE:
        return "the pattern has a directive that cannot be read"
    if has_date:
        return None
    if directives.isdisjoint("HI") or not directives <= _TIME_OF_DAY | {"%", "z"}:
        return "the pattern has no year"
    return "a time of day without a date has no time zone" if place or "z" in directives else None


FILTERS: dict[str, Callable[..., object]] = {"date": _date, "date_of": _date_of}
