"""The types of settings that say when invitations may be sent: hours of the day, weekdays and holidays."""

import re
from dataclasses import dataclass
from datetime import date, time, timedelta
from functools import cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, PlainValidator

from connector.config.model import Allowed

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = 24 * 60  # minutes
_MOST_HOLIDAYS = 10_000  # days in a file: more than a century of holidays, and quickly read

_HOURS_SAYS = (
    "send hours are written 09:00-18:00 Europe/Istanbul or Mon-Fri 09:00-18:00 Europe/Istanbul, with an IANA time zone"
)
_HOLIDAYS_SAYS = "holidays are a list of dates such as 2026-12-25, or an iCalendar file: ${file:holidays.ics}"


@dataclass(frozen=True)
class SendHours:
    """When invitations are sent: from the minute `start` of the day to before `end`, on `days` (0: Monday)."""

    start: int
    end: int
    zone: str
    days: frozenset[int] = frozenset(range(7))

    def __str__(self) -> str:
        days = "" if len(self.days) == 7 else ",".join(_DAYS[day] for day in sorted(self.days)) + " "
        hours = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (self.start, self.end))
        return f"{days}{hours} {self.zone}"


@cache
def zone(name: str) -> ZoneInfo:
    """The IANA time zone. Raises ValueError when there is none of this name."""
    try:
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError):  # OSError for a name such as "Europe", which is a folder
        raise ValueError(f"there is no time zone {name!r}; write an IANA name such as Europe/Istanbul") from None


def _send_hours(value: object) -> SendHours:
    if isinstance(value, SendHours):
        return value
    match = re.fullmatch(r"(?:([A-Z][A-Za-z,-]*)\s+)?(\d\d):(\d\d)-(\d\d):(\d\d)\s+(\S+)", str(value))
    if not match:
        raise ValueError(_HOURS_SAYS)
    days, *times, name = match.groups()
    hour, minute, last_hour, last_minute = map(int, times)
    start, end = hour * 60 + minute, last_hour * 60 + last_minute
    if minute > 59 or last_minute > 59 or not start < end <= _DAY:
        raise ValueError(f"{_HOURS_SAYS}; they end after they start, at 24:00 at the latest")
    zone(name)
    return SendHours(start, end, name, _days(days) if days else frozenset(range(7)))


def _days(text: str) -> frozenset[int]:
    """`Mon-Fri` and `Mon,Wed,Sat` become numbers."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise ValueError(f"weekdays are written {', '.join(_DAYS)}, such as Mon-Fri or Mon,Wed,Sat")
        start, end = _DAYS.index(first), _DAYS.index(last or first)
        found |= {day % 7 for day in range(start, (end if end >= start else end + 7) + 1)}
    return frozenset(found)


def _holidays(value: object) -> frozenset[date]:
    if isinstance(value, (frozenset, list, tuple)):
        return frozenset(map(_date, value))
    if not isinstance(value, str) or not value.lstrip("\ufeff").startswith("BEGIN:VCALENDAR"):
        raise ValueError(_HOLIDAYS_SAYS)
    try:
        return frozenset(_in_calendar(value.lstrip("\ufeff")))
    except ValueError as error:
        raise ValueError(f"this iCalendar file cannot be used: {error}") from None
    except Exception as error:  # noqa: BLE001 - icalendar raises many kinds for a damaged file
        raise ValueError(f"this iCalendar file is damaged ({type(error).__name__})") from None


def _date(value: object) -> date:
    try:
        return value if isinstance(value, date) else date.fromisoformat(str(value))
    except ValueError:
        raise ValueError(_HOLIDAYS_SAYS) from None


def _in_calendar(text: str) -> set[date]:
    """Each day that an event touches, in the time zone that the event names."""
    from icalendar import Calendar  # noqa: PLC0415 - it takes 0.1 s to import, and few files have it

    found: set[date] = set()
    events = Calendar.from_ical(text).walk("VEVENT")
    for event in events:
        if "RRULE" in event or "RDATE" in event:
            raise ValueError("it has an event that repeats; export it with one event for each year")
        first: Any = event.start
        last: Any = event.end  # the first moment that is not part of the event (RFC 5545, 3.6.1)
        if hasattr(last, "time") and last.time() > time():
            last += timedelta(days=1)  # it ends within that day
        first, last = (moment.date() if hasattr(moment, "date") else moment for moment in (first, last))
        days = max((last - first).days, 1)
        if len(found) + days > _MOST_HOLIDAYS:
            raise ValueError(f"it has more than {_MOST_HOLIDAYS:,} days")
        found |= {first + timedelta(days=day) for day in range(days)}
    if not found:
        raise ValueError("it has no event")
    return found


Hours = Annotated[
    SendHours,
    BeforeValidator(_send_hours),
    Allowed("like 09:00-18:00 Europe/Istanbul or Mon-Fri 09:00-18:00 Europe/Istanbul, with an IANA time zone"),
]
Holidays = Annotated[
    frozenset[date],
    PlainValidator(_holidays),
    Allowed("a list of dates like 2026-12-25, or an iCalendar file: `${file:holidays.ics}`"),
]
