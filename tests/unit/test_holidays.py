"""Holidays from an iCalendar file, as calendars of all kinds export it."""

from datetime import date
from pathlib import Path

import pytest
from helpers.config_files import MINIMAL, mistakes, read

SURVEY = '    protect: {send_between: "09:00-18:00 Europe/Istanbul", holidays: "${file:holidays.ics}"}\n'


def calendar(*events: str, line: str = "\r\n") -> bytes:
    """A file with these events, each given by the lines that say when it is."""
    each = [f"BEGIN:VEVENT\nUID:{number}\nSUMMARY:day off\n{event}\nEND:VEVENT" for number, event in enumerate(events)]
    text = "\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", *each, "END:VCALENDAR", ""])
    return text.replace("\n", line).encode()


def holidays(folder: Path, content: bytes) -> set[date]:
    """What a configuration beside the file reads from it."""
    (folder / "holidays.ics").write_bytes(content)
    return {*read(folder, MINIMAL + SURVEY).surveys["closed-case"].protect.holidays}


@pytest.mark.parametrize(
    ("event", "days"),
    [
        ("DTSTART;VALUE=DATE:20261229", [29]),
        ("DTSTART;VALUE=DATE:20261229\nDTEND;VALUE=DATE:20261230", [29]),
        ("DTSTART;VALUE=DATE:20261229\nDTEND;VALUE=DATE:20261229", [29]),
        ("DTSTART;VALUE=DATE:20261229\nDURATION:P3D", [29, 30, 31]),
        ("DTSTART;TZID=Europe/Istanbul:20261229T000000\nDTEND;TZID=Europe/Istanbul:20261230T000000", [29]),
        ("DTSTART;TZID=Europe/Istanbul:20261229T130000\nDTEND;TZID=Europe/Istanbul:20261230T120000", [29, 30]),
        ("DTSTART:20261228T210000Z\nDTEND:20261229T210000Z", [28, 29]),
        ("DTSTART:20261229T090000\nDTEND:20261229T120000", [29]),
    ],
)
def test_each_day_of_an_event_is_a_holiday(tmp_path: Path, event: str, days: list[int]) -> None:
    assert holidays(tmp_path, calendar(event)) == {date(2026, 12, day) for day in days}


@pytest.mark.parametrize("line", ["\r\n", "\n"])
@pytest.mark.parametrize("begins", [b"", b"\xef\xbb\xbf"])
def test_a_file_may_have_either_end_of_line_and_a_byte_order_mark(tmp_path: Path, line: str, begins: bytes) -> None:
    days = [f"DTSTART;VALUE=DATE:2026{day}" for day in ("0101", "1029")]
    assert holidays(tmp_path, begins + calendar(*days, line=line)) == {date(2026, 1, 1), date(2026, 10, 29)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"2026-12-25\n2026-12-26\n", "holidays are a list of dates such as 2026-12-25, or an iCalendar file"),
        (b"<html>Sign in</html>", "holidays are a list of dates such as 2026-12-25, or an iCalendar file"),
        (calendar(), "this iCalendar file cannot be used: it has no event"),
        (calendar("DTSTART;VALUE=DATE:20261229\nRRULE:FREQ=YEARLY"), "it has an event that repeats; export it with"),
        (calendar("DTSTART;VALUE=DATE:20261229\nDTEND;VALUE=DATE:29991230"), "it has more than 10,000 days"),
        (calendar("DESCRIPTION:no day"), "this iCalendar file cannot be used: "),
        (calendar("DTSTART;VALUE=DATE:29.12.2026"), "this iCalendar file "),
        (b"BEGIN:VCALENDAR\nnonsense\n", "this iCalendar file "),
    ],
)
def test_a_file_that_is_none_is_one_clear_mistake(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "holidays.ics").write_bytes(content)
    [mistake] = mistakes(tmp_path, MINIMAL + SURVEY)
    assert "surveys.closed-case.protect.holidays" in mistake
    assert said in mistake
