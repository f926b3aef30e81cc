"""Dates and times in the forms that Salesforce takes. People and systems write them in more forms."""

from datetime import UTC, date, datetime, time

from connector.records import Scalar

EXAMPLES = {
    "date": "a date such as 2026-01-31",
    "datetime": "a date and time such as 2026-01-31T09:30:00Z",
    "time": "a time such as 09:30:00Z",
}
_ANY_DAY = date(2000, 1, 1)  # a time alone has no day, and needs one to get from its zone to UTC


def moment(kind: str, value: Scalar) -> str:
    """A text in ISO 8601 as a `date`, `datetime` or `time` in the form of Salesforce's REST API. A date without a time
    begins at midnight, and a time without a zone is UTC. A `date` takes only the date of a date and time.

    Raises:
        ValueError: Not such a text.
    """
    if not isinstance(value, str):
        raise ValueError("not a text")  # noqa: TRY004 - one error for every value that does not fit
    if kind == "date":
        return datetime.fromisoformat(value).date().isoformat()
    if kind == "datetime":
        return f"{_utc(datetime.fromisoformat(value)).isoformat(timespec='milliseconds')}Z"
    return f"{_utc(datetime.combine(_ANY_DAY, time.fromisoformat(value))).time().isoformat('milliseconds')}Z"


def _utc(at: datetime) -> datetime:
    """The same moment in UTC, without its zone."""
    try:
        return at.replace(tzinfo=None) if at.tzinfo is None else at.astimezone(UTC).replace(tzinfo=None)
    except OverflowError as error:  # at the ends of the years 1 and 9999
        raise ValueError("outside of the calendar") from error
