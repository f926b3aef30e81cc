"""What the words of an error message say. Triggers and flows wrap the errors of others in their own codes."""

import re
from collections.abc import Mapping
from typing import Any

# A lock may come with any code and wording (salesforce §D4, and public reports since 2021). So may a wish for another
# try.
_PASSING = re.compile(
    r"\b(retry your request|unable_to_lock_row|unable to obtain exclusive access|record currently unavailable"
    r"|being modified by another user|row lock)\b",
    re.IGNORECASE,
)
# Governor limits of one transaction. The records of a batch share them, so a smaller batch may pass.
_GOVERNOR = re.compile(
    r"\b(limitexception|too many (soql|dml|query rows|future calls|queueable|callouts)|apex cpu time limit"
    r"|apex heap size)\b",
    re.IGNORECASE,
)
# "Comments: data value too large: They said... (max length=255)", in the user's language. What stands before the last
# bracket may be a customer's.
_MOST_CHARACTERS = re.compile(r"\([^()=]{1,60}=\s*([0-9]{1,6})\)\s*$")
# The messages of these codes quote a customer's value, or are an administrator's own words.
_QUOTES = {
    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
    "INVALID_EMAIL_ADDRESS",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
    "INVALID_TYPE_ON_FIELD_IN_RECORD",
    "JSON_PARSER_ERROR",
    "MALFORMED_ID",
    "NUMBER_OUTSIDE_VALID_RANGE",
    "REQUIRED_FIELD_MISSING",
    "STRING_TOO_LONG",
}


def code_of(problem: Mapping[str, Any]) -> str:
    """A record's `statusCode` or a call's `errorCode`."""
    return str(problem.get("statusCode") or problem.get("errorCode"))


def most_characters(problem: Mapping[str, Any]) -> int | None:
    """How many characters the field of a STRING_TOO_LONG takes, if the message says it."""
    found = _MOST_CHARACTERS.search(str(problem.get("message")))
    return int(found[1]) if found and code_of(problem) == "STRING_TOO_LONG" else None


def passes(problem: Mapping[str, Any]) -> bool:
    """Whether the error is a lock, or asks for another try."""
    return code_of(problem) == "UNABLE_TO_LOCK_ROW" or _PASSING.search(_own_words(problem)) is not None


def is_governor_limit(problem: Mapping[str, Any]) -> bool:
    """Whether the error is a limit of one transaction."""
    return _GOVERNOR.search(_own_words(problem)) is not None


def _own_words(problem: Mapping[str, Any]) -> str:
    """The message, if it can only be Salesforce's own. One about a field quotes the value, and then says nothing."""
    code = code_of(problem)
    quotes = problem.get("fields") or code in _QUOTES or code.startswith("DUPLICATE")
    return "" if quotes else str(problem.get("message"))
