"""The customer's e-mail address, as it goes to Pisano and into the protection of contacts."""

import re

from email_validator import EmailNotValidError, validate_email

from connector.masking import mask_emails

_SANDBOX = "example.com"  # older sandboxes made name=domain@example.com of every address; newer ones append .invalid


def normalise_email(raw: str) -> str:
    """The address trimmed, its domain in lower case, Unicode composed.

    Raises:
        ValueError: With the reason, masked: not an address, one that no mail server takes, or one of a sandbox.
    """
    try:
        email = validate_email(raw.strip(), check_deliverability=False, strict=True).normalized
    except EmailNotValidError as error:
        raise ValueError(mask_emails(str(error))) from None
    local, _, domain = email.rpartition("@")
    if domain == _SANDBOX and "=" in local:
        raise ValueError("a Salesforce sandbox made this address from a customer's, so that nobody gets its e-mails")
    return email


def separate(value: object) -> list[str]:
    """The addresses in a text, which may have several with semicolons or line breaks between them.

    A comma does not separate: in john,doe@acme.com it is a mistake, and doe may be somebody else.
    """
    return [part for part in (each.strip() for each in re.split(r"[;\r\n]", str(value))) if part]
