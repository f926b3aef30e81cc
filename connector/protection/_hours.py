"""When a survey may send: the hours of a day in a time zone, with weekdays, holidays and changes of the clock."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from connector.config import Protect
from connector.config.hours import SendHours, zone

_CALL_TAKES = timedelta(seconds=30)  # most calls have reached Pisano by then, so we make none in the last 30 s
_FAR = 366  # days in which we look for the next opening; a survey that is closed for a year is asked again then


def day_of(protect: Protect, at: datetime) -> date:
    """The day on which caps count what is sent at `at`: it begins at midnight in the zone of `send_between`, or UTC."""
    return at.astimezone(_own_zone(protect)).date()


def next_day(protect: Protect, at: datetime) -> datetime:
    """When the day after that one begins: behind the skip, where the clock skips midnight."""
    today = day_of(protect, at)
    midnights = _instants(today + timedelta(days=1), 0, _own_zone(protect))
    return min(midnight for midnight in midnights if day_of(protect, midnight) > today)


def opening(protect: Protect, customer_zone: str | None, now: datetime) -> datetime:
    """`now` if invitations may be sent now, else the next time. `customer_zone` is an IANA name."""
    hours = protect.send_between
    if hours is None:
        return now
    place = zone(customer_zone or hours.zone)
    if _is_open(hours, protect.holidays, now, place):
        return now
    today = now.astimezone(place).date()
    for days in range(_FAR):
        for at in _instants(today + timedelta(days=days), hours.start, place):
            if at > now and _is_open(hours, protect.holidays, at, place):
                return at
    return now + timedelta(days=_FAR)


def _is_open(hours: SendHours, holidays: frozenset[date], at: datetime, place: ZoneInfo) -> bool:
    return all(_is_within(hours, holidays, moment.astimezone(place)) for moment in (at, at + _CALL_TAKES))


def _is_within(hours: SendHours, holidays: frozenset[date], local: datetime) -> bool:
    minute = local.hour * 60 + local.minute
    return hours.start <= minute < hours.end and local.weekday() in hours.days and local.date() not in holidays


def _instants(day: date, minute: int, place: ZoneInfo) -> list[datetime]:
    """The times at which a clock there shows this minute of the day: two when it is set back then.

    When the minute is skipped, one of the times lies after the skip, as much as the minute lies in it.
    """
    local = datetime.combine(day, time(minute // 60, minute % 60))
    return sorted(local.replace(tzinfo=place, fold=fold).astimezone(UTC) for fold in (0, 1))


def _own_zone(protect: Protect) -> ZoneInfo:
    return zone(protect.send_between.zone if protect.send_between else "UTC")
