"""Masks e-mail addresses and phone numbers for logs and error messages (rule 9)."""

import re

_PART = r"""[^\s@%<>"'`,;:|\\\[\]{}()=]"""
_SHORT = 8  # characters: a word such as "yes", or a score
# The look-behind starts each match at the start of a word. Without it, a long text without addresses takes hours.
_ADDRESS = re.compile(rf"(?<!{_PART})({_PART}+)(@|%40|\\u0040)((?:(?!&){_PART})+)")
# As Pisano and Salesforce have them from us: +905330000000. A time zone such as +0300 is shorter.
_PHONE = re.compile(r"(?<![\w+])((?:\+|%2B)\d\d)\d{5,13}(?!\d)", re.ASCII)


def mask_email(address: str) -> str:
    """`jane.doe@example.com` becomes `j***@example.com`; a text that is not an address becomes `***`."""
    local, at, domain = address.strip().rpartition("@")
    return f"{local[:1]}***@{domain}" if local and at and domain else "***"


def mask_emails(text: str) -> str:
    """Masks every address in the text, and every phone number but for its country.

    The @ may be plain, URL-encoded or escaped as in JSON.
    """
    masked = _ADDRESS.sub(lambda found: f"{found[1][:1]}***{found[2]}{found[3]}", text)
    return _PHONE.sub(r"\1***", masked)


def mask_value(value: object) -> str:
    """A customer's value for a message: `good enough` becomes `g*** (11 characters)`, and a number becomes `***`.

    Of a short text no letter is shown, because one letter may tell what it is.
    """
    if not isinstance(value, str):
        return "***"
    return f"{value[:1] if len(value) > _SHORT else ''}*** ({len(value)} characters)"
